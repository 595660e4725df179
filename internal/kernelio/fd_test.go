package kernelio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

func TestFDClosesOnce(t *testing.T) {
	f, err := MemoryFile("x", 0)
	if err != nil {
		t.Fatal(err)
	}
	n := f.Int()
	if err := f.Close(); err != nil || f.Int() != -1 {
		t.Error(f, err)
	}
	g := own[*FD](t)(MemoryFile("y", 0))
	if g.Int() != n {
		t.Skip("the number went elsewhere")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Fcntl(n, unix.F_GETFD, 0); err != nil {
		t.Error("a second Close closed somebody else's descriptor")
	}
	fds, err := OpenFDs()
	if err != nil || !strings.Contains(fds[n], "memfd:y") {
		t.Errorf("%v %v", fds, err)
	}
}

func TestGetfdAndKcmp(t *testing.T) {
	x := startC(t, `
	int f = open("/etc/passwd", O_RDONLY), g = dup(f), h = open("/etc/passwd", O_RDONLY);
	int e = epoll_create1(0), v = eventfd(0, 0), w = dup(v);
	epoll_ctl(e, EPOLL_CTL_ADD, w, &(struct epoll_event){EPOLLIN});
	SAY("%d %d %d %d %d %d", f, g, h, e, v, w); pause();`)
	var f, g, h, e, v, w int
	x.read(t, "%d %d %d %d %d %d", &f, &g, &h, &e, &v, &w)
	pidfd := own[*FD](t)(PidfdOpen(x.pid))
	mine := own[*FD](t)(PidfdGetfd(pidfd, f))
	for _, c := range []struct {
		pid, fd int
		same    bool
	}{{x.pid, g, true}, {x.pid, h, false}, {os.Getpid(), mine.Int(), true}} {
		if same, err := SameFile(x.pid, f, c.pid, c.fd); same != c.same || err != nil {
			t.Errorf("%+v: %v %v", c, same, err)
		}
	}
	if r, err := Kcmp(x.pid, os.Getpid(), abi.KcmpVM, 0, 0); err != nil || r == 0 {
		t.Errorf("%d %v", r, err)
	}
	if _, err := PidfdGetfd(pidfd, 999); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
	if same, err := KcmpEpoll(x.pid, x.pid, v, e, w, 0); !same || err != nil {
		t.Errorf("%v %v", same, err)
	}
	if same, err := KcmpEpoll(x.pid, x.pid, f, e, w, 0); same || err != nil {
		t.Errorf("%v %v", same, err)
	}
}

func TestSyscallRelocates(t *testing.T) {
	r, w, err := Pipe(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	word := func(s string) Reloc { return Reloc{Arg: Arg{Buf: []byte(s)}, Size: 8} }
	iov := make([]byte, 32)
	binary.LittleEndian.PutUint64(iov[8:], 3)
	binary.LittleEndian.PutUint64(iov[24:], 2)
	first, second := word("abc"), word("de")
	second.Off = 16
	n, err := Syscall(unix.SYS_WRITEV, Int(w.Int()), Buf(iov, first, second), Int(2))
	got := make([]byte, 10)
	k, _ := unix.Read(r.Int(), got)
	if n != 5 || err != nil || string(got[:k]) != "abcde" {
		t.Errorf("%d %v %q", n, err, got[:k])
	}
	if n, err := Syscall(unix.SYS_CLOSE, Int(-1)); n != -int64(unix.EBADF) || err != unix.EBADF {
		t.Errorf("%d %v", n, err)
	}
	if n := Raw(unix.SYS_GETPID, [6]uintptr{}); n != int64(os.Getpid()) {
		t.Error(n)
	}
}

func TestSendFDs(t *testing.T) {
	a, b, err := Socketpair(unix.SOCK_SEQPACKET)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	fds := slices.Repeat([]int{a.Int()}, MaxSCM)
	if err := SendFDs(a.Int(), []byte("hi"), fds...); err != nil {
		t.Fatal(err)
	}
	data, got, err := RecvFDs(b.Int(), 10)
	if err != nil || string(data) != "hi" || len(got) != MaxSCM {
		t.Fatalf("%q %d %v", data, len(got), err)
	}
	for _, fd := range got {
		if same, err := SameFile(os.Getpid(), a.Int(), os.Getpid(), fd); !same || err != nil {
			t.Fatal(same, err)
		}
		if flags, _ := Fcntl(fd, unix.F_GETFD, 0); flags != unix.FD_CLOEXEC {
			t.Fatal("inheritable")
		}
		unix.Close(fd)
	}
	if err := SendFDs(a.Int(), []byte("longer than it"), a.Int()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := RecvFDs(b.Int(), 4); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a truncated message: %v", err)
	}
	if err := SendFDs(a.Int(), []byte("x"), append(fds, 0)...); err == nil {
		t.Error("one too many was sent")
	}
}

func TestPeekPipe(t *testing.T) {
	for _, flags := range []int{0, unix.O_DIRECT} {
		r, w, err := Pipe(flags)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if got, err := PeekPipe(r.Int()); got != nil || err != nil {
			t.Errorf("empty: %q %v", got, err)
		}
		SetPipeSize(w.Int(), 1<<20)
		big := bytes.Repeat([]byte("x"), 4096)
		sent := [][]byte{[]byte("one"), []byte("two")}
		for range 200 {
			sent = append(sent, big)
		}
		for _, b := range sent {
			unix.Write(w.Int(), b)
		}
		for _, end := range []*FD{r, w, r} {
			got, err := PeekPipe(end.Int())
			if err != nil || !bytes.Equal(bytes.Join(got, nil), bytes.Join(sent, nil)) {
				t.Fatalf("flags %#x: %d pieces, %v", flags, len(got), err)
			}
			if flags != 0 && !slices.EqualFunc(got, sent, bytes.Equal) {
				t.Errorf("packets were joined: %d of %d", len(got), len(sent))
			}
		}
		if n, err := Readable(r.Int()); n != 6+200*4096 || err != nil {
			t.Errorf("left: %d %v", n, err)
		}
	}
}

func TestContent(t *testing.T) {
	f := own[*FD](t)(TmpFile(t.TempDir()))
	for _, at := range []int64{1 << 20, 5 << 20} {
		if n, err := WriterAt(f.Int()).WriteAt(bytes.Repeat([]byte("z"), 8192), at); n != 8192 || err != nil {
			t.Fatal(n, err)
		}
	}
	unix.Seek(f.Int(), 77, unix.SEEK_SET)
	want := []Extent{{1 << 20, 8192}, {5 << 20, 4096}}
	if got, err := DataExtents(f.Int(), 5<<20+4096); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := DataExtents(f.Int(), 1<<19); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	b := make([]byte, 10)
	if n, err := ReaderAt(f.Int()).ReadAt(b, 5<<20+8190); n != 2 || err == nil || string(b[:2]) != "zz" {
		t.Errorf("%d %q %v", n, b, err)
	}
	if at, _ := unix.Seek(f.Int(), 0, unix.SEEK_CUR); at != 77 {
		t.Errorf("the offset moved to %d", at)
	}
}

func TestStatAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("hello"), 0o640); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1234567890, 123456789)
	os.Chtimes(path, when, when)
	o := own[*FD](t)(OpenPath(path, unix.O_PATH))
	os.Remove(path)
	st, err := Fstat(o.Int())
	if err != nil || st.Size != 5 || st.Mode != unix.S_IFREG|0o640 || st.Nlink != 0 || st.Mtime != when.UnixNano() ||
		st.FSType == 0 || st.UID != uint32(os.Getuid()) {
		t.Errorf("%+v %v", st, err)
	}
	r := own[*FD](t)(Reopen(o.Int(), unix.O_RDONLY))
	b := make([]byte, 9)
	if n, err := ReaderAt(r.Int()).ReadAt(b, 0); n != 5 || string(b[:n]) != "hello" {
		t.Errorf("%q %v", b[:n], err)
	}
	again, err := Fstat(r.Int())
	if err != nil || !again.SameFile(&st) {
		t.Errorf("%+v %v", again, err)
	}
	null, err := StatAt(unix.AT_FDCWD, "/dev/null")
	if err != nil || null.Type() != unix.S_IFCHR || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("%+v %v", null, err)
	}
	proc, err := OpenPath("/proc", unix.O_PATH)
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	if st, err := Fstat(proc.Int()); err != nil || st.FSType != unix.PROC_SUPER_MAGIC {
		t.Errorf("%+v %v", st, err)
	}
	if fd, err := OpenBeneath(proc.Int(), "self/exe", unix.O_RDONLY, unix.RESOLVE_NO_MAGICLINKS); err == nil {
		fd.Close()
		t.Error("followed a magic link")
	}
}

