package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func planSocketpair(r socketpairRecord, h *kind.Host) []plan.Step {
	if r.Outside.Streams != 0 {
		return planStreams(r.Outside, h)
	}
	peer := r.Peer.Main()
	if r.Peer == 0 {
		peer = slot(h.Self, kind.SlotOther) // closed with the tool's other temporaries
	}
	var steps []plan.Step
	if r.Peer == 0 || h.Self.ID < uint32(r.Peer) { // one of the two makes both
		s := r.Socket.Sort
		steps = oneStep(plan.Create, "make a pair of sockets", plan.Call{Nr: unix.SYS_SOCKETPAIR, Maker: int32(r.Maker), Args: []plan.Arg{
			plan.Int(s.Domain), plan.Int(s.Type | unix.SOCK_CLOEXEC), plan.Int(s.Proto), plan.FDs(h.Self, peer)}})
	}
	steps = append(steps, ownership(h.Self, owner{0o777, r.Socket.UID, r.Socket.GID}, bornAs(h, 0o777))...)
	if set := r.Socket.Options.set(plan.FD(h.Self)); len(set) > 0 {
		steps = append(steps, plan.Step{Stage: plan.Connect, Text: "set the socket's options",
			Needs: r.Socket.Options.needs(), Ops: asOps(set)})
	}
	steps = append(steps, r.fill(peer)...)
	return append(steps, r.finish(h)...)
}

// fill has the peer send again what was waiting.
func (r socketpairRecord) fill(peer plan.Ref) []plan.Step {
	if len(r.Queue) == 0 {
		return nil
	}
	s := plan.Step{Stage: plan.Fill, Text: fmt.Sprintf("send the %d messages that were waiting", len(r.Queue))}
	for _, b := range r.Queue {
		if b != 0 {
			s.Ops = append(s.Ops, plan.Move{Blob: uint32(b), Into: peer, Stream: true})
			continue
		}
		s.Ops = append(s.Ops, plan.Call{Nr: unix.SYS_SENDTO, Ret: plan.Exactly(0), Args: []plan.Arg{
			plan.FD(peer), plan.Int(0), plan.Int(0), plan.Int(unix.MSG_DONTWAIT), plan.Int(0), plan.Int(0)}})
	}
	return []plan.Step{s}
}

// finish sets what would have been in the way of filling. The end of a stream
// whose peer is closed comes with that.
func (r socketpairRecord) finish(h *kind.Host) []plan.Step {
	var ops []plan.Op
	if r.Shutdown != 0 && r.Peer != 0 {
		how := r.Shutdown - 1 // RCV_SHUTDOWN 1, SEND_SHUTDOWN 2 -> SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2
		ops = append(ops, plan.Call{Nr: unix.SYS_SHUTDOWN, Args: []plan.Arg{plan.FD(h.Self), plan.Int(how)}, Ret: plan.Exactly(0)})
	}
	if r.Socket.NonBlock {
		ops = append(ops, setFlags(plan.FD(h.Self), unix.O_NONBLOCK))
	}
	return oneStep(plan.Settle, "set the state of the socket", ops...)
}
