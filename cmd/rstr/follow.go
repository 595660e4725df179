package main

import (
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// follow stays the parent of the restored root until it ends, and passes on
// the signals that come meanwhile.
func (o *options) follow(pid int, s *cli.Speaker) (int, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, passed...)
	go func() {
		for sig := range signals {
			kernelio.Kill(pid, sig.(unix.Signal))
		}
	}()
	status, err := kernelio.Reap(pid)
	if err != nil {
		return 0, err
	}
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

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "was killed by " + unix.SignalName(s.Signal())
	}
	return "exited with status " + strconv.Itoa(s.ExitStatus())
}
