package main

import (
	"encoding/binary"
	"os"
	"os/signal"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// follow stays the parent of the restored root until it ends, and passes on
// the signals that come meanwhile.
func (o *options) follow(pid int, r *relay, s *cli.Speaker) (int, error) {
	passOn(pid, r)
	r.begin()
	status, err := kernelio.Reap(pid)
	r.end()
	if err != nil {
		return 0, err
	}
	return o.status(pid, status, s)
}

// passOn passes on the signals that come from now on.
func passOn(pid int, r *relay) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, passed...)
	go func() {
		for sig := range signals {
			switch sig {
			case unix.SIGTSTP: // the shell is to find its terminal as it was
				r.rest()
			case unix.SIGCONT:
				r.attend()
			case unix.SIGWINCH:
				r.resize()
			}
			pass(pid, sig.(unix.Signal))
		}
	}()
}

// status says how the root ended, and gives the exit code that comes of it.
func (o *options) status(pid int, status unix.WaitStatus, s *cli.Speaker) (int, error) {
	if o.show {
		s.Say("process %d %s", pid, describe(status))
	}
	if !o.copy {
		return 0, nil
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// passed are the signals that people and batch systems send to a job.
var passed = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGTSTP,
	unix.SIGWINCH}

// keyboard are those that a terminal sends to all of its foreground group.
var keyboard = []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH}

// pass hands a signal on, unless the terminal has sent it to the root as
// well. Who stops the job stops us too, so that a shell notices.
func pass(pid int, sig unix.Signal) {
	if !slices.Contains(keyboard, sig) || !together(pid) {
		kernelio.Kill(pid, sig)
	}
	if sig == unix.SIGTSTP {
		kernelio.Kill(kernelio.PID(), unix.SIGSTOP)
	}
}

// together says whether the process is in our process group and that group
// in the foreground of our terminal.
func together(pid int) bool {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return false
	}
	defer dir.Close()
	st, err := dir.Stat()
	return err == nil && int(st.Pgrp) == kernelio.ProcessGroup() && foreground() == int(st.Pgrp)
}

// foreground is the foreground group of our terminal (tcgetpgrp(3)), 0
// without one.
func foreground() int {
	tty, err := kernelio.OpenPath("/dev/tty", unix.O_RDWR|unix.O_NOCTTY)
	if err != nil {
		return 0
	}
	defer tty.Close()
	group := make([]byte, 4)
	if _, err := kernelio.Ioctl(tty.Int(), unix.TIOCGPGRP, group); err != nil {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(group)))
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "was killed by " + unix.SignalName(s.Signal())
	}
	return "exited with status " + strconv.Itoa(s.ExitStatus())
}
