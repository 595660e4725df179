package restore

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// foreign says whether a process of the tree is to be somebody else than the
// caller. Then none of it gets a terminal of hers: it could type into her shell
// (TIOCSTI in ioctl_tty(2)), and read what she types there.
func (c *content) foreign(me *kind.Creds) bool {
	for i := range c.records {
		if w, ok := c.records[i].body.(kind.Wears); ok {
			if is := w.Wears(); is.UID != me.UID || is.GID != me.GID {
				return true
			}
		}
	}
	return false
}

// leaveTerminal takes from the stub, and so from all of a tree of somebody else's,
// rstr's controlling terminal: what is in its session could open that as
// /dev/tty.
func (s *session) leaveTerminal() error {
	if !s.strange {
		return nil
	}
	tty := plan.Ref{Site: plan.Task, Slot: 1}
	p := newProgram(s, nil)
	for _, c := range []plan.Call{
		{Nr: unix.SYS_OPENAT, Args: []plan.Arg{plan.Int(uint64(1<<64 - 100)), plan.Str("/dev/tty"), plan.Int(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)}, Out: tty},
		{Nr: unix.SYS_IOCTL, Args: []plan.Arg{plan.ResultOf(tty), plan.Int(unix.TIOCNOTTY)}},
		{Nr: unix.SYS_CLOSE, Args: []plan.Arg{plan.ResultOf(tty)}},
	} {
		if err := p.AddLenient(c); err != nil {
			return err
		}
	}
	if err := s.stub.Space.Run(s.stub.Thread, p.Inject); err != nil {
		return err
	}
	dir, err := kernelio.OpenProc(s.stub.Thread.PID())
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err == nil && st.TTY != 0 {
		err = errors.New("rstr's controlling terminal can't be kept from a tree of another user's")
	}
	return err
}
