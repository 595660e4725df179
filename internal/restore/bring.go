package restore

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// bring has the thread receive the descriptors that its turn needs. The
// kernel gives them the lowest free numbers in order (unix(7), SCM_RIGHTS),
// so that the numbers are known before.
func (s *session) bring(t *turn, n *names) ([]int, error) {
	n.fds = map[plan.Ref]int{}
	var fds, mine []int
	for _, r := range t.needs {
		num := t.body.lowestFree()
		n.fds[r] = num
		fds = append(fds, num)
		mine = append(mine, int(s.made[r]))
	}
	for _, num := range fds {
		delete(t.body.used, num) // closed again when the turn ends
	}
	for len(mine) > 0 {
		k := min(len(mine), kernelio.MaxSCM)
		if err := kernelio.SendFDs(s.socket.Int(), []byte{0}, mine[:k]...); err != nil {
			return nil, fmt.Errorf("handing over descriptors: %w", err)
		}
		if err := t.prog.Add(receive(s.ctl, k), nil); err != nil {
			return nil, err
		}
		mine = mine[k:]
	}
	return fds, nil
}

// lowestFree takes the number that the kernel would give next.
func (b *body) lowestFree() int {
	for n := 0; ; n++ {
		if !b.used[n] {
			b.used[n] = true
			return n
		}
	}
}

// receive is a recvmsg(2) of one byte with n descriptors.
func receive(sock, n int) plan.Call {
	iov := make([]byte, 16) // struct iovec: base, len
	binary.LittleEndian.PutUint64(iov[8:], 1)
	control := make([]byte, unix.CmsgSpace(4*n))
	hdr := make([]byte, 56) // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags
	binary.LittleEndian.PutUint64(hdr[24:], 1)
	binary.LittleEndian.PutUint64(hdr[40:], uint64(len(control)))
	return plan.Call{Nr: unix.SYS_RECVMSG, Args: []plan.Arg{
		plan.Int(sock),
		plan.Buf(hdr,
			plan.Reloc{Off: 16, Size: 8, Arg: plan.Buf(iov, plan.Reloc{Off: 0, Size: 8, Arg: plan.Buf([]byte{0})})},
			plan.Reloc{Off: 32, Size: 8, Arg: plan.Buf(control)}),
		plan.Int(unix.MSG_CMSG_CLOEXEC)}, Ret: plan.Exactly(1)}
}

// place has a process take its descriptors, at their numbers. They arrive at the
// lowest free numbers in ascending order, so the i-th, which belongs at a
// number of at least i, can be moved there from the last to the first without
// ever meeting one that is not moved yet. A table of more than one message is
// filled from the top, a message at a time: no socket holds many of them. The
// last is yet to be waited for.
func (s *session) place(b *body, fds []kind.FDNode) error {
	for end := len(fds); ; {
		from := max(0, end-kernelio.MaxSCM)
		if err := s.placeSome(b, fds[from:end]); err != nil || from == 0 {
			return err
		}
		if err := s.await(b); err != nil {
			return err
		}
		end = from
	}
}

func (s *session) placeSome(b *body, fds []kind.FDNode) error {
	var mine []int
	for _, fd := range fds {
		ours, ok := s.made[fd.File.Main()]
		if !ok {
			return fmt.Errorf("descriptor %d: nothing made %s", fd.Num, fd.File.Main())
		}
		if own, is := s.made[fd.File.Stream(int(fd.Num))]; is && fd.Num <= 2 {
			ours = own // each standard stream is reconnected to the like of rstr's
		}
		mine = append(mine, int(ours))
	}
	if err := kernelio.SendFDs(s.socket.Int(), []byte{0}, mine...); err != nil {
		return fmt.Errorf("handing them over: %w", err)
	}
	cs := []plan.Call{receive(s.ctl, len(mine))}
	for i := len(fds) - 1; i >= 0; i-- {
		cs = append(cs, b.put(i, int(fds[i].Num), fds[i].CloExec)...)
	}
	if err := s.send(b, cs...); err != nil {
		return err
	}
	b.space.End(b.leader) // what was sent is its own, whoever comes next
	return nil
}

// put moves descriptor from to number to.
func (b *body) put(from, to int, cloexec bool) []plan.Call {
	b.used[to] = true
	if from == to {
		if cloexec {
			return nil // it arrived so
		}
		return []plan.Call{{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Int(to), plan.Int(unix.F_SETFD), plan.Int(0)}}}
	}
	flags := 0
	if cloexec {
		flags = unix.O_CLOEXEC
	}
	dup := plan.Call{Nr: unix.SYS_DUP3, Args: []plan.Arg{plan.Int(from), plan.Int(to), plan.Int(flags)}, Ret: plan.Exactly(int64(to))}
	return []plan.Call{dup, closeCall(from)}
}
