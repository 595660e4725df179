package kinds

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func newSocket(t *testing.T, domain, sort, proto int) int {
	t.Helper()
	fd := must(unix.Socket(domain, sort|unix.SOCK_CLOEXEC, proto))(t)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// reborn restores a socket after the old one was closed, under its number, and
// compares the record of the new one with that of the old.
func (w *world) reborn(f *kind.FileSite) *kind.FileSite {
	w.t.Helper()
	k := claimer(w.t, plan.OpenFile, f)
	old := w.record(k, f)
	p := planned{k, k.Plan(old, hostOf(f.ID))}
	unix.Close(f.Num)
	w.run(p, plan.Create)
	if now := w.fd(f.Ref().Main()); now != f.Num {
		must(0, unix.Dup3(now, f.Num, unix.O_CLOEXEC))(w.t)
		unix.Close(now)
		w.fds[f.Ref().Main()] = f.Num
	}
	for stage := plan.Connect; stage <= plan.Seal; stage++ {
		w.run(p, stage)
	}
	v := newWorld(w.t)
	again := v.add(f.Num)
	if now := v.record(claimer(w.t, plan.OpenFile, again), again); !reflect.DeepEqual(old, now) {
		w.t.Errorf("restored as\n%+v\nwas\n%+v", now, old)
	}
	return again
}

func TestListenTCP(t *testing.T) {
	for _, c := range []struct {
		domain, proto int
		addr          unix.Sockaddr
	}{
		{unix.AF_INET, unix.IPPROTO_TCP, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}},
		{unix.AF_INET6, unix.IPPROTO_TCP, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
		{unix.AF_INET6, unix.IPPROTO_MPTCP, &unix.SockaddrInet6{}},
	} {
		w := newWorld(t)
		fd := must(unix.Socket(c.domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, c.proto))(t)
		for _, o := range [][3]int{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.SOL_SOCKET, unix.SO_RCVBUF, 50000}, {unix.SOL_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_TCP, unix.TCP_KEEPIDLE, 77}} {
			must(0, unix.SetsockoptInt(fd, o[0], o[1], o[2]))(t)
		}
		must(0, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 0}))(t)
		must(0, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3, Usec: 4000}))(t)
		must(0, unix.Bind(fd, c.addr))(t)
		must(0, unix.Listen(fd, 7))(t)
		f := w.add(fd)
		r := w.record(Listen(), f).(*listenRecord)
		if r.Backlog != 7 || r.Socket.Local.Port == 0 || len(r.Socket.Options.Ints) < 4 {
			t.Errorf("recorded %+v", r)
		}
		w.reborn(f)
		conn := must(net.DialTimeout("tcp", r.Socket.Local.String(), time.Second))(t)
		conn.Close()
		unix.Close(fd)
	}
}

func TestListenWithConnectionsWaiting(t *testing.T) {
	w := newWorld(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	conn := must(net.Dial("tcp", l.Addr().String()))(t)
	defer conn.Close()
	file := must(l.(*net.TCPListener).File())(t)
	defer file.Close()
	if why := w.refused(w.add(int(file.Fd()))); !strings.Contains(why, "1 connections wait") {
		t.Error(why)
	}
	file2 := must(conn.(*net.TCPConn).File())(t)
	defer file2.Close()
	f := w.add(int(file2.Fd()))
	if why := w.refused(f); !strings.Contains(why, "established") || !strings.Contains(why, l.Addr().String()) {
		t.Error(why)
	}
	f.Holders[0].Num = 0 // as from inetd
	if r := w.record(claimer(t, plan.OpenFile, f), f); r.(*streamsRecord).Streams != 1 {
		t.Errorf("%+v", r)
	}
}

func listenUnix(t *testing.T, name string, sort int) int {
	t.Helper()
	fd := newSocket(t, unix.AF_UNIX, sort, 0)
	must(0, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))(t)
	must(0, unix.Listen(fd, 5))(t)
	return fd
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"path": filepath.Join(dir, "sock"), "abstract": "@ckpt test " + dir} {
		w := newWorld(t)
		fd := listenUnix(t, path, unix.SOCK_STREAM)
		if path[0] == '/' {
			must(0, os.Chmod(path, 0o640))(t)
		}
		f := w.add(fd)
		if r := w.record(Listen(), f).(*listenRecord); r.Backlog != 5 {
			t.Errorf("%s: backlog %d", name, r.Backlog)
		}
		w.reborn(f)
		conn := must(net.Dial("unix", path))(t)
		conn.Close()
	}
}

func TestListenUnixAtARelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	w := newWorld(t)
	w.task.FS = &kind.FSSite{Cwd: &kind.InodeSite{Path: must(os.Getwd())(t)}}
	f := w.add(listenUnix(t, "sock", unix.SOCK_SEQPACKET))
	r := w.record(Listen(), f).(*listenRecord)
	unix.Close(f.Num)
	steps := planListen(*r, hostOf(f.ID))
	w.run(planned{Listen(), steps}, plan.Create)
	if now := w.fd(f.Ref().Main()); now != f.Num {
		must(0, unix.Dup3(now, f.Num, unix.O_CLOEXEC))(t)
	}
	w.run(planned{Listen(), steps}, plan.Arm)
	conn := must(net.Dial("unixpacket", "sock"))(t)
	conn.Close()
	if got := conn.RemoteAddr().String(); got != "sock" {
		t.Errorf("bound to %q", got)
	}
	w.task.FS.Cwd.Path = "/"
	f = newWorld(t).add(f.Num)
	f.Task = w.task
	if why := w.refused(f); !strings.Contains(why, "another file") && !strings.Contains(why, "relative") {
		t.Error(why)
	}
}

func TestListenUnixLeavesOthersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	w := newWorld(t)
	fd := listenUnix(t, path, unix.SOCK_STREAM)
	f := w.add(fd)
	r := *w.record(Listen(), f).(*listenRecord)
	try := func() error {
		for _, c := range r.clearPath(hostOf(f.ID)) {
			if err := w.op(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := try(); err == nil {
		t.Fatal("a socket that somebody listens at was removed")
	}
	unix.Close(fd)
	must(0, os.Remove(path))(t)
	must(0, os.WriteFile(path, []byte("a file"), 0o600))(t)
	if err := try(); err == nil || !strings.Contains(err.Error(), "type") {
		t.Errorf("a file in its place: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte("a file")) {
		t.Error("the file is gone")
	}
	must(0, os.Remove(path))(t)
	if err := try(); err != nil {
		t.Errorf("with nothing there: %v", err)
	}
}

func TestSocketPlain(t *testing.T) {
	for _, s := range []socketSort{{unix.AF_INET, unix.SOCK_STREAM, 6}, {unix.AF_INET6, unix.SOCK_DGRAM, 17}, {unix.AF_UNIX, unix.SOCK_DGRAM, 0}} {
		w := newWorld(t)
		fd := must(unix.Socket(int(s.Domain), int(s.Type)|unix.SOCK_NONBLOCK, int(s.Proto)))(t)
		must(0, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 20000))(t)
		if s.isUDP() {
			must(0, unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}))(t)
		}
		w.reborn(w.add(fd))
		unix.Close(fd)
	}
}

func TestSocketsRefused(t *testing.T) {
	w := newWorld(t)
	if why := w.refused(w.add(newSocket(t, unix.AF_NETLINK, unix.SOCK_RAW, 0))); why != "a netlink socket" {
		t.Error(why)
	}
	udp := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(0, unix.Connect(udp, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 53}))(t)
	if why := w.refused(w.add(udp)); !strings.Contains(why, "127.0.0.1:53") {
		t.Error(why)
	}
}

func TestListenCheck(t *testing.T) {
	good := listenRecord{Task: 1, Socket: socketRecord{Sort: socketSort{unix.AF_INET, unix.SOCK_STREAM, 6}, Local: sockAddr{IP: []byte{127, 0, 0, 1}, Port: 80}}}
	if err := checkListen(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*listenRecord){
		"nobody":      func(r *listenRecord) { r.Task = 0 },
		"raw":         func(r *listenRecord) { r.Socket.Sort.Type = unix.SOCK_RAW },
		"set-id file": func(r *listenRecord) { r.File.Mode = 0o4777 },
		"option":      func(r *listenRecord) { r.Socket.Options.Ints = []sockInt{{unix.SOL_SOCKET, unix.SO_ATTACH_BPF, 3}} },
		"family":      func(r *listenRecord) { r.Socket.Local.IP = make([]byte, 16) },
		"relative": func(r *listenRecord) {
			r.Socket.Sort, r.Socket.Local = socketSort{unix.AF_UNIX, 1, 0}, sockAddr{Name: []byte("x")}
		},
	} {
		r := good
		if change(&r); checkListen(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
