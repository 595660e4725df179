package kinds

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// credsWalk finds the calls that lead a thread from the credentials it was
// born with to those it shall have, in an order in which each is still
// allowed (credentials(7), capabilities(7), kernel/sys.c):
//
//  1. groups and group ids, while CAP_SETGID is effective;
//  2. inheritable capabilities outside the final bounding set, before it shrinks;
//  3. the bounding set, while CAP_SETPCAP is effective;
//  4. user ids, keeping the permitted set, and making it effective again;
//  5. ambient capabilities, which setresuid clears and securebits may forbid to raise;
//  6. securebits;
//  7. the capability sets as they shall be.
//
// All are raw calls of the one thread. A call that would change nothing is
// left out, so that a thread that is born right needs no privilege.
type credsWalk struct {
	h    *kind.Host
	cur  kind.Creds
	want kind.Creds
	ops  []plan.Op
}

func (w *credsWalk) walk() {
	w.groups()
	w.gids()
	w.earlyInheritable()
	w.bounding()
	w.uids()
	w.ambient()
	w.securebits()
	w.capset(w.want.Caps.Inheritable, w.want.Caps.Permitted, w.want.Caps.Effective)
}

func (w *credsWalk) call(nr uintptr, args ...plan.Arg) {
	w.ops = append(w.ops, inTask(w.h, nr, args...))
}

func (w *credsWalk) prctl(op int, args ...plan.Arg) {
	w.ops = append(w.ops, prctlIn(w.h, op, args...))
}

// groups leaves a list that has somebody twice (setgroups(2) takes it) as it
// is where that is all and the thread may not set it: it is the same set.
func (w *credsWalk) groups() {
	if slices.Equal(w.cur.Groups, w.want.Groups) {
		return
	}
	if !w.cur.Caps.Effective.Has(unix.CAP_SETGID) && slices.Equal(unique(w.cur.Groups...), unique(w.want.Groups...)) {
		return
	}
	var list []byte
	for _, g := range w.want.Groups {
		list = binary.LittleEndian.AppendUint32(list, uint32(g))
	}
	w.call(unix.SYS_SETGROUPS, plan.Int(len(w.want.Groups)), plan.Buf(list))
}

// gids sets the file system id apart from the others: setresgid(2) makes it
// the effective one.
func (w *credsWalk) gids() {
	g := w.want.GID
	if w.cur.GID == g {
		return
	}
	w.call(unix.SYS_SETRESGID, plan.Int(g.Real), plan.Int(g.Effective), plan.Int(g.Saved))
	if g.FS != g.Effective {
		w.setFS(unix.SYS_SETFSGID, uint32(g.FS))
	}
}

// setFS sets a file system id and looks whether it took: setfsuid(2) returns
// the id of before, whatever happens, and -1 is never one.
func (w *credsWalk) setFS(nr uintptr, id uint32) {
	w.call(nr, plan.Int(id))
	look := inTask(w.h, nr, plan.Int(^uint32(0)))
	look.Ret = plan.Exactly(int64(id))
	w.ops = append(w.ops, look)
}

func (w *credsWalk) earlyInheritable() {
	k := w.want.Caps
	if k.Inheritable&^w.cur.Caps.Inheritable&^k.Bounding != 0 {
		w.capset(k.Inheritable, w.cur.Caps.Permitted, w.cur.Caps.Effective)
	}
}

func (w *credsWalk) bounding() {
	drop := w.cur.Caps.Bounding &^ w.want.Caps.Bounding
	for bit := range uint(64) {
		if drop.Has(bit) {
			w.prctl(unix.PR_CAPBSET_DROP, plan.Int(bit))
		}
	}
}

// uids changes the user ids. What setresuid(2) and setfsuid(2) then do to the
// capabilities depends on all of them and on the securebits
// (cap_task_fix_setuid): afterwards nothing is taken for granted.
func (w *credsWalk) uids() {
	u := w.want.UID
	if w.cur.UID == u {
		return
	}
	kept := w.cur.Caps.Permitted
	if kept != 0 && w.cur.Securebits&secKeepCaps == 0 {
		w.prctl(unix.PR_SET_KEEPCAPS, plan.Int(1))
		w.cur.Securebits |= secKeepCaps
	}
	w.call(unix.SYS_SETRESUID, plan.Int(u.Real), plan.Int(u.Effective), plan.Int(u.Saved))
	w.cur.Caps.Effective, w.cur.Caps.Ambient = unknownCaps, 0
	w.capset(w.cur.Caps.Inheritable, kept, kept)
	if u.FS != u.Effective {
		w.setFS(unix.SYS_SETFSUID, uint32(u.FS))
		w.cur.Caps.Effective = unknownCaps
	}
}

// unknownCaps is a set that no thread has, unequal to every wanted one.
const unknownCaps = ^credmap.Caps(0)

// ambient needs the capabilities to be permitted and inheritable already.
func (w *credsWalk) ambient() {
	want := w.want.Caps.Ambient
	if w.cur.Caps.Ambient&^want != 0 {
		w.prctl(unix.PR_CAP_AMBIENT, plan.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL))
		w.cur.Caps.Ambient = 0
	}
	if want == w.cur.Caps.Ambient {
		return
	}
	w.capset(w.want.Caps.Inheritable, w.cur.Caps.Permitted, w.cur.Caps.Permitted)
	for bit := range uint(64) {
		if (want &^ w.cur.Caps.Ambient).Has(bit) {
			w.prctl(unix.PR_CAP_AMBIENT, plan.Int(unix.PR_CAP_AMBIENT_RAISE), plan.Int(bit))
		}
	}
}

// securebits sets keepcaps in the way that takes no privilege, and before the
// others, which may lock it.
func (w *credsWalk) securebits() {
	want, cur := w.want.Securebits, w.cur.Securebits
	if (want^cur)&secKeepCaps != 0 {
		w.prctl(unix.PR_SET_KEEPCAPS, plan.Int(want&secKeepCaps/secKeepCaps))
	}
	if (want^cur)&^secKeepCaps != 0 {
		w.prctl(unix.PR_SET_SECUREBITS, plan.Int(want))
	}
}

// capset sets three of the sets at once (capset(2), version 3: two halves).
func (w *credsWalk) capset(inheritable, permitted, effective credmap.Caps) {
	k := &w.cur.Caps
	if k.Inheritable == inheritable && k.Permitted == permitted && k.Effective == effective {
		return
	}
	header := binary.LittleEndian.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	header = binary.LittleEndian.AppendUint32(header, 0)
	var data []byte
	for _, shift := range []uint{0, 32} {
		for _, set := range []credmap.Caps{effective, permitted, inheritable} {
			data = binary.LittleEndian.AppendUint32(data, uint32(set>>shift))
		}
	}
	w.call(unix.SYS_CAPSET, plan.Buf(header), plan.Buf(data))
	k.Inheritable, k.Permitted, k.Effective = inheritable, permitted, effective
}
