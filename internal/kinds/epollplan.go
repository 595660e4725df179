package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func planEpoll(r epollRecord, h *kind.Host) []plan.Step {
	create := plan.Call{Nr: unix.SYS_EPOLL_CREATE1, Args: []plan.Arg{plan.Int(unix.EPOLL_CLOEXEC)}, Out: h.Self}
	steps := oneStep(plan.Create, "make an epoll instance", create)
	if r.NonBlock {
		steps = append(steps, oneStep(plan.Settle, "make it non-blocking", setFlags(plan.FD(h.Self), unix.O_NONBLOCK))...)
	}
	// What has fired comes first, while nothing else in the set can be ready.
	for _, spent := range []bool{true, false} {
		for _, w := range r.Watches {
			if w.spent() == spent {
				steps = append(steps, r.watch(w, h))
			}
		}
	}
	return steps
}

func (r epollRecord) watch(w epollWatch, h *kind.Host) plan.Step {
	s := plan.Step{Stage: plan.Settle, Text: fmt.Sprintf("watch descriptor %d", w.FD)}
	if w.Events&unix.EPOLLWAKEUP != 0 {
		s.Needs = []plan.Need{{Demand: "cap:block_suspend", Why: "the watch keeps the machine awake (EPOLLWAKEUP)"}}
	}
	at := r.Tables[w.Table]
	in := plan.Ref{Site: plan.Task, ID: uint32(at.Task)}
	add := addWatch(in, at.FD, w)
	if w.Borrow != 0 {
		add = r.Borrowed[w.Borrow-1].around(in, w, slot(h.Self, kind.SlotOther+uint8(w.Borrow-1)), add)
	}
	s.Ops = asOps(add)
	return s
}

// addWatch is EPOLL_CTL_ADD. A watch that has fired is made to fire.
func addWatch(in plan.Ref, epoll int32, w epollWatch) []plan.Call {
	events := w.Events
	if w.spent() {
		events |= epollAny
	}
	add := plan.Call{In: in, Nr: unix.SYS_EPOLL_CTL, Ret: plan.Exactly(0), Args: []plan.Arg{
		plan.Int(epoll), plan.Int(unix.EPOLL_CTL_ADD), plan.Int(w.FD), plan.Buf(epollEvent(events, w.Data))}}
	if !w.spent() {
		return []plan.Call{add}
	}
	return []plan.Call{add, {In: in, Nr: unix.SYS_EPOLL_PWAIT, Ret: plan.Exactly(1), Args: []plan.Arg{
		plan.Int(epoll), plan.Out(len(epollEvent(0, 0))), plan.Int(1), plan.Int(0), plan.Int(0), plan.Int(8)}}}
}

// around puts the target at the number of the watch for the time of the
// calls, and then what was there back.
func (b epollBorrow) around(in plan.Ref, w epollWatch, saved plan.Ref, calls []plan.Call) []plan.Call {
	from := plan.Int(b.From)
	if b.From < 0 {
		from = plan.FD(w.Target.Main())
	}
	put := plan.Call{In: in, Nr: unix.SYS_DUP3, Args: []plan.Arg{from, plan.Int(w.FD), plan.Int(unix.O_CLOEXEC)}, Ret: plan.Exactly(int64(w.FD))}
	if !b.InUse {
		calls = append([]plan.Call{put}, calls...)
		return append(calls, plan.Call{In: in, Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.Int(w.FD)}})
	}
	save := dup(plan.Int(w.FD), saved)
	save.In = in
	flags := 0
	if b.CloExec {
		flags = unix.O_CLOEXEC
	}
	calls = append([]plan.Call{save, put}, calls...)
	return append(calls,
		plan.Call{In: in, Nr: unix.SYS_DUP3, Args: []plan.Arg{plan.ResultOf(saved), plan.Int(w.FD), plan.Int(flags)}, Ret: plan.Exactly(int64(w.FD))},
		plan.Call{In: in, Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.ResultOf(saved)}})
}
