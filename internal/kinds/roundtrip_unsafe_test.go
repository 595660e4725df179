package kinds

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// arena is where the tests of this file map. It is small, since what is in it
// is unmapped, and Go's heap may begin anywhere (Go 1.26 release notes).
const (
	arena     = 0x2000_0000_0000
	arenaSize = 64 << 20
)

// sysCall makes a system call that must succeed.
func sysCall(t *testing.T, nr uintptr, a ...uintptr) uintptr {
	t.Helper()
	var args [6]uintptr
	copy(args[:], a)
	r, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	if errno != 0 {
		t.Fatalf("%s: %v", abi.SyscallName(nr), errno)
	}
	return r
}

const noFD = ^uintptr(0)

// mapAt maps size bytes at the arena and unmaps them when the test is over.
func mapAt(t *testing.T, size, prot, flags, fd uintptr) {
	t.Helper()
	sysCall(t, unix.SYS_MMAP, arena, size, prot, flags|unix.MAP_FIXED_NOREPLACE, fd, 0)
	t.Cleanup(func() { unix.Syscall(unix.SYS_MUNMAP, arena, size, 0) })
}

// bytesAt is memory of the arena.
func bytesAt(off, size uintptr) []byte {
	base := uintptr(arena)
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&base))), off+size)[off:]
}

// arenaMaps reads what smaps says of the arena.
func arenaMaps(t *testing.T) []abi.SmapsVMA {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	all, err := abi.ParseSmaps(text)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(v abi.SmapsVMA) bool { return v.Start < arena || v.Start >= arena+arenaSize })
}

// traits is what must be the same after a restore.
func traits(v abi.SmapsVMA) string {
	v.Flags &^= abi.VMFlagSoftDirty
	kind := "private"
	if v.Shared {
		kind = "shared"
	}
	return strings.Join([]string{spanOf(&v).String(), v.Flags.String(), kind, v.Path}, ", ")
}

// remap takes down all mappings of the arena and makes them again by the
// plans of the kinds that match, filled by bytes that the caller gives. All
// calls run in the test.
func remap(t *testing.T, inode *kind.InodeSite, guards [][2]uint64, fillWith func()) (before, after []string) {
	t.Helper()
	w := newWorld(t)
	vmas := arenaMaps(t)
	var steps []plan.Step
	for i, v := range vmas {
		m := &kind.MappingSite{ID: uint32(i + 1), MM: &kind.MMSite{ID: 1, Task: w.task, Do: w.do}, VMA: v, Inode: inode, Guards: guards}
		before = append(before, traits(v))
		for _, k := range All().Of(plan.Mapping) {
			if k.Match(m) {
				h := &kind.Host{Self: plan.Ref{Site: plan.Mapping, ID: m.ID}}
				steps = append(steps, k.Plan(w.record(k, m), h)...)
			}
		}
	}
	for _, v := range vmas {
		sysCall(t, unix.SYS_MUNMAP, uintptr(v.Start), uintptr(v.Len()))
	}
	if inode != nil {
		w.fds[inode.Ref().Main()] = inode.Files[0].Num
	}
	for stage := plan.Tree; stage <= plan.Seal; stage++ {
		w.run(planned{Anon(), steps}, stage)
		if stage == plan.Fill && fillWith != nil {
			fillWith()
		}
	}
	for _, v := range arenaMaps(t) {
		after = append(after, traits(v))
	}
	return before, after
}