func TestDupAndCloseRange(t *testing.T) {
	f := own[*FD](t)(MemoryFile("x", 0))
	high := own[*FD](t)(DupAbove(f.Int(), 700, "high"))
	if high.Int() < 700 {
		t.Error(high)
	}
	if err := Dup3(f.Int(), 801, unix.O_CLOEXEC); err != nil {
		t.Error(err)
	}
	if err := CloseRange(800, 900, 0); err != nil {
		t.Error(err)
	}
	if _, err := Fcntl(801, unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Error("still open")
	}
}

func TestFcntlBuf(t *testing.T) {
	f := own[*FD](t)(TmpFile(t.TempDir()))
	lock := abi.Flock{Type: unix.F_WRLCK, Start: 10, Len: 5}.Encode()
	if err := FcntlBuf(f.Int(), unix.F_OFD_SETLK, lock); err != nil {
		t.Fatal(err)
	}
	other := own[*FD](t)(Reopen(f.Int(), unix.O_RDWR))
	ask := abi.Flock{Type: unix.F_RDLCK}.Encode()
	if err := FcntlBuf(other.Int(), unix.F_OFD_GETLK, ask); err != nil {
		t.Fatal(err)
	}
	if got := abi.DecodeFlock(ask); got != (abi.Flock{Type: unix.F_WRLCK, Start: 10, Len: 5, PID: -1}) {
		t.Errorf("%+v", got)
	}
}

func TestWait(t *testing.T) {
	x := start(t, "sleep", "60")
	pidfd := own[*FD](t)(PidfdOpen(x.pid))
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }
	if err := WaitDead(pidfd, soon()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := KillAll([]*FD{pidfd}); err != nil {
		t.Error(err)
	}
	if err := WaitDead(pidfd, time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if err := WaitGone(pidfd, soon()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a zombie counts as gone: %v", err)
	}
	x.Wait()
	if err := WaitGone(pidfd, time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if err := KillAll([]*FD{pidfd}); err != nil {
		t.Error(err)
	}
}

func TestClock(t *testing.T) {
	a, err := Clock(unix.CLOCK_MONOTONIC)
	if err != nil || a <= 0 {
		t.Error(a, err)
	}
	if _, err := Clock(99); err == nil {
		t.Error("clock 99")
	}
}
