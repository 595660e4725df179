package kinds

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
)

func makePipe(t *testing.T, flags int) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], flags); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return p[0], p[1]
}

func TestPipeKeepsContentsSizeAndFlags(t *testing.T) {
	w := newWorld(t)
	rfd, wfd := makePipe(t, unix.O_NONBLOCK)
	must(unix.FcntlInt(uintptr(rfd), unix.F_SETPIPE_SZ, 1<<18))(t)
	text := bytes.Repeat([]byte("a line in the pipe\n"), 5000)
	must(unix.Write(wfd, text))(t)
	r, wr := w.add(rfd), w.add(wfd)
	w.restore(r.Inode, r, wr)
	w.same(r)
	w.same(wr)
	if n := must(unix.FcntlInt(uintptr(w.fd(r.Ref().Main())), unix.F_GETPIPE_SZ, 0))(t); n != 1<<18 {
		t.Errorf("capacity %d", n)
	}
	if st, was := statOf(t, w.fd(r.Ref().Main())), r.Stat; st.Mode != was.Mode || st.UID != was.UID {
		t.Errorf("mode and owner %#o %d, were %#o %d", st.Mode, st.UID, was.Mode, was.UID)
	}
	for _, fd := range []int{rfd, w.fd(r.Ref().Main())} {
		got := make([]byte, len(text)+1)
		n := must(unix.Read(fd, got))(t)
		if !bytes.Equal(got[:n], text) {
			t.Errorf("fd %d holds %d bytes, not those %d", fd, n, len(text))
		}
	}
}

func TestPipeKeepsPackets(t *testing.T) {
	w := newWorld(t)
	rfd, wfd := makePipe(t, unix.O_NONBLOCK|unix.O_DIRECT)
	packets := []string{"one", "three", strings.Repeat("x", 4096), "four"}
	for _, p := range packets {
		must(unix.Write(wfd, []byte(p)))(t)
	}
	r, wr := w.add(rfd), w.add(wfd)
	w.restore(r.Inode, r, wr)
	w.same(r)
	w.same(wr)
	for _, p := range packets {
		got := make([]byte, 8192)
		n := must(unix.Read(w.fd(r.Ref().Main()), got))(t)
		if string(got[:n]) != p {
			t.Errorf("packet %.20q, want %.20q", got[:n], p)
		}
	}
}

func TestPipeReopened(t *testing.T) {
	w := newWorld(t)
	rfd, _ := makePipe(t, 0)
	both := must(unix.Open("/proc/self/fd/"+itoa(rfd), unix.O_RDWR, 0))(t)
	defer unix.Close(both)
	r, rw := w.add(rfd), w.add(both)
	w.restore(r.Inode, r, rw)
	w.same(r)
	w.same(rw)
}

func TestPipeWithoutWritersStaysSo(t *testing.T) {
	w := newWorld(t)
	rfd, wfd := makePipe(t, 0)
	must(unix.Write(wfd, []byte("last words")))(t)
	unix.Close(wfd)
	r := w.add(rfd)
	w.restore(r.Inode, r)
	unix.Close(w.fd(slot(r.Inode.Ref().Main(), pipeWriter))) // as the engine does before the release
	got := make([]byte, 100)
	if n := must(unix.Read(w.fd(r.Ref().Main()), got))(t); string(got[:n]) != "last words" {
		t.Errorf("read %q", got[:n])
	}
	if n, err := unix.Read(w.fd(r.Ref().Main()), got); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestPipeLeadingOutIsNoStream(t *testing.T) {
	w := newWorld(t)
	rfd, _ := makePipe(t, 0)
	if why := w.refused(w.add(rfd)); !strings.Contains(why, "outside the tree") {
		t.Error(why)
	}
}

func TestPipeCheck(t *testing.T) {
	for name, r := range map[string]pipeRecord{
		"no size":  {Mode: 0o600},
		"odd size": {Capacity: 5000},
		"set-id":   {Capacity: 65536, Mode: 0o4755},
		"both":     {Capacity: 65536, Contents: 1, Packets: []kind.BlobRef{2}},
	} {
		if checkPipe(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, r := range map[string]pipeEndRecord{
		"no pipe": {}, "odd flag": {Pipe: 1, Flags: unix.O_TRUNC}, "both ways": {Pipe: 1, Flags: unix.O_RDWR},
	} {
		if checkPipeEnd(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
