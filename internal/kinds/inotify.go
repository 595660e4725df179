package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// inotifySetNextWD is INOTIFY_IOC_SETNEXTWD, _IOW('I', 0, __s32) of
// linux/inotify.h; the number itself is the argument. CONFIG_CHECKPOINT_RESTORE.
const inotifySetNextWD = 0x40044900

type inotifyRecord struct {
	NonBlock bool        `cbor:"1,keyasint,omitempty"`
	Watches  []pathWatch `cbor:"2,keyasint,omitempty"` // by WD
}

type pathWatch struct {
	WD   int32  `cbor:"1,keyasint"`
	Path []byte `cbor:"2,keyasint"`
	Mask uint32 `cbor:"3,keyasint"`
	Type uint32 `cbor:"4,keyasint"` // S_IF* of what is watched
	// Ino was its inode number; on another host it may differ.
	Ino uint64 `cbor:"5,keyasint"`
}

// Inotify claims inotify instances without unread events. Watch descriptors
// keep their numbers; the next new one comes after the highest of them.
//
// What a dump or restore does to a watched file may be told to the watcher:
// the watches are set last of all, so that little is left to tell.
func Inotify() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, inotifyRecord]{
		Name:   "inotify",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classInotify),
		Dump:   dumpInotify,
		Check:  checkInotify,
		Plan:   planInotify,
	})
}

