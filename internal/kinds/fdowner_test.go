package kinds

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

func TestFDOwner(t *testing.T) {
	w := newWorld(t)
	r, _ := makePipe(t, 0)
	must(unix.FcntlInt(uintptr(r), unix.F_SETOWN, unix.Getpid()))(t)
	must(unix.FcntlInt(uintptr(r), fSetSig, int(unix.SIGURG)))(t)
	must(unix.FcntlInt(uintptr(r), unix.F_SETFL, unix.O_ASYNC))(t)
	other, _ := makePipe(t, 0)
	if FDOwner().Match(w.add(other)) {
		t.Error("a plain pipe has an owner")
	}
	f := w.add(r)
	steps := FDOwner().Plan(w.record(FDOwner(), f), hostOf(f.ID))
	w.fds[f.Ref().Main()] = other
	must(0, unix.Dup3(other, r, 0))(t) // the task has the new pipe at the old number
	w.run(planned{FDOwner(), steps}, plan.Arm)
	w.same(f)
	if pid := must(unix.FcntlInt(uintptr(other), unix.F_GETOWN, 0))(t); pid != unix.Getpid() {
		t.Errorf("signals %d", pid)
	}
	if sig := must(unix.FcntlInt(uintptr(other), fGetSig, 0))(t); sig != int(unix.SIGURG) {
		t.Errorf("by signal %d", sig)
	}
}

func TestFDOwnerOutside(t *testing.T) {
	w := newWorld(t)
	r, _ := makePipe(t, 0)
	must(unix.FcntlInt(uintptr(r), unix.F_SETOWN, 1))(t)
	if _, err := FDOwner().Dump(w, w.add(r), nil); err == nil || !strings.Contains(err.Error(), "outside") {
		t.Error(err)
	}
}

func TestFDOwnerWearsItsIDs(t *testing.T) {
	h := hostOf(1)
	for uid, as := range map[credmap.UID]plan.Ref{0: {}, 1000: {Site: plan.Task, ID: 3}} {
		r := fdownerRecord{Type: 1, PID: 5, By: &setBy{uid, uid}, Task: 3}
		if got := planFDOwner(r, h)[0].Ops[0].(plan.Call).As; got != as {
			t.Errorf("for user %d as %v", uid, got)
		}
	}
}

func TestFDOwnerCheck(t *testing.T) {
	for _, r := range []fdownerRecord{{}, {Task: 1, Type: 3, PID: 1}, {Task: 1, PID: -1}, {Task: 1, Sig: 65}, {Task: 1, By: &setBy{5, 5}}, {Task: 1, Type: 1, PID: 4}} {
		if checkFDOwner(r) == nil {
			t.Errorf("%+v accepted", r)
		}
	}
}
