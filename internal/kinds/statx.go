package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// Offsets in struct statx (linux/stat.h).
const (
	stxNlink     = 16
	stxUID       = 20
	stxGID       = 24
	stxMode      = 28 // 2 bytes
	stxIno       = 32
	stxSize      = 40
	stxMtime     = 112 // seconds (8 bytes), nanoseconds (4)
	stxRdevMajor = 128
	stxRdevMinor = 132
	stxDevMajor  = 136
	stxDevMinor  = 140
	stxBytes     = 256
)

// statx asks what an object is that the tool holds a descriptor of, and
// demands that it be as recorded.
func statx(fd plan.Arg, expect ...plan.Field) plan.Call {
	return plan.Call{
		Nr: unix.SYS_STATX,
		Args: []plan.Arg{fd, plan.Str(""), plan.Int(unix.AT_EMPTY_PATH | unix.AT_NO_AUTOMOUNT),
			plan.Int(unix.STATX_BASIC_STATS), plan.Out(stxBytes)},
		Ret:    plan.Exactly(0),
		Expect: expect,
	}
}

// wantType demands the type of file, S_IFREG for instance.
func wantType(format uint32) plan.Field {
	b := binary.LittleEndian.AppendUint16(nil, uint16(format))
	return plan.Field{Off: stxMode, Want: b, Mask: []byte{0, unix.S_IFMT >> 8}, Name: "type", Form: plan.Octal}
}

// wantSetID demands the very permissions that a set-id program had: what it was
// lent is no longer lent without them.
func wantSetID(mode uint32) plan.Field {
	b := binary.LittleEndian.AppendUint16(nil, uint16(mode))
	return plan.Field{Off: stxMode, Want: b, Mask: []byte{0xff, 0x0f}, Name: "permissions", Form: plan.Octal}
}

func wantOwner(uid uint32) plan.Field {
	return plan.Field{Off: stxUID, Want: binary.LittleEndian.AppendUint32(nil, uid), Name: "owner", Form: plan.Number}
}

func wantGroup(gid uint32) plan.Field {
	return plan.Field{Off: stxGID, Want: binary.LittleEndian.AppendUint32(nil, gid), Name: "group", Form: plan.Number}
}

func wantIno(ino uint64) plan.Field {
	return plan.Field{Off: stxIno, Want: binary.LittleEndian.AppendUint64(nil, ino), Name: "inode", Form: plan.Number}
}

func wantOneName() plan.Field {
	return plan.Field{Off: stxNlink, Want: []byte{1, 0, 0, 0}, Name: "number of names", Form: plan.Number}
}

func wantSize(size int64) plan.Field {
	return plan.Field{Off: stxSize, Want: binary.LittleEndian.AppendUint64(nil, uint64(size)), Name: "size", Form: plan.Number}
}

// wantMtime demands a time of modification, in nanoseconds since the epoch.
func wantMtime(ns int64) plan.Field {
	sec, rest := ns/1e9, ns%1e9
	if rest < 0 {
		sec, rest = sec-1, rest+1e9
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(sec))
	b = binary.LittleEndian.AppendUint32(b, uint32(rest))
	return plan.Field{Off: stxMtime, Want: b, Name: "mtime", Form: plan.Time}
}

// wantRdev demands the numbers of a device.
func wantRdev(major, minor uint32) []plan.Field {
	return []plan.Field{
		{Off: stxRdevMajor, Want: binary.LittleEndian.AppendUint32(nil, major), Name: "major device number", Form: plan.Number},
		{Off: stxRdevMinor, Want: binary.LittleEndian.AppendUint32(nil, minor), Name: "minor device number", Form: plan.Number},
	}
}

// leadsBack makes sure that the path of an inode leads to it, as the restore
// will take that path: another mount may cover it, it may belong to another
// mount namespace, or the file was renamed while one of its names was removed.
func leadsBack(i *kind.InodeSite) error {
	fd, err := i.Do(openObject([]byte(i.Path), 0, plan.Ref{}))
	if err != nil {
		return &kind.Unsupported{Why: fmt.Sprintf("its path does not lead to it: %v", reason(err)), Hint: leadsBackHint}
	}
	defer closeOwn(i.Do, fd.Ret)
	r, err := i.Do(statx(plan.Int(fd.Ret)))
	if err != nil {
		return err
	}
	b := r.Out[0]
	num := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	dev := unix.Mkdev(num(stxDevMajor), num(stxDevMinor))
	if dev != i.Stat.Dev || binary.LittleEndian.Uint64(b[stxIno:]) != i.Stat.Ino {
		return &kind.Unsupported{Why: "its path leads to another file", Hint: leadsBackHint}
	}
	return nil
}

const leadsBackHint = "ckpt must see the files of the program under the same names as the program does"

// reason is the kernel's word on a failed call.
func reason(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// checkPath refuses what the kernel never shows as the path of a file.
func checkPath(path []byte) error {
	s := string(path)
	if len(s) == 0 || len(s) >= unix.PathMax || s[0] != '/' || strings.ContainsRune(s, 0) {
		return fmt.Errorf("no absolute path: %+q", s)
	}
	for _, c := range strings.Split(s[1:], "/") {
		if c == "." || c == ".." || c == "" && s != "/" {
			return fmt.Errorf("not a path in its shortest form: %+q", s)
		}
	}
	return nil
}
