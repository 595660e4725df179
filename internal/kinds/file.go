package kinds

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type fileRecord struct {
	Inode kind.InodeRef `cbor:"1,keyasint"`
	Flags uint32        `cbor:"2,keyasint,omitempty"` // as F_GETFL, with the bits of onlyAtOpen
	Pos   int64         `cbor:"3,keyasint,omitempty"`
	Dir   bool          `cbor:"4,keyasint,omitempty"` // it is a directory
	// Born says that opening it made the file (O_TMPFILE), which is still
	// without a name: so it is the description by which the inode is made.
	Born bool `cbor:"5,keyasint,omitempty"`
	// Found says that it is the description by which the inode is found: the
	// first by O_PATH | O_NOFOLLOW, which can't be had by opening it again.
	Found bool `cbor:"6,keyasint,omitempty"`
}

// fileFlags are the status flags that a description of a file may have
// (f_flags after do_dentry_open cut off the creation flags, fs/open.c).
const fileFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK | unix.O_SYNC | unix.O_ASYNC | unix.O_DIRECT |
	oLargefile | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_PATH | oTmpfile

// File claims descriptions of what lies on a filesystem: regular files (also
// deleted ones and memfds), directories, devices without state, and O_PATH
// descriptors of anything. The inode's own kind says what it is and whether
// it is still the same; here belong the flags and the position.
func File() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, fileRecord]{
		Name:   "file",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classFile),
		Dump:   dumpFile,
		Check:  checkFile,
		Plan:   planFile,
	})
}

func dumpFile(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (fileRecord, error) {
	if f.Inode == nil {
		return fileRecord{}, kind.Unsupportedf("an O_PATH descriptor of %s", f.Link)
	}
	if unknown := f.Info.Flags &^ (fileFlags | unix.O_CLOEXEC); unknown != 0 {
		return fileRecord{}, kind.Unsupportedf("opened with the flags %#o, of which ckpt does not know %#o", f.Info.Flags, unknown)
	}
	if f.Stat.Format() == unix.S_IFCHR && f.Info.Pos != 0 {
		return fileRecord{}, kind.Unsupportedf("at position %d of a device that can't be set", f.Info.Pos)
	}
	return fileRecord{Inode: f.Inode.Ref(), Flags: f.Info.Flags &^ unix.O_CLOEXEC, Pos: f.Info.Pos,
		Dir: f.Stat.Format() == unix.S_IFDIR, Born: isBorn(f), Found: isFound(f)}, nil
}

// isBorn says whether the description is the one that O_TMPFILE gave, and the
// inode's kind will make it in the same way.
func isBorn(f *kind.FileSite) bool {
	return f.Info.Flags&oTmpfile != 0 && f.Info.Flags&unix.O_ACCMODE == unix.O_RDWR && inodeClassOf(f.Inode) == inodeGhost
}

const foundFlags = unix.O_PATH | unix.O_NOFOLLOW

// isFound says whether the description is the first that is like the one by
// which openObject finds the inode.
func isFound(f *kind.FileSite) bool {
	switch inodeClassOf(f.Inode) {
	case inodeRegular, inodeSymlink, inodeDevice:
	default:
		return false
	}
	i := slices.IndexFunc(f.Inode.Files, func(g *kind.FileSite) bool { return g.Info.Flags&^unix.O_CLOEXEC == foundFlags })
	return i >= 0 && f.Inode.Files[i] == f
}

func checkFile(r fileRecord) error {
	switch {
	case r.Inode == 0:
		return errors.New("no inode")
	case r.Flags&^fileFlags != 0:
		return fmt.Errorf("flags %#o", r.Flags)
	case r.Born && r.Flags&(oTmpfile|unix.O_ACCMODE|unix.O_PATH) != oTmpfile|unix.O_RDWR:
		return fmt.Errorf("flags %#o of a file that they made", r.Flags)
	case r.Found && r.Flags != foundFlags:
		return fmt.Errorf("flags %#o of a file that is found by them", r.Flags)
	case r.Pos < 0, r.Pos != 0 && r.Flags&unix.O_PATH != 0:
		return fmt.Errorf("position %d", r.Pos)
	}
	return nil
}

func planFile(r fileRecord, h *kind.Host) []plan.Step {
	steps := []plan.Step{{
		Stage: plan.Create,
		Text:  fmt.Sprintf("open it again (%s)", accessMode(r.Flags)),
		Needs: openNeeds(r.Inode, r.Flags),
		Ops:   []plan.Op{reopenAny(r.Inode, r.Flags, h.Self)},
	}}
	if r.Found {
		return oneStep(plan.Create, "take the descriptor that found it", dup(plan.FD(r.Inode.Main()), h.Self))
	}
	if r.Born {
		steps = []plan.Step{{Stage: plan.Create, Text: "take the descriptor that made it", Ops: []plan.Op{dup(plan.FD(r.Inode.Main()), h.Self)}},
			{Stage: plan.Settle, Text: "set the flags of the file", Ops: []plan.Op{
				setFlags(plan.FD(h.Self), r.Flags&(unix.O_APPEND|unix.O_NONBLOCK|unix.O_DIRECT|unix.O_NOATIME))}}}
	}
	if r.Pos != 0 {
		steps = append(steps, r.seek(h))
	}
	return steps
}

// seek goes to the recorded position. Of a directory one piece is read first:
// ext4 takes the position of the first reading for the beginning, and would
// never come back to the entries before it (ext4_dx_readdir in fs/ext4/dir.c).
func (r fileRecord) seek(h *kind.Host) plan.Step {
	s := plan.Step{Stage: plan.Settle, Text: fmt.Sprintf("go to position %d", r.Pos)}
	if r.Dir {
		s.Ops = []plan.Op{plan.Call{Nr: unix.SYS_GETDENTS64, Args: []plan.Arg{plan.FD(h.Self), plan.Out(512), plan.Int(512)}}}
	}
	s.Ops = append(s.Ops, plan.Call{
		Nr:   unix.SYS_LSEEK,
		Args: []plan.Arg{plan.FD(h.Self), plan.Int(r.Pos), plan.Int(unix.SEEK_SET)},
		Ret:  plan.Exactly(r.Pos),
	})
	return s
}

// reopenAny is reopen, but for O_PATH: the link below /proc/self/fd leads to
// the object itself even if that is a symbolic link or a socket, so opening
// it with O_PATH works for every object.
func reopenAny(inode kind.InodeRef, flags uint32, out plan.Ref) plan.Call {
	if flags&unix.O_PATH != 0 {
		flags &= unix.O_PATH | unix.O_DIRECTORY
	}
	return reopen(inode, flags, out)
}

// openNeeds is the authority to open an existing object in a mode: none for
// O_PATH, which grants nothing that the directory did not.
func openNeeds(inode kind.InodeRef, flags uint32) []plan.Need {
	mode := accessMode(flags)
	if mode == "-" {
		return nil
	}
	return []plan.Need{{
		Demand: fmt.Sprintf("file:%v:%s", inode.Main(), mode),
		Why:    "the program had it open in this mode",
	}}
}
