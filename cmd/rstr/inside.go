package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// insideFlag is the first argument of the inner rstr; insideAgain that of one
// that had to begin anew; insideTry that of one that is to build nothing.
const (
	insideFlag  = "--inside"
	insideAgain = "--inside=again"
	insideTry   = "--inside=try"
)

// resident is the inner rstr as it knows itself.
type resident struct {
	facts  insideFacts
	socket *json.Encoder
}

// isInside says whether these are the arguments of an inner rstr.
func isInside(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{insideFlag, insideAgain, insideTry}, args[0]) && kernelio.PID() == 1
}

// inhabit is all of the inner rstr. Its exit code counts for nobody.
func inhabit(args []string, s *streams, table kind.Table) (int, error) {
	if lent, err := kernelio.Elevated(); lent || err != nil {
		return 0, cli.Fail(cli.NotAllowed, "%s is not for callers", insideFlag)
	}
	in, err := meet()
	if err != nil {
		return 0, err
	}
	if args[0] == insideTry {
		return 0, in.lookAround()
	}
	o := &options{table: table, inside: in}
	b, err := o.restoreInside(args, s)
	if errors.Is(err, errNoNamespace) {
		why := err.Error()
		in.tell(insideEvent{Unfit: &why})
		return cli.HostDiffers, nil
	}
	if err != nil {
		err = o.explain(err, b.img)
		s.speaker.Error(err)
		code := exitCode(err)
		in.tell(insideEvent{Failed: &code})
		return code, nil
	}
	in.tell(insideEvent{Runs: &insideTree{b.PID, b.Tasks, b.Threads, b.Reserving}})
	return 0, o.beInit(b.PID)
}

// lookAround finds out whether a tree could be built here.
func (in *resident) lookAround() error {
	if err := kernelio.MountProc(); err != nil {
		why := unfitFor(err).Error()
		in.tell(insideEvent{Unfit: &why})
		return nil
	}
	in.tell(insideEvent{Fit: true})
	return nil
}

// meet hears what the outer rstr has to say.
func meet() (*resident, error) {
	for _, fd := range []int{insideSocket, insideImage} {
		if _, err := kernelio.Fcntl(fd, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, err
		}
	}
	socket := os.NewFile(insideSocket, "outer rstr")
	in := &resident{socket: json.NewEncoder(socket)}
	if err := json.NewDecoder(socket).Decode(&in.facts); err != nil {
		return nil, fmt.Errorf("the outer rstr: %w", err)
	}
	return in, nil
}

func (o *options) restoreInside(args []string, s *streams) (b built, err error) {
	if o.who, err = o.inside.settle(args[0] == insideAgain); err != nil {
		return b, err
	}
	if err = o.parse(args[1:], s.out, s.speaker); err != nil {
		return b, err
	}
	o.route = restore.Namespace
	if o.expect, err = digest(o.inside.facts.Digest); err != nil {
		return b, err
	}
	if b, err = o.build(s); err != nil {
		return b, err
	}
	return b, kernelio.OutliveParent()
}

// tell reports to the outer rstr, which may be gone.
func (in *resident) tell(e insideEvent) { in.socket.Encode(e) }

// settle makes the new namespaces a place to build a tree in: with a /proc of
// its own, and with no more rights in the user namespace than to choose PIDs.
func (in *resident) settle(again bool) (*standing, error) {
	if !again {
		if err := kernelio.MountProc(); err != nil {
			return nil, unfitFor(err)
		}
		if in.facts.Room != 0 {
			if err := in.makeRoom(); err != nil {
				return nil, err
			}
		}
	}
	if !in.facts.UserNS {
		return arrive()
	}
	return in.humble()
}

// humble gives up what the user namespace has given, but for the right to
// choose PIDs in it, which is to be had when it is needed.
func (in *resident) humble() (*standing, error) {
	own, err := kernelio.OwnCredentials()
	if err != nil {
		return nil, err
	}
	if err := kernelio.DropBounding(own.Bounding, in.facts.Bounding); err != nil {
		return nil, err
	}
	own.Bounding &= in.facts.Bounding
	return &standing{caller: plain(own), lent: true, pids: true, settled: true, dir: in.facts.Dir},
		kernelio.LayDown(own.UID.Real, own.GID.Real, own.Groups, forPIDs)
}

// groups puts the caller's real groups in the place of what the user namespace,
// which knows only one, makes of them. They are in force all the same.
func (in *resident) groups(c *kind.Caller) {
	if in == nil || !in.facts.UserNS {
		return
	}
	c.Groups = nil
	for _, g := range in.facts.Groups {
		c.Groups = append(c.Groups, credmap.GID(g))
	}
	slices.Sort(c.Groups)
	c.Born.Groups = c.Groups
}

// makeRoom sees to it that no number of the tree is one of this program's own:
// it begins anew, with higher ones, where the tree has such low ones.
func (in *resident) makeRoom() error {
	if err := kernelio.SetLastPID(in.facts.Room); err != nil {
		return err
	}
	for _, fd := range []int{insideSocket, insideImage} {
		if err := kernelio.KeepFD(fd); err != nil {
			return err
		}
	}
	in.tell(insideEvent{Again: true})
	return kernelio.Exec("/proc/self/exe", append([]string{os.Args[0], insideAgain}, os.Args[2:]...))
}

// beInit is the init of the tree's PID namespace: it passes signals on to the
// tree's root and reaps whatever dies, until nothing is left. Nothing of the
// caller's is held open meanwhile.
func (o *options) beInit(root int) error {
	passOn(root, nil)
	if err := letGo(); err != nil {
		return err
	}
	for {
		pid, status, err := kernelio.ReapAny()
		if errors.Is(err, unix.ECHILD) {
			return outlastGuests()
		}
		if err != nil {
			return err
		}
		if pid == root {
			ended := uint32(status)
			o.inside.tell(insideEvent{Ended: &ended})
		}
	}
}

// outlastGuests waits for processes that others have brought into the
// namespace: with its init they would be killed. A ckpt that has just ended the
// tree is one.
func outlastGuests() error {
	for ; ; time.Sleep(10 * time.Millisecond) {
		all, err := kernelio.Processes()
		if err != nil || len(all) <= 1 {
			return err
		}
	}
}

// letGo puts /dev/null in the place of the standard streams.
func letGo() error {
	null, err := kernelio.OpenPath(os.DevNull, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := kernelio.Dup3(null.Int(), fd, 0); err != nil {
			return err
		}
	}
	return nil
}

// withoutInside is a command line as the caller typed it.
func withoutInside(args []string) []string {
	if len(args) > 0 && strings.HasPrefix(args[0], insideFlag) {
		return slices.Clone(args[1:])
	}
	return slices.Clone(args)
}

// unfitFor is errNoNamespace for a reason.
func unfitFor(err error) error { return fmt.Errorf("%w: %w", errNoNamespace, err) }

type unfitError struct{ why string }

func (e *unfitError) Error() string { return e.why }

func (e *unfitError) Is(target error) bool { return target == errNoNamespace }

// unfit is the error of namespaces in which no tree can be built.
func unfit(why string) error {
	err := cli.Fail(cli.HostDiffers, "%w", &unfitError{why})
	return cli.WithHint(err, "a part of /proc is covered here, as containers do; rstr --no-pids needs no namespace")
}
