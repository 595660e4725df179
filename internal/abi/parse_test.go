package abi

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// recorded reads a file as the kernel wrote it; see testdata/proc/README.md.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/proc/6.18", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseMaps(t *testing.T) {
	vmas, err := ParseMaps(recorded(t, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]VMA{}
	for _, v := range vmas {
		byPath[v.Path] = v
	}
	rw := uint32(unix.PROT_READ | unix.PROT_WRITE)
	for _, want := range []VMA{
		{0x7fd7e5ab0000, 0x7fd7e5ab2000, rw, true, 0, unix.Mkdev(0xfe, 0), 9978484, "/srv/data/new\nline lib"},
		{0x7fd7e59bd000, 0x7fd7e59be000, rw, false, 0, unix.Mkdev(0xfe, 0), 9978485, "/srv/data/gone (deleted)"},
		{0x7fff0872b000, 0x7fff0874c000, rw, false, 0, 0, 0, "[stack]"},
		{0xffffffffff600000, 0xffffffffff601000, unix.PROT_EXEC, false, 0, 0, 0, "[vsyscall]"},
	} {
		equal(t, byPath[want.Path], want)
	}
	if n := len(vmas); n != strings.Count(string(recorded(t, "maps")), "\n") {
		t.Errorf("%d areas", n)
	}
}

