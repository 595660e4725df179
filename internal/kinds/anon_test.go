package kinds

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnon(t *testing.T) {
	for name, c := range map[string]struct {
		line, flags string
		more        []string
		want        []string
	}{
		"heap": {"560000000000-560000021000 rw-p 00000000 00:00 0 [heap]", "rd wr mr mw me ac", nil,
			[]string{"create: mmap@mapping 7(94557999988736,135168,3,1048610,-1,0)=94557999988736"}},
		"stack": {"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]", "rd wr mr mw me gd ac", nil,
			[]string{"create: mmap@mapping 7(140720308486144,135168,3,1048866,-1,0)=140720308486144"}},
		"reservation": {"100000000000-200000000000 ---p 00000000 00:00 0", "mr mw me nr", nil,
			[]string{"create: mmap@mapping 7(17592186044416,17592186044416,0,1064994,-1,0)=17592186044416"}},
		"was writable": {"100000000000-100000010000 r--p 00000000 00:00 0", "rd mr mw me ac", nil,
			[]string{"create: mmap@mapping 7(17592186044416,65536,3,1048610,-1,0)=17592186044416",
				"settle: madvise@mapping 7(17592186044416,4096,23)=0 madvise@mapping 7(17592186044416,4096,4)=0" +
					" mprotect@mapping 7(17592186044416,65536,1)=0"}},
		"code that was written": {"100000000000-100000010000 r-xp 00000000 00:00 0", "rd ex mr mw me ac", nil,
			[]string{"create: mmap@mapping 7(17592186044416,65536,3,1048610,-1,0)=17592186044416",
				"settle: madvise@mapping 7(17592186044416,4096,23)=0 madvise@mapping 7(17592186044416,4096,4)=0" +
					" mprotect@mapping 7(17592186044416,65536,5)=0"}},
		"not accounted, with pages": {"100000000000-100000010000 r--p 00000000 00:00 0", "rd mr mw me nr",
			[]string{"Anonymous:            64 kB"},
			[]string{"create: mmap@mapping 7(17592186044416,65536,3,1064994,-1,0)=17592186044416",
				"settle: mprotect@mapping 7(17592186044416,65536,1)=0"}},
		"not accounted, swapped out": {"100000000000-100000010000 ---p 00000000 00:00 0", "mr mw me nr",
			[]string{"Swap:            64 kB"},
			[]string{"create: mmap@mapping 7(17592186044416,65536,2,1064994,-1,0)=17592186044416",
				"settle: mprotect@mapping 7(17592186044416,65536,0)=0"}},
		"droppable": {"100000000000-100000001000 rw-p 00000000 00:00 0", "rd wr mr mw me nr wf dd dp", nil,
			[]string{"create: mmap@mapping 7(17592186044416,4096,3,1048616,-1,0)=17592186044416"}},
		"lowest": {"1000-2000 rw-p 00000000 00:00 0", "rd wr mr mw me ac", nil,
			[]string{"create: !cap:sys_rawio mmap@mapping 7(4096,4096,3,1048610,-1,0)=4096"}},
		"execute only": {"100000000000-100000001000 --xp 00000000 00:00 0", "ex mr mw me", []string{"ProtectionKey:         1"},
			[]string{"create: mmap@mapping 7(17592186044416,4096,4,1048610,-1,0)=17592186044416"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := taken(t, Anon(), nil, vma(t, c.line, c.flags, c.more...))
			wantPlan(t, got, c.want...)
		})
	}
}

func TestFlagsAreRefusedByName(t *testing.T) {
	const line = "100000000000-100000001000 rw-p 00000000 00:00 0"
	for flags, word := range map[string]string{
		"rd wr mr mw me ac um":    "userfaultfd",
		"rd wr mr mw me ac uw":    "userfaultfd",
		"rd wr mr mw me ac ui":    "userfaultfd",
		"rd wr mr mw me ac ss":    "shadow stack",
		"rd wr mr mw me io pf":    "device",
		"rd wr mr mw me mm":       "device",
		"rd wr mr mw me de ac":    "driver",
		"rd wr mr mw me ac bt":    "bt",
		"rd wr mr mw me ac zz yy": "zz yy",
	} {
		refused(t, Anon(), vma(t, line, flags), word)
	}
	refused(t, Anon(), vma(t, line, "rd wr mr mw me ac", "ProtectionKey: 3"), "protection key 3")
}

func TestAnonCheck(t *testing.T) {
	good := anonRecord{area: area{span: span{0x10000, 0x20000}, Prot: unix.PROT_READ}}
	with := func(change func(*anonRecord)) anonRecord {
		r := good
		change(&r)
		return r
	}
	checks(t, Anon(), []anonRecord{good}, map[string]anonRecord{
		"nothing":              {},
		"half a page":          with(func(r *anonRecord) { r.End-- }),
		"backwards":            with(func(r *anonRecord) { r.Start, r.End = r.End, r.Start }),
		"empty":                with(func(r *anonRecord) { r.End = r.Start }),
		"beyond all addresses": with(func(r *anonRecord) { r.End = 1 << 63 }),
		"growing protection":   with(func(r *anonRecord) { r.Prot = unix.PROT_GROWSDOWN }),
		"writable twice":       with(func(r *anonRecord) { r.Prot, r.Fill = unix.PROT_WRITE, true }),
		"droppable stack":      with(func(r *anonRecord) { r.Droppable, r.GrowsDown = true, true }),
	})
}