func sameMaps(t *testing.T, before, after []string) {
	t.Helper()
	if !slices.Equal(before, after) {
		t.Errorf("mapped as\n%s\nwas\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

const (
	rw   = unix.PROT_READ | unix.PROT_WRITE
	anon = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	kib  = 1 << 10
)

func TestAnonymousMemoryComesBack(t *testing.T) {
	touch := func() { copy(bytesAt(0, 64*kib), "touched") }
	protect := func(prot uintptr) func() {
		return func() { touch(); sysCall(t, unix.SYS_MPROTECT, arena, 64*kib, prot) }
	}
	advise := func(advice ...uintptr) func() {
		return func() {
			for _, a := range advice {
				sysCall(t, unix.SYS_MADVISE, arena, 64*kib, a)
			}
		}
	}
	for name, c := range map[string]struct {
		prot, flags uintptr
		then        func()
		fill        func()
	}{
		"plain":           {rw, anon, touch, touch},
		"stack of main":   {rw, anon | unix.MAP_GROWSDOWN, touch, touch},
		"stack":           {rw, anon | unix.MAP_STACK, touch, touch},
		"droppable":       {rw, mapDroppable | unix.MAP_ANONYMOUS, touch, nil},
		"reservation":     {0, anon | unix.MAP_NORESERVE, nil, nil},
		"untouched":       {rw, anon, nil, nil},
		"made read-only":  {rw, anon, protect(unix.PROT_READ), touch},
		"made code":       {rw, anon, protect(unix.PROT_READ | unix.PROT_EXEC), touch},
		"made none":       {rw, anon, protect(0), touch},
		"made none, nr":   {rw, anon | unix.MAP_NORESERVE, protect(0), touch},
		"execute only":    {unix.PROT_EXEC, anon, nil, nil},
		"random":          {rw, anon, advise(unix.MADV_RANDOM), nil},
		"sequential":      {rw, anon, advise(unix.MADV_SEQUENTIAL), nil},
		"huge, no dump":   {rw, anon, advise(unix.MADV_HUGEPAGE, unix.MADV_DONTDUMP), touch},
		"fork":            {rw, anon, advise(unix.MADV_DONTFORK, unix.MADV_WIPEONFORK), touch},
		"mergeable":       {rw, anon, advise(unix.MADV_MERGEABLE), touch},
		"locked":          {rw, anon, func() { sysCall(t, unix.SYS_MLOCK, arena, 64*kib) }, touch},
		"locked on fault": {rw, anon, func() { sysCall(t, unix.SYS_MLOCK2, arena, 64*kib, unix.MLOCK_ONFAULT) }, touch},
		"locked, no access": {0, anon, func() {
			unix.Syscall(unix.SYS_MLOCK, arena, 64*kib, 0) // fails, and locks
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			mapAt(t, 64*kib, c.prot, c.flags, noFD)
			if c.then != nil {
				c.then()
			}
			before, after := remap(t, nil, nil, c.fill)
			sameMaps(t, before, after)
		})
	}
}

func TestGuardPagesComeBack(t *testing.T) {
	mapAt(t, 64*kib, rw, anon, noFD)
	sysCall(t, unix.SYS_MADVISE, arena+8*kib, 8*kib, madvGuardInstall)
	before, after := remap(t, nil, [][2]uint64{{arena + 8*kib, arena + 16*kib}}, nil)
	sameMaps(t, before, after)
	for off, guarded := range map[uintptr]bool{0: false, 4 * kib: false, 8 * kib: true, 12 * kib: true, 16 * kib: false} {
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, arena+off, 4*kib, unix.MADV_POPULATE_READ)
		if (errno == unix.EFAULT) != guarded {
			t.Errorf("page at %#x: %v, guarded should be %v", off, errno, guarded)
		}
	}
}

func TestLockedMemoryWithGuardPagesComesBack(t *testing.T) {
	mapAt(t, 64*kib, rw, anon, noFD)
	sysCall(t, unix.SYS_MADVISE, arena+8*kib, 8*kib, madvGuardInstall)
	unix.Syscall(unix.SYS_MLOCK, arena, 64*kib, 0)
	before, after := remap(t, nil, [][2]uint64{{arena + 8*kib, arena + 16*kib}}, nil)
	sameMaps(t, before, after)
	if !strings.Contains(before[0], " lo") {
		t.Error("nothing was locked")
	}
}

// fileIn makes an inode site of a descriptor of the test.
func fileIn(t *testing.T, fd int) (*world, *kind.InodeSite) {
	w := newWorld(t)
	f := w.add(fd)
	f.Inode.Path, f.Inode.Deleted = strings.CutSuffix(f.Link, " (deleted)")
	return w, f.Inode
}

func TestFileMappingsComeBack(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 64*kib), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mode        int
		prot, flags uintptr
		then        uintptr // protection that it gets after it was written
	}{
		"text":                      {unix.O_RDONLY, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE, 99},
		"data":                      {unix.O_RDONLY, rw, unix.MAP_PRIVATE, 99},
		"relro":                     {unix.O_RDONLY, rw, unix.MAP_PRIVATE, unix.PROT_READ},
		"shared":                    {unix.O_RDWR, rw, unix.MAP_SHARED, 99},
		"shared, no reserve":        {unix.O_RDWR, rw, unix.MAP_SHARED | unix.MAP_NORESERVE, 99},
		"shared, read-only":         {unix.O_RDONLY, unix.PROT_READ, unix.MAP_SHARED, 99},
		"shared, may become so":     {unix.O_RDWR, unix.PROT_READ, unix.MAP_SHARED, 99},
		"shared, was writable once": {unix.O_RDWR, rw, unix.MAP_SHARED, unix.PROT_READ},
	} {
		t.Run(name, func(t *testing.T) {
			fd := openFor(t, path, c.mode)
			mapAt(t, 32*kib, c.prot, c.flags, uintptr(fd))
			if c.then != 99 {
				copy(bytesAt(0, 8), "written!")
				sysCall(t, unix.SYS_MPROTECT, arena, 32*kib, c.then)
			}
			_, i := fileIn(t, fd)
			before, after := remap(t, i, nil, nil)
			sameMaps(t, before, after)
		})
	}
}
