package abi

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseLocks(t *testing.T) {
	got, err := ParseLocks(recorded(t, "locks"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, []Lock{
		{1, false, "LEASE", "ACTIVE", "READ", 14622, vda, 9978496, 0, MaxOffset},
		{2, false, "OFDLCK", "ADVISORY", "WRITE", -1, vda, 9978495, 5, MaxOffset},
		{3, false, "FLOCK", "ADVISORY", "READ", 14622, vda, 9978484, 0, MaxOffset},
		{4, false, "POSIX", "ADVISORY", "WRITE", 14622, vda, 9978484, 20, 29},
		{4, true, "POSIX", "ADVISORY", "WRITE", 14663, vda, 9978484, 20, 29},
	})
	got, err = ParseLocks([]byte("1: POSIX  *NOINODE* READ  3 <none>:0 0 EOF\n"))
	equal(t, got, []Lock{{1, false, "POSIX", "*NOINODE*", "READ", 3, 0, 0, 0, MaxOffset}})
	if err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x\n", "1: POSIX ADVISORY WRITE 1 fe:00 0 EOF\n", "1: POSIX ADVISORY WRITE 1 fe:00:1 0 x\n"} {
		if _, err := ParseLocks([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseLimits(t *testing.T) {
	l, err := ParseLimits(recorded(t, "limits"))
	if err != nil {
		t.Fatal(err)
	}
	inf := Rlimit{RlimInfinity, RlimInfinity}
	equal(t, l, Limits{
		unix.RLIMIT_CPU: inf, unix.RLIMIT_FSIZE: inf, unix.RLIMIT_DATA: inf, unix.RLIMIT_STACK: {8388608, RlimInfinity},
		unix.RLIMIT_CORE: {0, RlimInfinity}, unix.RLIMIT_RSS: inf, unix.RLIMIT_NPROC: {96363, 96363}, unix.RLIMIT_NOFILE: {20000, 20000},
		unix.RLIMIT_MEMLOCK: {8388608, 8388608}, unix.RLIMIT_AS: inf, unix.RLIMIT_LOCKS: inf, unix.RLIMIT_SIGPENDING: {96363, 96363},
		unix.RLIMIT_MSGQUEUE: {819200, 819200}, unix.RLIMIT_NICE: {}, unix.RLIMIT_RTPRIO: {}, unix.RLIMIT_RTTIME: inf,
	})
	text := string(recorded(t, "limits"))
	for _, bad := range []string{"", strings.Replace(text, "Max nice", "Max mice", 1), text[:len(text)-80], strings.Replace(text, "819200", "81920O", 1)} {
		if _, err := ParseLimits([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseTimers(t *testing.T) {
	got, err := ParseTimers(recorded(t, "timers"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, []PosixTimer{
		{2, 12, 5, SigevNone, 14622, 7},
		{1, 34, 0xdeadbeefcafe, SigevSignal | SigevThreadID, 14622, 1},
		{0, 10, 0x1234, SigevSignal, 14622, 0},
	})
	for _, bad := range []string{"x\n", "signal: 1/2\n", "ID: x\n", "ID: 1\nsignal: 12\n", "ID: 1\nnotify: maybe/pid.1\n", "ID: 1\nnew: 1\n"} {
		if _, err := ParseTimers([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if got, err := ParseTimers(nil); got != nil || err != nil {
		t.Error(got, err)
	}
}

func TestParseMountinfo(t *testing.T) {
	got, err := ParseMountinfo(recorded(t, "mountinfo"))
	if err != nil || len(got) != 20 {
		t.Fatal(len(got), err)
	}
	equal(t, got[0], Mount{43, 42, unix.Mkdev(254, 0), "/", "/", "rw,relatime", nil, "ext4", "/dev/vda", "rw"})
	equal(t, got[19], Mount{63, 43, unix.Mkdev(0, 39), "/", `/srv/data/a b\c#`, "rw,relatime", []string{"shared:1"},
		"tmpfs", "src #x", "rw,size=1024k,mode=700"})
	for _, bad := range []string{"x\n", "1 2 0:1 / / rw\n", "1 2 01 / / rw - t s o\n", "1 2 0:1 / / rw - t\n"} {
		if _, err := ParseMountinfo([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseLists(t *testing.T) {
	if got, err := ParseChildren(recorded(t, "children")); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	got, err := ParseChildren([]byte("12 345 "))
	equal(t, got, []int32{12, 345})
	if _, bad := ParseChildren([]byte("12 x")); err != nil || bad == nil {
		t.Error(err, bad)
	}
	equal(t, ParseCmdline(recorded(t, "cmdline")), []string{"/opt/python/bin/python3", "rec.py", "out"})
	equal(t, ParseCmdline([]byte("a\x00\x00b")), []string{"a", "", "b"})
	auxv, err := ParseAuxv(recorded(t, "auxv"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]uint64{}
	for _, a := range auxv {
		seen[a.Tag] = a.Val
	}
	if seen[AtPagesz] != 4096 || seen[AtSysinfoEhdr] != 0x7fd7e5ac1000 || seen[AtSecure] != 0 || len(auxv) < 15 {
		t.Error(auxv)
	}
	if _, err := ParseAuxv(make([]byte, 15)); err == nil {
		t.Error("a vector without end is taken")
	}
}

func TestSigSet(t *testing.T) {
	s := SigSetOf(1, 64, 9)
	equal(t, s.Signals(), []int{1, 9, 64})
	if !s.Has(64) || s.Has(2) || s.Has(0) || s.Has(65) || s.Encode()[7] != 0x80 {
		t.Errorf("%#x", s)
	}
}

// TestNoPanic feeds every parser with broken versions of real text.
func TestNoPanic(t *testing.T) {
	parsers := map[string]func([]byte){
		"maps": func(b []byte) { ParseMaps(b) }, "status": func(b []byte) { ParseStatus(b) },
		"stat": func(b []byte) { ParseStat(b) }, "limits": func(b []byte) { ParseLimits(b) },
		"timers": func(b []byte) { ParseTimers(b) }, "locks": func(b []byte) { ParseLocks(b) },
		"mountinfo": func(b []byte) { ParseMountinfo(b) }, "auxv": func(b []byte) { ParseAuxv(b) },
		"fdinfo-epoll": func(b []byte) { ParseFDInfo(b) }, "fdinfo-inotify": func(b []byte) { ParseFDInfo(b) },
		"fdinfo-timerfd": func(b []byte) { ParseFDInfo(b) }, "children": func(b []byte) { ParseChildren(b) },
	}
	for name, parse := range parsers {
		text := recorded(t, name)
		text = text[:min(len(text), 1500)]
		for i := range text {
			parse(text[:i])
			for _, c := range []byte(" \n:-(0x\xff") {
				broken := append([]byte(nil), text...)
				broken[i] = c
				parse(broken)
			}
		}
	}
}
