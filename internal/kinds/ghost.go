package kinds

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type ghostRecord struct {
	Dir     []byte       `cbor:"1,keyasint,omitempty"` // empty: no filesystem there can hold it
	Name    []byte       `cbor:"2,keyasint"`
	Size    int64        `cbor:"3,keyasint,omitempty"`
	Mode    uint32       `cbor:"4,keyasint,omitempty"` // permissions
	UID     credmap.UID  `cbor:"5,keyasint,omitempty"`
	GID     credmap.GID  `cbor:"6,keyasint,omitempty"`
	Content kind.BlobRef `cbor:"7,keyasint,omitempty"`
	Mtime   int64        `cbor:"8,keyasint,omitempty"` // nanoseconds since 1970
}

// Ghost claims regular files without a name, whose contents must travel.
//
// The file comes back as one that never had a name (O_TMPFILE in the directory
// where it was), so that a restore that dies leaves nothing behind. Its link
// in /proc reads "#inode (deleted)": to give it the old name would mean to
// make a directory entry and to remove it again, with a moment between the two
// in which it could be left over, or somebody else's be removed. Where the
// directory is gone or its filesystem has no such files, memory holds it.
func Ghost() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, ghostRecord]{
		Name:   "ghost",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeGhost),
		Dump:   dumpGhost,
		Check:  ghostRecord.check,
		Plan:   ghostRecord.plan,
	})
}

func dumpGhost(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (ghostRecord, error) {
	r := ghostRecord{Dir: []byte(path.Dir(i.Path)), Name: []byte(path.Base(i.Path)), Size: i.Stat.Size,
		Mode: i.Stat.Mode &^ unix.S_IFMT, UID: i.Stat.UID, GID: i.Stat.GID, Mtime: i.Stat.Mtime}
	if r.Mode&^0o777 != 0 {
		return r, kind.Unsupportedf("a deleted file with the permissions %#o: rstr never makes a file with set-id bits", r.Mode)
	}
	if err := refuseAttributes(i); err != nil {
		return r, err
	}
	if !holdsGhosts(i.Do, r.Dir) {
		r.Dir = nil
	}
	var err error
	r.Content, err = content(d, i)
	return r, err
}

// refuseAttributes refuses a file with extended attributes (xattr(7)) but for
// the labels that every file has on some hosts. Of one that is only mapped nobody
// can tell.
func refuseAttributes(i *kind.InodeSite) error {
	if i.Unheld {
		return nil
	}
	const room = 64 << 10 // XATTR_LIST_MAX
	r, err := i.Do(plan.Call{Nr: unix.SYS_LISTXATTR, Args: []plan.Arg{plan.FDPath(i.Ref().Main()), plan.Out(room), plan.Int(room)}})
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for its extended attributes: %w", err)
	}
	for name := range bytes.SplitSeq(r.Out[0][:r.Ret], []byte{0}) {
		if len(name) > 0 && !bytes.HasPrefix(name, []byte("security.")) {
			return kind.Unsupportedf("a deleted file with the extended attribute %+q", name)
		}
	}
	return nil
}

// content stores the bytes of an inode; nothing if there are none.
func content(d kind.Dump, i *kind.InodeSite) (kind.BlobRef, error) {
	if i.Stat.Size == 0 {
		return 0, nil
	}
	return d.Content(i)
}

// holdsGhosts tries whether a file without a name can be made in a directory.
func holdsGhosts(do kind.Doer, dir []byte) bool {
	fd, err := do(openGhost(dir, plan.Ref{}))
	if err != nil {
		return false
	}
	closeOwn(do, fd.Ret)
	return true
}

const ghostMode = 0o600 // no umask takes from it

func openGhost(dir []byte, out plan.Ref) plan.Call {
	return plan.Call{
		Nr: unix.SYS_OPENAT,
		Args: []plan.Arg{atCwd, plan.Str(string(dir)),
			plan.Int(unix.O_TMPFILE | unix.O_RDWR | unix.O_CLOEXEC), plan.Int(ghostMode)},
		Out: out,
	}
}

func (r ghostRecord) check() error {
	switch {
	case r.Size < 0, r.Content != 0 && r.Size == 0:
		return fmt.Errorf("size %d", r.Size)
	case r.Mode&^0o777 != 0:
		return fmt.Errorf("permissions %#o", r.Mode)
	case len(r.Name) == 0 || len(r.Name) > unix.NAME_MAX:
		return errors.New("no name")
	case len(r.Dir) == 0:
		return nil
	}
	return checkPath(r.Dir)
}

func (r ghostRecord) plan(h *kind.Host) []plan.Step {
	create, born := r.create(h.Self), bornAs(h, ghostMode)
	if len(r.Dir) == 0 {
		born.mode = memfdMode
	}
	// While it is filled it can be read and written; the bits for execution are
	// there when the executable file of a process is set.
	now := r.Mode | ghostMode
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  fmt.Sprintf("make the deleted file %+q again", path.Join(string(r.Dir), string(r.Name))),
		Ops:   asOps(append([]plan.Call{create}, shape(h.Self, r.Size, now, born.mode)...)),
	}}
	born.mode = now
	steps = append(steps, fill(h.Self, r.Content)...)
	steps = append(steps, r.written(h)...)
	return append(steps, ownership(h.Self, owner{r.Mode, r.UID, r.GID}, born)...)
}

// written sets when the file was last written to (utimensat(2)).
func (r ghostRecord) written(h *kind.Host) []plan.Step {
	if r.Mtime == 0 {
		return nil
	}
	sec := r.Mtime / 1e9
	if r.Mtime%1e9 < 0 {
		sec--
	}
	le := binary.LittleEndian
	times := le.AppendUint64(le.AppendUint64(nil, 0), unix.UTIME_OMIT)
	times = le.AppendUint64(le.AppendUint64(times, uint64(sec)), uint64(r.Mtime-sec*1e9))
	return oneStep(plan.Settle, "set when it was written", plan.Call{Nr: unix.SYS_UTIMENSAT, Ret: plan.Exactly(0),
		Args: []plan.Arg{plan.FD(h.Self), plan.Int(0), plan.Buf(times), plan.Int(0)}})
}

func (r ghostRecord) create(out plan.Ref) plan.Call {
	if len(r.Dir) == 0 {
		return createMemfd(r.Name, 0, out)
	}
	return openGhost(r.Dir, out)
}

// shape gives a new file its size and permissions.
func shape(fd plan.Ref, size int64, mode, born uint32) []plan.Call {
	var calls []plan.Call
	if size > 0 {
		calls = append(calls, plan.Call{Nr: unix.SYS_FTRUNCATE,
			Args: []plan.Arg{plan.FD(fd), plan.Int(size)}, Ret: plan.Exactly(0)})
	}
	if mode != born {
		calls = append(calls, plan.Call{Nr: unix.SYS_FCHMOD,
			Args: []plan.Arg{plan.FD(fd), plan.Int(mode)}, Ret: plan.Exactly(0)})
	}
	return calls
}

// fill writes contents that travelled in the image.
func fill(fd plan.Ref, content kind.BlobRef) []plan.Step {
	if content == 0 {
		return nil
	}
	return oneStep(plan.Fill, "write its contents", plan.Move{Blob: uint32(content), Into: fd})
}