func TestParseMapsLine(t *testing.T) {
	for line, want := range map[string]VMA{
		"1000-3000 ---s 00002000 103:0a 7 /a\\012b\\040c": {0x1000, 0x3000, 0, true, 0x2000, unix.Mkdev(0x103, 10), 7, "/a\nb\\040c"},
		"1000-3000 rwxp 00000000 00:00 0":                 {0x1000, 0x3000, 7, false, 0, 0, 0, ""},
	} {
		got, err := ParseMaps([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, got, []VMA{want})
	}
}

func TestParseMapsRefuses(t *testing.T) {
	for _, line := range []string{
		"", "x", "3000-1000 rw-p 0 00:00 0 ", "1000-3000 rwzp 0 00:00 0 ", "1000-3000 rw-x 0 00:00 0 ",
		"1000-3000", "1000-3000 rw-p 0 00:00", "11111111111111111-3 rw-p 0 00:00 0 ", "1000-3000 rw-p 0 00-00 0 ",
	} {
		if v, err := ParseMaps([]byte(line + "\n")); err == nil {
			t.Errorf("%q: %+v", line, v)
		}
	}
}

// TestSmapsInPieces: however the lines come, the entries are the same.
func TestSmapsInPieces(t *testing.T) {
	text := recorded(t, "smaps")
	want, err := ParseSmaps(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range []int{1, 7, 100} {
		var s Smaps
		for rest := text; len(rest) > 0; {
			n := 0
			for range lines {
				n += bytes.IndexByte(rest[n:], '\n') + 1
			}
			if err := s.Add(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		equal(t, s.VMAs, want)
	}
}

func TestParseSmaps(t *testing.T) {
	maps, err := ParseMaps(recorded(t, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := ParseSmaps(recorded(t, "smaps"))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[VMFlags]int{}
	for i, v := range smaps {
		// The two files were read one after the other, and the second read
		// made the heap grow: compare where they can be compared.
		if v.Path != "[heap]" && i < 5 {
			equal(t, v.VMA, maps[i])
		}
		if v.Unknown != nil || v.UnknownFlags != nil {
			t.Errorf("%x: unknown %q %q", v.Start, v.Unknown, v.UnknownFlags)
		}
		if v.KernelPageSize != 4096 {
			t.Errorf("%x: page size %d", v.Start, v.KernelPageSize)
		}
		flags[v.Flags]++
	}
	common := VMFlagRead | VMFlagWrite | VMFlagMayRead | VMFlagMayWrite | VMFlagMayExec
	for _, f := range []VMFlags{
		VMFlagExec, common | VMFlagLocked | VMFlagAccount, common | VMFlagLocked | VMFlagLockOnFault | VMFlagAccount,
		common | VMFlagSealed | VMFlagAccount, common | VMFlagUffdMissing | VMFlagUffdWP | VMFlagAccount,
		common | VMFlagNoReserve | VMFlagWipeOnFork | VMFlagDontDump | VMFlagDroppable, common | VMFlagDontCopy | VMFlagAccount,
		common | VMFlagHugePage | VMFlagAccount, common | VMFlagNoHugePage | VMFlagAccount, common | VMFlagMergeable | VMFlagAccount,
		VMFlagRead | VMFlagMayRead | VMFlagPFNMap | VMFlagIO | VMFlagDontExpand | VMFlagDontDump,
	} {
		if flags[f] == 0 {
			t.Errorf("no area is %v", f)
		}
	}
}

func TestVMFlagsNames(t *testing.T) {
	for i := 0; i < len(vmFlagNames); i += 2 {
		name := vmFlagNames[i : i+2]
		if got := vmFlag([]byte(name)).String(); got != name {
			t.Errorf("%s reads as %s", name, got)
		}
	}
	if vmFlag([]byte("gu")) != VMFlagMaybeGuard || vmFlag([]byte("lf")) != VMFlagLockOnFault || vmFlag([]byte("r")) != 0 {
		t.Error("names and constants are out of step")
	}
	var v SmapsVMA
	v.setFlags([]byte("rd zz "))
	equal(t, v.UnknownFlags, []string{"zz"})
}

func TestParseMapsIsFast(t *testing.T) {
	var text []byte
	for one := recorded(t, "maps"); len(text) < 5000*80; {
		text = append(text, one...)
	}
	best := time.Hour
	for range 20 {
		start := time.Now()
		if _, err := ParseMaps(text); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	if best > 10*time.Millisecond {
		t.Errorf("%d bytes took %v", len(text), best)
	}
}

func TestParseStatus(t *testing.T) {
	s, err := ParseStatus(recorded(t, "status"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, s.Unknown, []string(nil))
	mems := s.MemsAllowed
	s.MemsAllowed = ""
	if !strings.HasSuffix(mems, "00000001") {
		t.Errorf("Mems_allowed %q", mems)
	}
	const caps = 0x000001fffeffffff
	equal(t, s, &Status{
		Name: "a) (b\n\\c", Umask: 0o22, HasUmask: true, State: 'R', Tgid: 14622, Pid: 14622, PPid: 14535,
		FDSize: 256, NStgid: []int32{14622}, NSpid: []int32{14622}, NSpgid: []int32{14535}, NSsid: []int32{1790},
		HasMM: true, VmPeak: 22180 << 10, VmSize: 22180 << 10, VmLck: 72 << 10, VmHWM: 15380 << 10, VmRSS: 15380 << 10,
		RssAnon: 8272 << 10, RssFile: 7108 << 10, VmData: 12928 << 10, VmStk: 196 << 10, VmExe: 4 << 10,
		VmLib: 4868 << 10, VmPTE: 72 << 10, THPEnabled: true, UntagMask: ^uint64(0), Threads: 1, SigQLimit: 96363,
		SigIgn: SigSetOf(int(unix.SIGPIPE), int(unix.SIGXFSZ)), SigCgt: SigSetOf(int(unix.SIGINT)),
		CapPrm: caps, CapEff: caps, CapBnd: caps,
		SpecStoreBypass: "thread vulnerable", SpecIndirectBranch: "conditional enabled",
		CpusAllowed: "f", CpusAllowedList: "0-3", MemsAllowedList: "0", VoluntarySwitches: 18, NonvoluntarySwitches: 1,
	})
}

func TestParseStatusZombie(t *testing.T) {
	s, err := ParseStatus(recorded(t, "status-zombie"))
	if err != nil {
		t.Fatal(err)
	}
	if s.State != 'Z' || s.HasMM || s.HasUmask || s.FDSize != 0 || s.Unknown != nil {
		t.Errorf("%+v", s)
	}
}

func TestParseStatusOther(t *testing.T) {
	s, err := ParseStatus([]byte("Pid:\t7\nUid:\t1\t2\t3\t4294967295\nGroups:\t4 20 \nNSpid:\t70 7\nNew_line:\tx\nSigQ:\t3/9\n" +
		"x86_Thread_features:\tshstk wrss\nSeccomp:\t2\nSeccomp_filters:\t3\nNoNewPrivs:\t1\nKthread:\t1\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, s, &Status{Pid: 7, UID: IDs{1, 2, 3, 4294967295}, Groups: []uint32{4, 20}, NSpid: []int32{70, 7},
		Unknown: []string{"New_line:\tx"}, SigQueued: 3, SigQLimit: 9, X86Features: "shstk wrss",
		Seccomp: 2, SeccompFilters: 3, NoNewPrivs: true, Kthread: true})
	for _, bad := range []string{"", "Pid\n", "Pid:\tx\n", "Pid:\t1\nUid:\t1\t2\t3\n", "Pid:\t1\nVmRSS:\t1 MB\n", "Pid:\t1\nNoNewPrivs:\t\n"} {
		if _, err := ParseStatus([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseStat(t *testing.T) {
	s, err := ParseStat(recorded(t, "stat-zombie"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, s, &Stat{Pid: 14663, Comm: "a) (b\n\\c", State: 'Z', PPid: 14622, Pgrp: 14535, Session: 1790, TPgid: -1,
		Flags: 4228172, MinFlt: 228, Priority: 20, Threads: 1, StartTime: 155237, RSSLimit: RlimInfinity,
		ExitSig: 17, Processor: 3, ExitCode: 9})
	if s.Flags&PFExiting == 0 {
		t.Error("not exiting")
	}
	if s, err = ParseStat(recorded(t, "stat")); err != nil || s.StartStk == 0 || s.ArgStart == 0 || s.EnvEnd <= s.EnvStart || s.StartBrk == 0 {
		t.Errorf("%+v %v", s, err)
	}
}
