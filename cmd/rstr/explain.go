package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// explain adds what the user can do about an error. img is nil where the
// image was not accepted.
func (o *options) explain(err error, img *verify.Image) error {
	var needs *restore.NeedsError
	var taken *restore.TakenError
	switch {
	case errors.As(err, &needs):
		return unmet(needs, img.Verdict())
	case errors.As(err, &taken):
		return o.inUse(taken, img.Manifest())
	case errors.Is(err, verify.ErrUnsigned), errors.Is(err, verify.ErrUnknownSigner):
		return cli.WithHint(err, "ckpt show says who signed it; a line in an allowed_signers file trusts a key")
	}
	return err
}

// maxLines is how much of a long list is shown.
const maxLines = 10

// unmet lists what an image asks for and does not get.
func unmet(e *restore.NeedsError, v verify.Verdict) error {
	lines := []string{"the image asks for authority that nobody granted:"}
	for i, w := range e.Wants {
		if i == maxLines {
			lines = append(lines, fmt.Sprintf("  and %d more", len(e.Wants)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("  %s: %s (%s)", w.Object, w.Need.Demand, w.Need.Why))
	}
	for _, why := range v.Reasons {
		lines = append(lines, why.Error())
	}
	err := cli.Fail(cli.Refused, "%s", strings.Join(lines, "\n"))
	switch {
	case os.Geteuid() != 0:
		return cli.WithHint(err, "root may restore it, if a key that root trusts has signed it")
	case !v.Signed:
		return cli.WithHint(err, "ckpt sign IMAGE vouches for it")
	}
	return err
}

// inUse says who has the PIDs of the tree, and what would work.
func (o *options) inUse(e *restore.TakenError, m *image.Manifest) error {
	var lines []string
	own := 0
	for i, t := range e.PIDs {
		if i == maxLines {
			lines = append(lines, fmt.Sprintf("and %d more PIDs of the tree are in use", len(e.PIDs)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("PID %d is in use by %s", t.PID, holder(t.PID)))
	}
	for _, t := range e.PIDs {
		if started(t.PID).Unix() <= m.Header.Created {
			own++
		}
	}
	err := cli.Fail(cli.HostDiffers, "%s", strings.Join(lines, "\n"))
	if own == len(e.PIDs) {
		err = cli.WithHint(err, "the tree that was dumped may be what still runs: end it first (kill %d), or dump with ckpt --kill", e.PIDs[0].PID)
	}
	return cli.WithHint(err, "in a PID namespace of its own its numbers are free: unshare --pid --fork --mount-proc rstr %s", o.again())
}

// again is the command line of this restore.
func (o *options) again() string {
	args := os.Args[1:]
	if o.input == "" {
		return strings.Join(args, " ") + " < IMAGE"
	}
	return strings.Join(args, " ")
}

// holder describes the process, or the thread of one, that has a PID.
func holder(pid int) string {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return "a program that is gone by now"
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return "a program that is gone by now"
	}
	who := fmt.Sprintf("%+q", st.Name)
	if int(st.Tgid) != pid {
		who = fmt.Sprintf("a thread of process %d, %+q", st.Tgid, st.Name)
	}
	who += fmt.Sprintf(" of %s, since %s", userName(st.UID.Real), started(pid).Format(time.DateTime))
	if st.State == 'Z' {
		who += fmt.Sprintf(", dead, but process %d has not waited for it", st.PPid)
	}
	return who
}

// userHZ is the unit of times in /proc (USER_HZ, time(7)), on every
// architecture that we know.
const userHZ = 100

// started is when a process began: its start time counts from boot.
func started(pid int) time.Time {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return time.Time{}
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return time.Time{}
	}
	up, err := kernelio.Clock(clockBoottime)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(st.StartTime)*(time.Second/userHZ) - time.Duration(up))
}

const clockBoottime = 7 // CLOCK_BOOTTIME, linux/time.h

func userName(uid uint32) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return fmt.Sprintf("user %d", uid)
	}
	return fmt.Sprintf("user %s (%d)", u.Username, uid)
}
