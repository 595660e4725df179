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

// place has a process take its descriptors, at their numbers, and is yet to be
// waited for. What it has not by hand is sent to it, and arrives at the lowest
// free numbers in ascending order, so the i-th, which belongs at a number of at
// least i, can be moved there from the last to the first without ever meeting
// one that is not moved yet. Many are sent from the top, a message at a time: no
// socket holds them all.
func (s *session) place(b *body, fds []kind.FDNode) error {
	var cs []plan.Call
	var sent []kind.FDNode
	for _, fd := range fds {
		b.used[int(fd.Num)] = true
		if from, ok := s.handed[s.source(fd)]; ok {
			cs = append(cs, dup3(from, int(fd.Num), cloexec(fd)))
		} else {
			sent = append(sent, fd)
		}
	}
	for {
		some := sent[max(0, len(sent)-kernelio.MaxSCM):]
		sent = sent[:len(sent)-len(some)]
		take, err := s.take(some)
		if err != nil {
			return err
		}
		if len(sent) == 0 { // the numbers of those that were handed may be free only now
			return s.placeLast(b, append(take, cs...), len(some) > 0)
		}
		if err := s.run(b, take...); err != nil {
			return err
		}
	}
}

// placeLast begins the last program of place.
func (s *session) placeLast(b *body, cs []plan.Call, sent bool) error {
	if err := s.send(b, cs...); err != nil {
		return err
	}
	if sent {
		b.space.End(b.leader) // what was sent is its own, whoever comes next
	}
	return nil
}

// take sends descriptors, and returns the calls that place them.
func (s *session) take(fds []kind.FDNode) ([]plan.Call, error) {
	if len(fds) == 0 {
		return nil, nil
	}
	var mine []int
	for _, fd := range fds {
		ours, ok := s.made[s.source(fd)]
		if !ok {
			return nil, fmt.Errorf("descriptor %d: nothing made %s", fd.Num, fd.File.Main())
		}
		mine = append(mine, int(ours))
	}
	if err := kernelio.SendFDs(s.socket.Int(), []byte{0}, mine...); err != nil {
		return nil, fmt.Errorf("handing them over: %w", err)
	}
	cs := []plan.Call{receive(s.ctl, len(mine))}
	for i := len(fds) - 1; i >= 0; i-- {
		cs = append(cs, put(i, fds[i])...)
	}
	return cs, nil
}

// put moves descriptor from to its number.
func put(from int, fd kind.FDNode) []plan.Call {
	to := int(fd.Num)
	switch {
	case from != to:
		return []plan.Call{dup3(from, to, cloexec(fd)), closeCall(from)}
	case fd.CloExec:
		return nil // it arrived so
	}
	return []plan.Call{{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Int(to), plan.Int(unix.F_SETFD), plan.Int(0)}}}
}

func cloexec(fd kind.FDNode) int {
	if fd.CloExec {
		return unix.O_CLOEXEC
	}
	return 0
}
