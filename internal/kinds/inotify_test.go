package kinds

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func makeInotify(t *testing.T, flags int) int {
	t.Helper()
	fd := must(unix.InotifyInit1(unix.IN_CLOEXEC | flags))(t)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestInotifyKeepsNumbers(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a file")
	must(0, os.WriteFile(file, nil, 0o600))(t)
	fd := makeInotify(t, unix.IN_NONBLOCK)
	for range 40 { // numbers go up
		wd := must(unix.InotifyAddWatch(fd, "/", unix.IN_ATTRIB))(t)
		must(unix.InotifyRmWatch(fd, uint32(wd)))(t)
	}
	must(unix.Read(fd, make([]byte, 1<<16)))(t) // IN_IGNORED
	must(unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_ONESHOT|unix.IN_EXCL_UNLINK))(t)
	must(unix.InotifyAddWatch(fd, file, unix.IN_MODIFY))(t)
	f := w.add(fd)
	w.restore(f)
	got, want := infoOf(t, w.fd(f.Ref().Main())).Inotify, f.Info.Inotify
	if len(got) != 2 || len(want) != 2 || !reflect.DeepEqual(byWD(got), byWD(want)) {
		t.Errorf("watches\n%+v, were\n%+v", got, want)
	}
	if wd := must(unix.InotifyAddWatch(w.fd(f.Ref().Main()), "/", unix.IN_CREATE))(t); wd != 43 {
		t.Errorf("the next watch is %d", wd)
	}
	if n, err := unix.Read(w.fd(f.Ref().Main()), make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("events from nothing: %d, %v", n, err)
	}
}

func byWD[T any](list []T) map[int64]T {
	m := map[int64]T{}
	for _, w := range list {
		m[reflect.ValueOf(w).FieldByName("WD").Int()] = w
	}
	return m
}

func TestInotifyRefusals(t *testing.T) {
	dir := t.TempDir()
	fd := makeInotify(t, 0)
	must(unix.InotifyAddWatch(fd, dir, unix.IN_CREATE))(t)
	must(0, os.Mkdir(filepath.Join(dir, "new"), 0o700))(t)
	w := newWorld(t)
	if why := w.refused(w.add(fd)); !strings.Contains(why, "not read") {
		t.Error(why)
	}
	fd = makeInotify(t, 0)
	file := filepath.Join(dir, "file")
	open := must(os.Create(file))(t)
	defer open.Close()
	must(unix.InotifyAddWatch(fd, file, unix.IN_MODIFY))(t)
	must(0, os.Remove(file))(t)
	if why := w.refused(w.add(fd)); !strings.Contains(why, "can't find") {
		t.Error(why)
	}
}

func TestInotifyCheck(t *testing.T) {
	good := pathWatch{WD: 1, Path: []byte("/x"), Mask: 1, Type: unix.S_IFREG}
	if err := checkInotify(inotifyRecord{Watches: []pathWatch{good}}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*pathWatch){
		"number":   func(w *pathWatch) { w.WD = 0 },
		"relative": func(w *pathWatch) { w.Path = []byte("x") },
		"mask":     func(w *pathWatch) { w.Mask = unix.IN_MASK_ADD },
		"nothing":  func(w *pathWatch) { w.Mask = 0 },
		"type":     func(w *pathWatch) { w.Type = 0o777 },
	} {
		w := good
		if change(&w); checkInotify(inotifyRecord{Watches: []pathWatch{w}}) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if checkInotify(inotifyRecord{Watches: []pathWatch{good, good}}) == nil {
		t.Error("a number twice: accepted")
	}
}
