package kinds

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func makePair(t *testing.T, sort int) (a, b int) {
	t.Helper()
	p := must(unix.Socketpair(unix.AF_UNIX, sort|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return p[0], p[1]
}

// drain receives everything that waits, message by message.
func drain(t *testing.T, fd int) (all []string) {
	t.Helper()
	b := make([]byte, 1<<18)
	for range 20 {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, string(b[:n])); n == 0 && len(all) > 15 {
			return all
		}
	}
	return all
}

func send(t *testing.T, fd int, messages ...string) {
	t.Helper()
	for _, m := range messages {
		must(0, unix.Send(fd, []byte(m), 0))(t)
	}
}

func TestSocketpairKeepsQueues(t *testing.T) {
	long := strings.Repeat("long ", 10000)
	for name, c := range map[string]struct {
		sort int
		want []string
	}{
		"stream":    {unix.SOCK_STREAM, []string{"one" + "two" + long}},
		"datagram":  {unix.SOCK_DGRAM, []string{"one", "two", long}},
		"seqpacket": {unix.SOCK_SEQPACKET, []string{"one", "two", long}},
		"empty":     {unix.SOCK_DGRAM, nil},
	} {
		w := newWorld(t)
		a, b := makePair(t, c.sort)
		if c.want != nil {
			send(t, b, "one", "two", long)
		}
		must(0, unix.SetNonblock(b, true))(t)
		must(0, unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_PASSSEC, 1))(t)
		fa, fb := w.add(a), w.add(b)
		w.restore(fa, fb)
		w.same(fa)
		w.same(fb)
		na, nb := w.fd(fa.Ref().Main()), w.fd(fb.Ref().Main())
		for _, fd := range []int{a, na} {
			if off := must(unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF))(t); off != -1 {
				t.Errorf("%s: peek offset %d", name, off)
			}
			if v := must(unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSSEC))(t); v != 1 {
				t.Errorf("%s: option lost", name)
			}
			if got := drain(t, fd); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %.40q, want %.40q", name, got, c.want)
			}
		}
		send(t, na, "back")
		if got := drain(t, nb); !reflect.DeepEqual(got, []string{"back"}) {
			t.Errorf("%s: the way back: %q", name, got)
		}
	}
}

func TestSocketpairKeepsEmptyMessages(t *testing.T) {
	w := newWorld(t)
	a, b := makePair(t, unix.SOCK_DGRAM)
	send(t, b, "", "x", "")
	fa, fb := w.add(a), w.add(b)
	w.restore(fa, fb)
	if got := drain(t, w.fd(fa.Ref().Main())); !reflect.DeepEqual(got, []string{"", "x", ""}) {
		t.Errorf("%q", got)
	}
}

func TestSocketpairKeepsShutdown(t *testing.T) {
	w := newWorld(t)
	a, b := makePair(t, unix.SOCK_STREAM)
	send(t, b, "last")
	must(0, unix.Shutdown(b, unix.SHUT_WR))(t)
	fa, fb := w.add(a), w.add(b)
	w.restore(fa, fb)
	na := w.fd(fa.Ref().Main())
	buf := make([]byte, 10)
	for _, want := range []string{"last", ""} {
		n, err := unix.Read(na, buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("read %q, %v", buf[:max(n, 0)], err)
		}
	}
	send(t, na, "still")
	if got := drain(t, w.fd(fb.Ref().Main())); !reflect.DeepEqual(got, []string{"still"}) {
		t.Errorf("the other way: %q", got)
	}
	if err := unix.Send(w.fd(fb.Ref().Main()), []byte("x"), unix.MSG_NOSIGNAL); err != unix.EPIPE {
		t.Errorf("sending after the shutdown: %v", err)
	}
}

func TestSocketpairWithClosedPeer(t *testing.T) {
	for _, sort := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		w := newWorld(t)
		a, b := makePair(t, sort)
		send(t, b, "testament")
		unix.Close(b)
		f := w.add(a)
		w.restore(f)
		unix.Close(w.fd(slot(f.Ref().Main(), kind.SlotOther)))
		buf := make([]byte, 100)
		for _, want := range []string{"testament", ""} {
			if n := must(unix.Read(w.fd(f.Ref().Main()), buf))(t); string(buf[:n]) != want {
				t.Errorf("read %q", buf[:n])
			}
		}
	}
}

func TestSocketpairRefusals(t *testing.T) {
	w := newWorld(t)
	a, b := makePair(t, unix.SOCK_STREAM)
	must(0, unix.Sendmsg(b, []byte("x"), unix.UnixRights(0), nil, 0))(t)
	fa := w.add(a)
	if why := w.refused(fa); !strings.Contains(why, "outside") {
		t.Error(why)
	}
	w.add(b)
	if why := w.refused(fa); !strings.Contains(why, "on the way") {
		t.Error(why)
	}
	alone := newWorld(t)
	c, _ := makePair(t, unix.SOCK_STREAM)
	f := alone.add(c)
	f.Holders[0].Num = 1
	if r := alone.record(Socketpair(), f).(*socketpairRecord); r.Outside.Streams != 2 {
		t.Errorf("standard output to outside: %+v", r)
	}
}

func TestSocketpairIsMadeOnce(t *testing.T) {
	r := socketpairRecord{Socket: socketRecord{Sort: socketSort{unix.AF_UNIX, unix.SOCK_STREAM, 0}}}
	for id, want := range map[uint32]bool{4: true, 6: false} {
		r.Peer = kind.FileRef(10 - id)
		made := false
		for _, s := range planSocketpair(r, hostOf(id)) {
			made = made || s.Stage == plan.Create && s.Text == "make a pair of sockets"
		}
		if made != want {
			t.Errorf("end %d makes the pair: %v", id, made)
		}
	}
}

func TestSocketpairCheck(t *testing.T) {
	good := socketRecord{Sort: socketSort{unix.AF_UNIX, unix.SOCK_STREAM, 0}}
	for name, r := range map[string]socketpairRecord{
		"nothing":  {},
		"address":  {Socket: socketRecord{Sort: good.Sort, Local: sockAddr{Name: []byte("/x")}}},
		"shutdown": {Socket: good, Shutdown: 4},
		"parts":    {Socket: good, Queue: []kind.BlobRef{1, 2}},
		"streams":  {Outside: streamsRecord{Streams: 9}},
	} {
		if checkSocketpair(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
