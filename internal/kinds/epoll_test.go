package kinds

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
)

func makeEpoll(t *testing.T) int {
	t.Helper()
	fd := must(unix.EpollCreate1(unix.EPOLL_CLOEXEC))(t)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func watch(t *testing.T, ep, fd int, events uint32, data int32) {
	t.Helper()
	e := unix.EpollEvent{Events: events, Fd: data, Pad: -data}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		t.Fatal(err)
	}
}

// again restores an epoll instance in place of the old one. Its watches are
// made in the task, by the numbers that the descriptors have there: the new
// instance takes the old one's number.
func (w *world) again(ep *kind.FileSite) {
	w.t.Helper()
	k := Epoll()
	steps := k.Plan(w.record(k, ep), hostOf(ep.ID))
	w.run(planned{k, steps[:1]}, steps[0].Stage)
	if err := unix.Dup3(w.fd(ep.Ref().Main()), ep.Num, unix.O_CLOEXEC); err != nil {
		w.t.Fatal(err)
	}
	for i := range steps[1:] {
		w.run(planned{k, steps[i+1 : i+2]}, steps[i+1].Stage)
	}
}

func watches(t *testing.T, fd int) []abi.EpollTarget {
	list := infoOf(t, fd).Epoll
	slices.SortFunc(list, func(a, b abi.EpollTarget) int { return int(a.FD) - int(b.FD) })
	return list
}

func (w *world) sameWatches(ep *kind.FileSite, want []abi.EpollTarget) {
	w.t.Helper()
	if got := watches(w.t, ep.Num); !slices.Equal(got, want) {
		w.t.Errorf("watches\n%+v, was\n%+v", got, want)
	}
}

func TestEpollKeepsWatches(t *testing.T) {
	w := newWorld(t)
	r, wr := makePipe(t, 0)
	inner, outer := makeEpoll(t), makeEpoll(t)
	watch(t, inner, r, unix.EPOLLIN|unix.EPOLLET, 11)
	watch(t, inner, wr, unix.EPOLLOUT|unix.EPOLLONESHOT, 12)
	watch(t, outer, inner, unix.EPOLLIN, 13)
	watch(t, outer, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 14)
	for _, fd := range []int{r, wr} {
		w.add(fd)
	}
	in, out := w.add(inner), w.add(outer)
	wantIn, wantOut := watches(t, inner), watches(t, outer)
	k := Epoll()
	record := w.record(k, out)
	w.again(in)
	w.sameWatches(in, wantIn)
	steps := k.Plan(record, hostOf(out.ID))
	for i := range steps {
		w.run(planned{k, steps[i : i+1]}, steps[i].Stage)
		if i == 0 {
			must(0, unix.Dup3(w.fd(out.Ref().Main()), outer, unix.O_CLOEXEC))(t)
		}
	}
	w.sameWatches(out, wantOut)
	var got [4]unix.EpollEvent
	if n := must(unix.EpollWait(outer, got[:], 0))(t); n != 1 || got[0].Fd != 13 || got[0].Pad != -13 {
		t.Errorf("%d events, first %+v", n, got[0])
	}
}

func TestEpollKeepsSpentOneShots(t *testing.T) {
	w := newWorld(t)
	_, wr := makePipe(t, 0)
	ep := makeEpoll(t)
	watch(t, ep, wr, unix.EPOLLOUT|unix.EPOLLONESHOT, 1)
	var got [4]unix.EpollEvent
	must(unix.EpollWait(ep, got[:], 0))(t)
	w.add(wr)
	want := watches(t, ep)
	f := w.add(ep)
	w.again(f)
	w.sameWatches(f, want)
	if n := must(unix.EpollWait(ep, got[:], 0))(t); n != 0 {
		t.Error("it fired again")
	}
}

func TestEpollRefusesWhatCanNotFire(t *testing.T) {
	w := newWorld(t)
	r, wr := makePipe(t, 0)
	ep := makeEpoll(t)
	watch(t, ep, r, unix.EPOLLIN|unix.EPOLLONESHOT, 1)
	must(unix.Write(wr, []byte("x")))(t)
	var got [4]unix.EpollEvent
	must(unix.EpollWait(ep, got[:], 0))(t)
	must(unix.Read(r, make([]byte, 1)))(t)
	w.add(r)
	if why := w.refused(w.add(ep)); !strings.Contains(why, "one-shot") {
		t.Error(why)
	}
}

func TestEpollOfClosedNumbers(t *testing.T) {
	w := newWorld(t)
	r, _ := makePipe(t, 0)
	ep := makeEpoll(t)
	free := must(unix.FcntlInt(uintptr(r), unix.F_DUPFD_CLOEXEC, 500))(t)
	reused := must(unix.FcntlInt(uintptr(r), unix.F_DUPFD_CLOEXEC, 600))(t)
	watch(t, ep, free, unix.EPOLLIN, 1)
	watch(t, ep, reused, unix.EPOLLIN, 2)
	unix.Close(free)
	other := must(unix.Eventfd(0, 0))(t)
	if err := unix.Dup3(other, reused, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reused)
	defer unix.Close(other)
	w.add(r)
	w.add(reused)
	want := watches(t, ep)
	f := w.add(ep)
	w.again(f)
	w.sameWatches(f, want)
	if _, err := unix.FcntlInt(uintptr(free), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("descriptor %d was left behind: %v", free, err)
	}
	if flags := must(unix.FcntlInt(uintptr(reused), unix.F_GETFD, 0))(t); !sameDescription(reused, other) || flags != 0 {
		t.Errorf("descriptor %d is not what it was", reused)
	}
}

func TestEpollRefusesForeignTargets(t *testing.T) {
	w := newWorld(t)
	r, _ := makePipe(t, 0)
	ep := makeEpoll(t)
	watch(t, ep, r, unix.EPOLLIN, 1)
	if why := w.refused(w.add(ep)); !strings.Contains(why, "outside the tree") {
		t.Error(why)
	}
}

func TestEpollCheck(t *testing.T) {
	for name, r := range map[string]epollRecord{
		"nowhere":   {Watches: []epollWatch{{FD: 1, Target: 1}}},
		"nothing":   {Tables: make([]epollTable, 1), Watches: []epollWatch{{FD: 1}}},
		"negative":  {Tables: make([]epollTable, 1), Watches: []epollWatch{{FD: -1, Target: 1}}},
		"borrowing": {Tables: make([]epollTable, 1), Watches: []epollWatch{{FD: 1, Target: 1, Borrow: 1}}},
		"table":     {Tables: []epollTable{{1, -1}}},
	} {
		if checkEpoll(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
