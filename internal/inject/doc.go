// Package inject stops tasks, runs system calls inside them and lets them go.
//
// # Parties
//
// A Tracer is one locked OS thread: ptrace obeys only the thread that seized.
// A Thread is one seized task. A Space is memory inside a process, seized by
// the dump (Open) or made for a restore (NewStub), where programs run. A
// Program is a list of system calls, written in Go, run by a small interpreter
// (interp_amd64.s) that is copied into the Space.
//
// # The law of a dump
//
// The tool may be killed at any instruction, and the target then runs on as if
// it had never been seized. Every step keeps this: while a thread of the
// target has anything but its own registers, they lead through a signal frame
// back to its own (home.go says how). Nothing on the way uses a signal: no
// single step and no breakpoint, since the kernel resets a SIGTRAP action that
// is ignored or blocked (force_sig_info_to_task) and leaves the trap flag set
// when the tracer dies.
//
// What a death of the tool may leave behind: the Space stays mapped if other
// threads than that of Open were in it (the next dump knows it by LeftSpace, and
// takes it away); a call that answers a stop with EINTR
// may do so if the tool dies within the microseconds between the stop and
// Thread.smooth; a call with a time-out that ran in a program's thread starts
// anew with all of it; and where a seccomp filter was suspended it is in force
// again, and must allow munmap, ppoll and rt_sigreturn.
//
// # The law of a restore
//
// Until the commit the death of the tool kills all tasks (PTRACE_O_EXITKILL);
// after it they all run (Park, Barrier).
//
// # API
//
//	tr := NewTracer(); defer tr.Close()
//	Trace(func(tr *Tracer) error)                // on the caller's own thread
//	tr.Do(func())                                // nests; all methods below do it themselves,
//	                                             // wrap hot loops in it to save the hand-over
//
// Stopping:
//
//	tr.Seize(tid int, o Options) (*Thread, error)      // errors: ErrGone, *ZombieError, *TracedError, EPERM
//	tr.Freeze(list func() ([]int, error), o Options, deadline time.Time) (*Frozen, error)
//	    // list: all TIDs (threads of all processes) of the tree as it is now; called until nothing new shows
//	    Frozen.Threads map[int]*Thread;  Frozen.Zombies []int;  Frozen.Thaw() error // detach all
//	th.Interrupt() error;  th.WaitStop(deadline) (Stop, error);  th.Stop() Stop
//	    Stop{Kind: StopEvent | StopGroup, Signal}     // StopGroup: SIGSTOPped; Detach leaves it so
//	th.TID(), th.PID() int
//	th.Detach(sig syscall.Signal) error
//	th.SetOptions(o Options) error
//
// State (what the thread had when it stopped, whatever runs in it meanwhile):
//
//	th.Regs() (abi.Regs, error);        th.SetRegs(abi.Regs) error
//	th.XState() ([]byte, error);        th.SetXState([]byte) error  // cut to what it may use; fitted to this processor
//	th.SigMask() (abi.SigSet, error);   th.SetSigMask(abi.SigSet) error
//	th.PeekSignals(shared bool) ([]abi.Siginfo, error)
//	th.IOPorts() (bool, error)
//	th.Rseq() (abi.RSeqConfig, error);  th.UserDispatch() (abi.UserDispatch, error)
//	th.Know(*abi.Status)                              // spares CanInject to read it
//	th.CanInject() error                              // nil, or why not: seccomp, 32-bit, shadow stack, user dispatch
//
// Programs:
//
//	p := NewProgram()
//	p.Grow(n)                                         // room for so many more calls
//	h := p.Call(nr, args ...Arg) Handle               // an error return (-4095..-1) ends the program
//	h := p.Spin(stop, most int) Handle                // brief threads, until one has the number stop
//	p.Tolerate(h, errnos ...unix.Errno)               // none given: any error goes on
//	p.MustEqual(h, n uint64)                          // anything else ends the program
//	Arg: N(v), r.Ptr(off), h.Result()                 // number, address of a buffer, result of an earlier call
//	r := p.Buf([]byte) Ref;  r := p.Out(n) Ref        // both aligned to 64
//	p.Born(h, child *Program, forked bool)            // what the task runs that h, a clone3, makes: see Adopt
//	p.Store(h, r, off, width 4|8)                     // put h's result into a buffer, right after h
//	p.Link(r, off, r2, off2)                          // put the address of r2+off2 into r at off (iovec, msghdr, clone_args)
//	p.Len() int                                       // calls so far
//	p.Size() int                                      // bytes it takes in the Space
//	p.Ret(h) int64;  p.Bytes(r) []byte;  p.Failed() (Handle, bool)   // after it ran
//
//	err := space.Run(th, p)                           // = Start + Finish
//	space.Start(th, p) error;  space.Finish(th) error // so that many processes and threads run at once;
//	space.End(th)                                     // and, between the two, so that they stop at once
//	    // *CallError{Handle, Nr, Args, Ret; Errno()}; ErrGone; ErrHealed
//
// Dump:
//
//	space, err := Open(th, size uint64)               // th: a frozen thread of the process, by preference the leader
//	tr.OpenAll([]*Opening{{Thread, Size, VMAs}, ...})  // many at the same time; tr.CloseAll(spaces)
//	space.Window() string                             // "" or why a death window remained (no gadget, no scratch)
//	space.Close() error                               // everything put back; before th.Detach
//	    // other threads of the same process may Run in the same space after Open (SlotSize bytes for each)
//	    // between Open and Close the mapping Range() and up to 16 KiB at the low end of [stack] are the tool's
//
// Restore:
//
//	b, err := NewBarrier();  b.Commit();  b.Close()
//	st, err := tr.NewStub(StubOptions{Base, Size, Files []int, Ambient []uintptr, NonDumpable, CloneFlags, Barrier: b})
//	    st.Thread, st.Space, st.Proc                  // Files arrive as 0..n-1; -1: closed
//	    // Base..Base+StubSpan(Size) must be free in every address space that is to be built
//	th2, err := space.AdoptThread(tid, born)          // after clone3(CLONE_PTRACE|CLONE_VM|CLONE_THREAD|...) in the space
//	sp2, th2, err := space.AdoptProcess(tid, born)    // after clone3(CLONE_PTRACE) without CLONE_VM; same addresses, own copy
//	space.Park(th, abi.TaskState{Regs, Mask, XState}, stop bool) error
//	th.SetOptions(0)                                  // for all, before b.Commit()
//	tr.Release([]Parked{{Space, Thread, Last}, ...}) error // after it; Last: also unmaps the stub's memory; ErrLeft: could not
//	space.Range() (lo, hi uint64)                     // what must be left mapped until Release
package inject
