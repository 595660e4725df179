package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/policy"
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
		return o.unmet(needs, img.Verdict())
	case errors.As(err, &taken):
		return o.inUse(taken, img.Manifest())
	case errors.As(err, new(*restore.MapError)):
		return cli.WithHint(err, "--uidmap and --gidmap FROM:TO say who they are here; --map-rest=identity that the rest are the same")
	case errors.Is(err, verify.ErrUnsigned), errors.Is(err, verify.ErrUnknownSigner):
		return cli.WithHint(err, "ckpt show says who signed it; a line in an allowed_signers file trusts a key")
	}
	return err
}

// maxLines is how much of a long list is shown.
const maxLines = 10

// unmet lists what an image asks for and does not get.
func (o *options) unmet(e *restore.NeedsError, v verify.Verdict) error {
	lines := []string{"the image asks for authority that nobody granted:"}
	sum := demands(e)
	for i, d := range sum {
		if i == maxLines {
			lines = append(lines, fmt.Sprintf("  and %d more", len(sum)-i))
			break
		}
		lines = append(lines, "  "+d)
	}
	if !v.Signed {
		lines = append(lines, "the image is not signed")
	}
	lines = append(lines, o.reasons(v)...)
	if v.Grants {
		lines = append(lines, nearest(e)...)
	}
	err := cli.Fail(cli.Refused, "%s", strings.Join(lines, "\n"))
	switch {
	case onlyPIDs(e):
		err = cli.WithHint(err, "its numbers in a PID namespace of its own, or other ones, take no right: rstr --pidns %s, or --no-pids", o.again())
		return cli.WithHint(err, "setcap cap_checkpoint_restore=ep on rstr lets everybody choose PIDs")
	case !o.who.root:
		return cli.WithHint(err, "root may restore it, if a key that root trusts has signed it")
	case !v.Signed:
		err = cli.WithHint(err, "ckpt sign IMAGE vouches for it")
	}
	if !v.Grants {
		err = cli.WithHint(err, "--trust-unsigned gives it all that it asks for, whoever made it")
	}
	return err
}

// reasons say why nobody trusts the image, as whoever could read the trust files
// found out.
func (o *options) reasons(v verify.Verdict) (lines []string) {
	if o.inside != nil && o.inside.facts.UserNS {
		return o.inside.facts.Reasons
	}
	for _, why := range v.Reasons {
		lines = append(lines, why.Error())
	}
	return lines
}

// nearest says what kept the policy from granting.
func nearest(e *restore.NeedsError) []string {
	var out []string
	for _, w := range e.Wants {
		if w.Nearest != "" && !slices.Contains(out, w.Nearest) && len(out) < maxLines {
			out = append(out, w.Nearest)
		}
	}
	return out
}

// onlyPIDs says whether nothing but the tree's numbers is out of reach.
func onlyPIDs(e *restore.NeedsError) bool {
	return !slices.ContainsFunc(e.Wants, func(w policy.Judged) bool { return w.Need.Demand != "pid:here" })
}

// demands lists each demand once: why, for which object, and for how many more.
func demands(e *restore.NeedsError) []string {
	type key struct{ demand, why string }
	first, count := map[key]string{}, map[key]int{}
	var order []key
	for _, w := range e.Wants {
		k := key{w.Need.Demand, w.Need.Why}
		if count[k]++; count[k] == 1 {
			first[k] = w.Object
			order = append(order, k)
		}
	}
	var out []string
	for _, k := range order {
		line := fmt.Sprintf("%s (%s): %s", k.demand, k.why, first[k])
		if n := count[k] - 1; n > 0 {
			line += fmt.Sprintf(" and %d more", n)
		}
		out = append(out, line)
	}
	return out
}

// inUse says who has the PIDs of the tree, and what would work.
func (o *options) inUse(e *restore.TakenError, m *image.Manifest) error {
	var lines []string
	older := true
	for _, h := range holders(e) {
		if len(lines) == maxLines {
			lines = append(lines, "and more PIDs of the tree are in use")
			break
		}
		lines = append(lines, h.String())
		older = older && !h.dead && h.since.Unix() <= m.Header.Created
	}
	err := cli.Fail(cli.HostDiffers, "%s", strings.Join(lines, "\n"))
	if older {
		err = cli.WithHint(err, "the tree that was dumped may be what still runs: end it first (kill %d), or dump with ckpt --kill", e.PIDs[0].PID)
	}
	if kernelio.TryNamespaces(unix.CLONE_NEWPID|unix.CLONE_NEWNS) != nil {
		return cli.WithHint(err, "with other numbers it can run: rstr --no-pids %s", o.again())
	}
	return cli.WithHint(err, "in a PID namespace of its own its numbers are free: rstr --pidns %s", o.again())
}

// again is the command line of this restore without what it says about PIDs.
func (o *options) again() string {
	line := strings.Join(slices.DeleteFunc(withoutInside(os.Args[1:]), func(arg string) bool {
		return arg == "--pidns" || arg == "--no-pids" || strings.HasPrefix(arg, "--pids")
	}), " ")
	if o.input == "" {
		line += " < IMAGE"
	}
	return line
}

// holder is a process that has PIDs of the tree, its own or its threads'.
type holder struct {
	pids   []int
	tgid   int // 0: it is gone by now
	name   string
	uid    uint32
	parent int
	dead   bool
	since  time.Time
}

// holders are the processes that have the PIDs of the tree.
func holders(e *restore.TakenError) []*holder {
	var out []*holder
	by := map[int]*holder{}
	for _, t := range e.PIDs {
		h := holderOf(t.PID)
		if known := by[h.tgid]; known != nil && h.tgid != 0 {
			known.pids = append(known.pids, t.PID)
			continue
		}
		by[h.tgid] = h
		out = append(out, h)
	}
	return out
}

func holderOf(pid int) *holder {
	h := &holder{pids: []int{pid}}
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return h
	}
	defer dir.Close()
	if st, err := dir.Status(); err == nil {
		h.tgid, h.name, h.uid, h.parent, h.dead = int(st.Tgid), st.Name, st.UID.Real, int(st.PPid), st.State == 'Z'
		h.since = started(h.tgid)
	}
	return h
}

func (h *holder) String() string {
	s := fmt.Sprintf("PID %d is in use by ", h.pids[0])
	if n := len(h.pids) - 1; n > 0 {
		s = fmt.Sprintf("PID %d and %d more are in use by ", h.pids[0], n)
	}
	if h.tgid == 0 {
		return s + "a program that is gone by now"
	}
	s += fmt.Sprintf("process %d, %+q of %s, since %s", h.tgid, h.name, userName(h.uid), h.since.Format(time.DateTime))
	if h.dead {
		s += fmt.Sprintf("; it is dead, but process %d has not waited for it", h.parent)
	}
	return s
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
