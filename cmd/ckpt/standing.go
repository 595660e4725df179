package main

import (
	"os"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// standing is who calls ckpt, and what the binary was lent beyond her.
type standing struct {
	caller kernelio.Credentials // as the kernel knows them; of ids, the real ones are hers
	lent   bool                 // the binary is set-id or has file capabilities
	links  abi.CapSet           // what was lent for following the links of map_files
	suid   bool                 // root's authority was lent: a policy may grant dumps of it
}

// forLinks is what following a link of map_files takes.
const forLinks = abi.CapSet(1 << capCheckpointRestore)

// arrive finds out who calls, and lays down what was lent: from here on every
// thread acts as the caller, until a policy says otherwise.
func arrive() (*standing, error) {
	own, err := kernelio.FirstCredentials()
	if err != nil {
		return nil, err
	}
	w := &standing{caller: own}
	if w.lent, err = kernelio.Elevated(); err != nil || !w.lent {
		return w, err
	}
	switch {
	case own.UID.Effective == 0 && own.UID.Real != 0:
		w.suid = true
	case own.UID.Effective != own.UID.Real || own.GID.Effective != own.GID.Real || own.Permitted&^forLinks != 0:
		return nil, cli.Fail(cli.NotAllowed, "it is installed with more than it has a use for: set-user-id root, or with the file capability cap_checkpoint_restore alone")
	default:
		w.links = own.Permitted
	}
	return w, w.isolate()
}

// isolate takes away what a caller could influence a lent program by, beside
// its command line. What the Go runtime read from the environment before main
// can't be taken back.
func (w *standing) isolate() error {
	for _, v := range os.Environ() {
		// The runtime of a lent program has put this one there itself, whatever it was.
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "GO") && v != "GOTRACEBACK=none" {
			err := cli.Fail(cli.NotAllowed, "it has more authority than its caller, and %s in the environment could direct it", cli.Printable(name))
			return cli.WithHint(err, "env -u %s ckpt ...", cli.Printable(name))
		}
	}
	os.Clearenv()
	time.Local = time.UTC
	kernelio.Umask(0o077)
	if err := kernelio.StepDown(); err != nil {
		return err
	}
	return kernelio.ResetTimers()
}

// drop gives up for good, in every thread, what was lent.
func (w *standing) drop() error {
	if !w.lent {
		return nil
	}
	w.lent, w.links, w.suid = false, 0, false
	return kernelio.Drop(w.caller.UID.Real, w.caller.GID.Real, w.caller.Groups, 0)
}

// root says whether the caller is the machine's root by herself.
func (w *standing) root() (bool, error) {
	initial, err := kernelio.InInitialUserNS()
	return initial && !w.lent && w.caller.UID.Real == 0 && w.caller.UID.Effective == 0, err
}
