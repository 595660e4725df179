package main

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// standing is who calls rstr, and what the binary was lent beyond her.
type standing struct {
	caller  kernelio.Credentials // hers alone, without what was lent
	lent    bool                 // the binary is set-id or has file capabilities, and she has less
	pids    bool                 // CAP_CHECKPOINT_RESTORE was lent, as a file capability: everybody's, by the administrator
	suid    bool                 // root's authority was lent: a policy may grant of it
	root    bool                 // she is the machine's root
	gone    bool                 // what was lent, or root's rights, is given up
	settled bool                 // in a user namespace of her own; nothing is left to drop
	dir     string               // her working directory, where it isn't this process's
}

// forPIDs is what the tree's numbers take (clone3(2), set_tid).
const forPIDs = abi.CapSet(1 << unix.CAP_CHECKPOINT_RESTORE)

// arrive finds out who calls, and lays down what was lent until somebody
// grants it: from here on every thread acts as the caller.
func arrive() (*standing, error) {
	own, err := kernelio.FirstCredentials()
	if err != nil {
		return nil, err
	}
	lent, err := kernelio.Elevated()
	if err != nil {
		return nil, err
	}
	initial, err := kernelio.InInitialUserNS()
	if err != nil {
		return nil, err
	}
	w := &standing{caller: own, lent: lent, root: own.UID.Real == 0 && initial}
	if !lent {
		return w, nil
	}
	w.caller = plain(own)
	w.suid = own.UID.Effective == 0 && own.UID.Real != 0 && initial
	w.pids = own.UID.Effective == own.UID.Real && own.Permitted&forPIDs != 0
	return w, w.isolate(own)
}

// plain are the credentials that a plain program of the caller would have.
// What she had ambient herself, the kernel took away when it lent her more.
func plain(c kernelio.Credentials) kernelio.Credentials {
	u, g := c.UID.Real, c.GID.Real
	c.UID, c.GID = abi.IDs{Real: u, Effective: u, Saved: u, FS: u}, abi.IDs{Real: g, Effective: g, Saved: g, FS: g}
	c.Permitted, c.Effective, c.Inheritable, c.Ambient = 0, 0, 0, 0
	return c
}

// isolate takes away what a caller could influence a lent program by, beside
// its command line. What the Go runtime read from the environment before main
// can't be taken back.
func (w *standing) isolate(own kernelio.Credentials) error {
	if u := own.UID.Effective; u != own.UID.Real && u != 0 {
		return cli.Fail(cli.NotAllowed, "it is installed set-user-id to user %d; only root makes sense", u)
	}
	for _, v := range os.Environ() {
		// The runtime of a lent program has put this one there itself, whatever it was.
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "GO") && v != "GOTRACEBACK=none" {
			err := cli.Fail(cli.NotAllowed, "it has more authority than its caller, and %s in the environment could direct it", cli.Printable(name))
			return cli.WithHint(err, "env -u %s rstr ...", cli.Printable(name))
		}
	}
	if err := w.writesFreely(); err != nil {
		return err
	}
	os.Clearenv()
	time.Local = time.UTC
	kernelio.Umask(0o077)
	if err := kernelio.StepDown(); err != nil {
		return err
	}
	if err := kernelio.ResetTimers(); err != nil {
		return err
	}
	if dir, err := os.Getwd(); err == nil {
		w.dir = dir
	}
	return os.Chdir("/")
}

// writesFreely refuses to go on where the caller could have lines of root's log
// cut in the middle (RLIMIT_FSIZE in getrlimit(2)).
func (w *standing) writesFreely() error {
	dir, err := kernelio.OpenProc(kernelio.PID())
	if err != nil {
		return err
	}
	defer dir.Close()
	limits, err := dir.Limits()
	if err == nil && w.suid && limits[unix.RLIMIT_FSIZE].Cur != abi.RlimInfinity {
		err = cli.Fail(cli.NotAllowed, "the size of files is limited, and with it that of root's log")
		err = cli.WithHint(err, "ulimit -f unlimited")
	}
	return err
}

// keep closes what the caller left open for this program, but for the
// standard streams and one descriptor that she named.
func (w *standing) keep(fd int) error {
	if !w.lent {
		return nil
	}
	return kernelio.CloseInherited(fd)
}

// path is what the caller meant by a path.
func (w *standing) path(name string) string {
	if w.dir == "" || name == "" || name == "-" || strings.HasPrefix(name, "/") || strings.HasPrefix(name, host.SpoolPrefix) {
		return name
	}
	return w.dir + "/" + name
}

// drop gives up for good what no verdict can call for, in every thread: all
// that was lent but the right to PIDs, which everybody has who may execute the
// binary; and all of root's rights, since nothing unsigned is restored as root.
func (w *standing) drop() error {
	if w.gone {
		return nil
	}
	w.gone = true
	if err := kernelio.Alike(time.Second); err != nil {
		return err
	}
	switch {
	case w.settled:
		return nil
	case w.root:
		return kernelio.Drop(nobody, nobody, nil, 0)
	case !w.lent && w.caller.UID.Real != 0:
		return nil
	case !w.pids:
		return kernelio.Drop(w.caller.UID.Real, w.caller.GID.Real, w.caller.Groups, 0)
	}
	return kernelio.LayDown(w.caller.UID.Real, w.caller.GID.Real, w.caller.Groups, forPIDs)
}

// asRoot runs f with the authority that was lent, on a thread of its own: for
// what is root's alone, such as its policy and its log.
func (w *standing) asRoot(f func() error) error {
	if !w.suid || w.gone {
		return f()
	}
	return kernelio.AsRoot(f)
}

// rootborn are the facts of a caller whose tasks are born as root, with what
// was lent.
func (w *standing) rootborn() (kind.Caller, error) {
	c, err := restore.FactsOfCaller()
	if err != nil {
		return c, err
	}
	caps := c.Born.Caps.Permitted
	c.Born.UID, c.Born.GID, c.Born.Groups = kind.UIDs{}, kind.GIDs{}, nil
	c.Born.Caps = kind.CapSets{Permitted: caps, Effective: caps, Bounding: c.Born.Caps.Bounding}
	return c, nil
}

// capabilities are the caller's, as kinds know them.
func (w *standing) capabilities() kind.CapSets {
	c := &w.caller
	return kind.CapSets{Inheritable: credmap.Caps(c.Inheritable), Permitted: credmap.Caps(c.Permitted), Effective: credmap.Caps(c.Effective),
		Bounding: credmap.Caps(c.Bounding), Ambient: credmap.Caps(c.Ambient)}
}

// nobody is the user and group without rights (CONFIG_UID16's overflow ids,
// which every distribution reserves).
const nobody = 65534
