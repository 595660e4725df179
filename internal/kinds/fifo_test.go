package kinds

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// fifo makes a FIFO and opens ends of it; the first must be O_RDWR or
// O_RDONLY|O_NONBLOCK.
func fifo(t *testing.T, flags ...int) []int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, f := range flags {
		fds = append(fds, must(unix.Open(path, f|unix.O_CLOEXEC, 0))(t))
	}
	return fds
}

// replace dumps, closes and restores the ends of a FIFO, and forgets the
// holder as the engine does at the end.
func (w *world) replace(fds []int) []int {
	w.t.Helper()
	var sites []*kind.FileSite
	for _, fd := range fds {
		sites = append(sites, w.add(fd))
	}
	i := sites[0].Inode
	plans := []planned{{FIFO(), planFIFO(*w.record(FIFO(), i).(*fifoRecord), &kind.Host{Self: i.Ref().Main()})}}
	for _, f := range sites {
		k := claimer(w.t, plan.OpenFile, f)
		plans = append(plans, planned{k, k.Plan(w.record(k, f), hostOf(f.ID))})
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	for _, stage := range []plan.Stage{plan.Create, plan.Fill, plan.Settle} {
		for _, p := range plans {
			w.run(p, stage)
		}
	}
	unix.Close(w.fd(slot(i.Ref().Main(), fifoHolder)))
	var out []int
	for _, f := range sites {
		w.same(f)
		out = append(out, w.fd(f.Ref().Main()))
		if fd, ok := w.fds[slot(f.Ref().Main(), kind.SlotOther)]; ok {
			unix.Close(fd)
		}
	}
	return out
}

func TestFIFOKeepsContents(t *testing.T) {
	w := newWorld(t)
	fds := fifo(t, unix.O_RDWR, unix.O_RDONLY|unix.O_NONBLOCK, unix.O_WRONLY)
	must(unix.Write(fds[2], []byte("in the FIFO")))(t)
	must(unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, 8192))(t)
	fds = w.replace(fds)
	b := make([]byte, 100)
	if n := must(unix.Read(fds[1], b))(t); string(b[:n]) != "in the FIFO" {
		t.Errorf("holds %q", b[:n])
	}
	if n := must(unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0))(t); n != 8192 {
		t.Errorf("capacity %d", n)
	}
}

func TestFIFOKeepsTheHangup(t *testing.T) {
	w := newWorld(t)
	fds := fifo(t, unix.O_RDONLY|unix.O_NONBLOCK, unix.O_WRONLY)
	unix.Close(fds[1])
	fds = w.replace(fds[:1])
	p := []unix.PollFd{{Fd: int32(fds[0])}}
	if must(unix.Poll(p, 0))(t); p[0].Revents&unix.POLLHUP == 0 {
		t.Error("the writers' end is forgotten")
	}
}

func TestFIFOWithOneEndOutside(t *testing.T) {
	w := newWorld(t)
	fds := fifo(t, unix.O_RDONLY|unix.O_NONBLOCK, unix.O_WRONLY)
	if why := w.refused(w.add(fds[0]).Inode); !strings.Contains(why, "one end") {
		t.Error(why)
	}
}

func TestFIFOIsNotMixedWithWhatIsThere(t *testing.T) {
	w := newWorld(t)
	fds := fifo(t, unix.O_RDWR)
	f := w.add(fds[0])
	r := *w.record(FIFO(), f.Inode).(*fifoRecord)
	must(unix.Write(fds[0], []byte("somebody else's")))(t)
	var err error
	for _, op := range planFIFO(r, &kind.Host{Self: f.Inode.Ref().Main()})[0].Ops {
		if err = w.op(op); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "bytes in the FIFO") {
		t.Error(err)
	}
}
