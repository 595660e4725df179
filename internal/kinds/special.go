package kinds

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type specialRecord struct {
	span
	Name    string `cbor:"3,keyasint"`           // as in /proc/PID/maps
	Build   []byte `cbor:"4,keyasint,omitempty"` // build id of [vdso]: a hash of what its linker made
	BuildAt uint16 `cbor:"5,keyasint,omitempty"` // where it is, from Start
	Kernel  string `cbor:"6,keyasint,omitempty"` // release of the kernel whose [vdso] it is
}

const vsyscall = "[vsyscall]"

// Special claims what the kernel maps into every process: the vdso with its
// data, and the legacy vsyscall page. Programs hold addresses of functions in
// the vdso, so a restore needs the same code, and the data pages at the same
// distance from it.
//
// The tasks of a restore have them from birth, at places that are known only
// then. The engine moves them aside, one after the other in the order in
// which they lie, and publishes where they are (kind.SpecialRef); mremap(2)
// by the task itself brings each to its final place, which tells the kernel
// as well where the vdso is (vdso_mremap in arch/x86/entry/vdso/vma.c).
func Special() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, specialRecord]{
		Name:   "special",
		At:     plan.Mapping,
		Claims: true,
		Match:  maps(mapSpecial),
		Dump:   dumpSpecial,
		Check:  specialRecord.check,
		Plan:   specialRecord.plan,
	})
}

func isSpecial(path string) bool {
	return path == vsyscall || kind.SpecialSlot(path) != 0
}

func dumpSpecial(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (specialRecord, error) {
	r := specialRecord{span: spanOf(&m.VMA), Name: m.VMA.Path}
	if err := refuseFlags(&m.VMA, flagsOfSpecial); err != nil || r.Name != "[vdso]" {
		return r, err
	}
	code, err := readMemory(m.MM, r.span)
	if err != nil {
		return r, fmt.Errorf("reading the vdso: %w", err)
	}
	if r.Build, r.BuildAt = buildID(code); r.Build == nil {
		return r, kind.Unsupportedf("a vdso without a build id, which nobody could recognise")
	}
	r.Kernel, err = release(m.MM.Do)
	return r, err
}

const buildBytes = 20 // ld --build-id=sha1

// buildID finds the build id in the first page of an ELF image: a note of
// type 3 (NT_GNU_BUILD_ID), name "GNU" and 20 bytes (elf(5)). The image is the
// target's word, so it is searched and not followed.
func buildID(code []byte) (id []byte, at uint16) {
	note := []byte("\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00")
	page := code[:min(len(code), pageSize)]
	i := bytes.Index(page, note)
	if i < 0 || i+len(note)+buildBytes > len(page) {
		return nil, 0
	}
	i += len(note)
	return page[i : i+buildBytes], uint16(i)
}

// readMemory reads a small range of a frozen process (proc_pid_mem(5)).
func readMemory(mm *kind.MMSite, s span) ([]byte, error) {
	path := fmt.Sprintf("/proc/%d/mem", mm.Task.PID)
	f, err := mm.Do(plan.Call{Nr: unix.SYS_OPENAT,
		Args: []plan.Arg{atCwd, plan.Str(path), plan.Int(unix.O_RDONLY | unix.O_CLOEXEC)}})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer closeOwn(mm.Do, f.Ret)
	r, err := mm.Do(plan.Call{Nr: unix.SYS_PREAD64, Ret: plan.Exactly(int64(s.len())),
		Args: []plan.Arg{plan.Int(f.Ret), plan.Out(int(s.len())), plan.Int(s.len()), plan.Int(s.Start)}})
	if err != nil {
		return nil, fmt.Errorf("reading %v of %s: %w", s, path, err)
	}
	return r.Out[0], nil
}

// release is what uname -r shows; struct new_utsname is six strings of 65 bytes.
func release(do kind.Doer) (string, error) {
	r, err := do(plan.Call{Nr: unix.SYS_UNAME, Args: []plan.Arg{plan.Out(6 * 65)}})
	if err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(r.Out[0][2*65 : 3*65]), nil
}

func (r specialRecord) check() error {
	code := r.Name == "[vdso]"
	switch {
	case !isSpecial(r.Name):
		return fmt.Errorf("no mapping of the kernel's: %+q", r.Name)
	case code && (len(r.Build) != buildBytes || r.BuildAt > pageSize-buildBytes):
		return errors.New("no build id")
	case !code && (len(r.Build) > 0 || r.BuildAt != 0 || r.Kernel != ""):
		return errors.New("a build id of what has none")
	case len(r.Kernel) > 64: // struct new_utsname
		return errors.New("a long kernel release")
	case r.Name == vsyscall: // lies above all addresses of processes
		return nil
	case r.len() > 1<<20:
		return fmt.Errorf("%d bytes long", r.len())
	}
	return r.span.check()
}

func (r specialRecord) plan(h *kind.Host) []plan.Step {
	if r.Name == vsyscall {
		return nil
	}
	from := plan.ResultOf(kind.SpecialRef(h.Within, r.Name))
	move := inTask(h, unix.SYS_MREMAP, from, plan.Int(r.len()), plan.Int(r.len()),
		plan.Int(unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED), plan.Int(r.Start))
	move.Ret = plan.Exactly(int64(r.Start))
	steps := oneStep(plan.Create, fmt.Sprintf("move %s to %v", r.Name, r.span), move)
	if len(r.Build) == 0 {
		return steps
	}
	return append(r.compare(h, from), steps...)
}

// compare has the task read the build id of the vdso that it was born with.
func (r specialRecord) compare(h *kind.Host, from plan.Arg) []plan.Step {
	fd, end := slot(h.Self, 1), int(r.BuildAt)+buildBytes
	open := inTask(h, unix.SYS_OPENAT, atCwd, plan.Str("/proc/self/mem"), plan.Int(unix.O_RDONLY|unix.O_CLOEXEC))
	open.Out = fd
	read := inTask(h, unix.SYS_PREAD64, plan.ResultOf(fd), plan.Out(end), plan.Int(end), from)
	read.Ret = plan.Exactly(int64(end))
	read.Expect = []plan.Field{{Off: int(r.BuildAt), Want: r.Build, Name: "build id"}}
	return oneStep(plan.Create, fmt.Sprintf("recognise the vdso of Linux %s", r.Kernel),
		open, read, inTask(h, unix.SYS_CLOSE, plan.ResultOf(fd)))
}
