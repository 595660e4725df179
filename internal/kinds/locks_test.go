package kinds

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
)

func lockSet(locks []abi.Lock) []abi.Lock {
	out := slices.Clone(locks)
	for i := range out {
		out[i].ID = 0
	}
	slices.SortFunc(out, func(a, b abi.Lock) int { return strings.Compare(a.Type, b.Type)*8 + int(a.Start) - int(b.Start) })
	return out
}

func TestLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locked")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	fd := must(unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0))(t)
	must(0, unix.Flock(fd, unix.LOCK_EX))(t)
	for cmd, l := range map[int]unix.Flock_t{
		unix.F_OFD_SETLK: {Type: unix.F_RDLCK, Start: 10, Len: 5},
		unix.F_SETLK:     {Type: unix.F_WRLCK, Start: 50, Len: 0},
	} {
		must(0, unix.FcntlFlock(uintptr(fd), cmd, &l))(t)
	}
	w := newWorld(t)
	f := w.add(fd)
	if len(f.Info.Locks) != 3 {
		t.Fatalf("%+v", f.Info.Locks)
	}
	r := *w.record(Locks(), f).(*locksRecord)
	want := locksRecord{flock{lockWrite, 1, int32(fd)}, []rangeLock{{lockRead, 10, 5}}, []taskLocks{{1, int32(fd), []rangeLock{{lockWrite, 50, 0}}}}}
	if r.Flock != want.Flock || !slices.Equal(r.OFD, want.OFD) || len(r.POSIX) != 1 || !slices.Equal(r.POSIX[0].Locks, want.POSIX[0].Locks) {
		t.Errorf("recorded %+v", r)
	}
	steps := Locks().Plan(&r, hostOf(f.ID))
	unix.Close(fd)
	again := must(unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0))(t)
	defer unix.Close(again)
	if again != fd {
		t.Skip("the number was taken by another") // the POSIX lock names it
	}
	w.fds[f.Ref().Main()] = again
	w.run(planned{Locks(), steps}, steps[0].Stage)
	if got := lockSet(infoOf(t, again).Locks); !slices.Equal(got, lockSet(f.Info.Locks)) {
		t.Errorf("locks\n%+v, were\n%+v", got, lockSet(f.Info.Locks))
	}
}

func TestLeaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leased")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd := openFor(t, path, unix.O_RDONLY)
	must(unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK))(t)
	w := newWorld(t)
	if _, err := Locks().Dump(w, w.add(fd), nil); err == nil || !strings.Contains(err.Error(), "lease") {
		t.Error(err)
	}
}

func TestLocksCheck(t *testing.T) {
	for _, r := range []locksRecord{
		{Flock: flock{3, 1, 1}}, {Flock: flock{1, 0, 1}}, {Flock: flock{1, 1, -1}}, {OFD: []rangeLock{{0, 0, 0}}}, {OFD: []rangeLock{{1, -1, 0}}}, {OFD: []rangeLock{{1, 1 << 62, 1 << 62}}},
		{POSIX: []taskLocks{{0, 1, nil}}}, {POSIX: []taskLocks{{1, 1, []rangeLock{{3, 0, 0}}}}},
	} {
		if checkLocks(r) == nil {
			t.Errorf("%+v accepted", r)
		}
	}
}