func dumpInotify(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (inotifyRecord, error) {
	r := inotifyRecord{NonBlock: nonBlock(f)}
	if err := onlyFlags(f, unix.O_NONBLOCK|unix.O_ASYNC); err != nil {
		return r, err
	}
	unread, err := ioctlInt(f.Do, self(f), unix.TIOCINQ)
	if err != nil {
		return r, err
	}
	if unread > 0 {
		return r, &kind.Unsupported{Why: "an inotify instance with events that are not read yet",
			Hint: "try again when the program has read them"}
	}
	for _, w := range f.Info.Inotify {
		p, err := findWatched(f, w)
		if err != nil {
			return r, err
		}
		r.Watches = append(r.Watches, p)
	}
	slices.SortFunc(r.Watches, func(a, b pathWatch) int { return int(a.WD) - int(b.WD) })
	return r, nil
}

// findWatched opens the watched inode by its handle, on each mount of its
// filesystem in turn until one shows it, and asks for its path.
func findWatched(f *kind.FileSite, w abi.InotifyWatch) (pathWatch, error) {
	p := pathWatch{WD: w.WD, Mask: w.Mask, Ino: w.Ino}
	switch {
	case w.Handle == nil:
		return p, kind.Unsupportedf("inotify watch %d is on a filesystem without file handles", w.WD)
	case w.Mask == 0, w.IgnoredMask != 0:
		return p, kind.Unsupportedf("inotify watch %d has the mask %#x, without %#x", w.WD, w.Mask, w.IgnoredMask)
	}
	text, err := f.Task.Proc.Read("mountinfo")
	if err != nil {
		return p, err
	}
	mounts, err := abi.ParseMountinfo(text)
	if err != nil {
		return p, err
	}
	var last error
	for _, m := range mounts {
		if m.Dev != w.Dev {
			continue
		}
		if last = p.find(f, w, m.Point); last == nil {
			return p, nil
		}
	}
	return p, notFound(w, last)
}

func notFound(w abi.InotifyWatch, err error) error {
	u := &kind.Unsupported{Why: fmt.Sprintf("ckpt can't find what inotify watch %d watches (inode %d)", w.WD, w.Ino)}
	if errors.Is(err, unix.EPERM) {
		u.Hint = "opening it by its handle takes CAP_DAC_READ_SEARCH: run ckpt as root"
	}
	return u
}

// find fills in the path of the inode below one mount.
func (p *pathWatch) find(f *kind.FileSite, w abi.InotifyWatch, mount string) error {
	at, err := f.Do(plan.Call{Nr: unix.SYS_OPENAT, Args: []plan.Arg{
		atCwd, plan.Str(mount), plan.Int(unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK)}})
	if err != nil {
		return err
	}
	defer closeOwn(f.Do, at.Ret)
	handle := binary.LittleEndian.AppendUint32(nil, uint32(len(w.Handle))) // struct file_handle
	handle = binary.LittleEndian.AppendUint32(handle, w.HandleType)
	fd, err := f.Do(plan.Call{Nr: unix.SYS_OPEN_BY_HANDLE_AT, Args: []plan.Arg{
		plan.Int(at.Ret), plan.Buf(append(handle, w.Handle...)), plan.Int(unix.O_PATH | unix.O_CLOEXEC)}})
	if err != nil {
		return err
	}
	defer closeOwn(f.Do, fd.Ret)
	link, err := f.Do(plan.Call{Nr: unix.SYS_READLINKAT, Args: []plan.Arg{
		atCwd, plan.Str(fmt.Sprintf("/proc/self/fd/%d", fd.Ret)), plan.Out(unix.PathMax), plan.Int(unix.PathMax)}})
	if err != nil {
		return err
	}
	p.Path = link.Out[0][:link.Ret]
	return p.confirm(f)
}

// confirm looks whether the path leads to the inode, as the restore will.
func (p *pathWatch) confirm(f *kind.FileSite) error {
	res, err := f.Do(plan.Call{Nr: unix.SYS_STATX, Args: []plan.Arg{atCwd, plan.Str(string(p.Path)),
		plan.Int(unix.AT_SYMLINK_NOFOLLOW), plan.Int(unix.STATX_BASIC_STATS), plan.Out(stxBytes)}})
	if err != nil {
		return err
	}
	b, le := res.Out[0], binary.LittleEndian
	p.Type = uint32(le.Uint16(b[stxMode:])) & unix.S_IFMT
	if le.Uint64(b[stxIno:]) != p.Ino || p.Type == unix.S_IFLNK {
		return fmt.Errorf("%+q is another file", p.Path)
	}
	return checkPath(p.Path)
}

func checkInotify(r inotifyRecord) error {
	last := int32(0)
	for _, w := range r.Watches {
		if w.WD <= last {
			return fmt.Errorf("watch %d after %d", w.WD, last)
		}
		if w.Mask == 0 || w.Mask&^inotifyMask != 0 || w.Type&^unix.S_IFMT != 0 {
			return fmt.Errorf("watch %d with mask %#x of type %#o", w.WD, w.Mask, w.Type)
		}
		if err := checkPath(w.Path); err != nil {
			return err
		}
		last = w.WD
	}
	return nil
}

// inotifyMask is what fdinfo shows of a mask (inotify_mark_user_mask in
// fs/notify/inotify/inotify.h).
const inotifyMask = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT

func planInotify(r inotifyRecord, h *kind.Host) []plan.Step {
	flags := unix.IN_CLOEXEC
	if r.NonBlock {
		flags |= unix.IN_NONBLOCK
	}
	steps := oneStep(plan.Create, "make an inotify instance", plan.Call{
		Nr: unix.SYS_INOTIFY_INIT1, Args: []plan.Arg{plan.Int(flags)}, Out: h.Self})
	if len(r.Watches) == 0 {
		return steps
	}
	for _, w := range r.Watches {
		steps = append(steps, w.plan(h))
	}
	next := r.Watches[len(r.Watches)-1].WD + 1
	return append(steps, oneStep(plan.Arm, "go on with the next watch descriptor", setNextWD(h, max(next, 1)))...)
}

// plan adds the watch under its number, if the path leads to what it did.
func (w pathWatch) plan(h *kind.Host) plan.Step {
	path := plan.Str(string(w.Path))
	return plan.Step{
		Stage: plan.Arm,
		Text:  fmt.Sprintf("watch %+q", w.Path),
		Needs: []plan.Need{{Demand: fmt.Sprintf("file:%s:r", w.Path), Why: "watching a file takes the right to read it"},
			{Demand: "limit:watches", Why: "users may have so many watches only", Amount: 1}},
		Ops: []plan.Op{
			plan.Call{Nr: unix.SYS_STATX, Ret: plan.Exactly(0), Expect: []plan.Field{wantType(w.Type)}, Args: []plan.Arg{
				atCwd, path, plan.Int(unix.AT_SYMLINK_NOFOLLOW), plan.Int(unix.STATX_BASIC_STATS), plan.Out(stxBytes)}},
			setNextWD(h, w.WD),
			plan.Call{Nr: unix.SYS_INOTIFY_ADD_WATCH, Ret: plan.Exactly(int64(w.WD)), Args: []plan.Arg{
				plan.FD(h.Self), path, plan.Int(w.Mask | unix.IN_DONT_FOLLOW)}},
		},
	}
}

func setNextWD(h *kind.Host, wd int32) plan.Call {
	return plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{plan.FD(h.Self), plan.Int(inotifySetNextWD), plan.Int(wd)}, Ret: plan.Exactly(0)}
}
