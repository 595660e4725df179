package kinds

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// sigAction is what a signal does (sigaction(2)). The zero action of a signal
// is the default one.
type sigAction struct {
	Signal   uint8  `cbor:"1,keyasint"`
	Handler  uint64 `cbor:"2,keyasint,omitempty"` // 0 SIG_DFL, 1 SIG_IGN
	Flags    uint64 `cbor:"3,keyasint,omitempty"` // SA_*
	Restorer uint64 `cbor:"4,keyasint,omitempty"`
	Mask     uint64 `cbor:"5,keyasint,omitempty"`
}

type sigActionsRecord struct {
	Actions []sigAction `cbor:"1,keyasint,omitempty"` // those that are not zero, by signal
}

// SigActions is responsible for a table of signal actions.
func SigActions() kind.Kind {
	ask := sync.OnceValue(askSigActions)
	return kind.New(kind.Spec[*kind.SigHandSite, sigActionsRecord]{
		Name:   "sigactions",
		At:     plan.SigHand,
		Claims: true,
		Ask:    func(*kind.SigHandSite) []plan.Call { return ask() },
		Dump:   dumpSigActions,
		Check:  sigActionsRecord.check,
		Plan:   sigActionsRecord.plan,
	})
}

// maxSignal is _NSIG.
const maxSignal = 64

// changeable lists the signals whose action can be other than the default.
func changeable() []uint8 {
	var out []uint8
	for n := uint8(1); n <= maxSignal; n++ {
		if n != uint8(unix.SIGKILL) && n != uint8(unix.SIGSTOP) {
			out = append(out, n)
		}
	}
	return out
}

func askSigActions() []plan.Call {
	var out []plan.Call
	for _, n := range changeable() {
		out = append(out, plan.Call{Nr: unix.SYS_RT_SIGACTION, Args: []plan.Arg{
			plan.Int(n), plan.Int(0), plan.Out(abi.SizeofSigaction), plan.Int(abi.SizeofSigSet)}})
	}
	return out
}

func dumpSigActions(_ kind.Dump, s *kind.SigHandSite, asked []plan.Result) (sigActionsRecord, error) {
	var r sigActionsRecord
	var ignored, caught abi.SigSet
	for i, n := range changeable() {
		a, err := decodeSigAction(n, asked[i])
		if err != nil {
			return r, err
		}
		switch a.Handler {
		case abi.SigDfl:
		case abi.SigIgn:
			ignored |= abi.SigSetOf(int(n))
		default:
			caught |= abi.SigSetOf(int(n))
		}
		if a != (sigAction{Signal: n}) {
			r.Actions = append(r.Actions, a)
		}
	}
	if st := s.Task.Status; st.SigIgn != ignored || st.SigCgt != caught {
		return r, fmt.Errorf("it says that it ignores signals %x and catches %x; the kernel says %x and %x",
			ignored, caught, st.SigIgn, st.SigCgt)
	}
	return r, nil
}

func decodeSigAction(n uint8, res plan.Result) (sigAction, error) {
	if err := answer(res, fmt.Sprintf("the action of signal %d", n)); err != nil {
		return sigAction{}, err
	}
	a := abi.DecodeSigaction(res.Out[0])
	return sigAction{n, a.Handler, a.Flags, a.Restorer, uint64(a.Mask)}, nil
}

func (a sigAction) encode() []byte {
	return abi.Sigaction{Handler: a.Handler, Flags: a.Flags, Restorer: a.Restorer, Mask: abi.SigSet(a.Mask)}.Encode()
}

func (r sigActionsRecord) check() error {
	last := uint8(0)
	for _, a := range r.Actions {
		switch {
		case a.Signal <= last || a.Signal > maxSignal:
			return fmt.Errorf("signal %d after %d", a.Signal, last)
		case a.Signal == uint8(unix.SIGKILL) || a.Signal == uint8(unix.SIGSTOP):
			return fmt.Errorf("an action for signal %d, which can have none", a.Signal)
		case a == sigAction{Signal: a.Signal}:
			return fmt.Errorf("an action for signal %d that says nothing", a.Signal)
		}
		last = a.Signal
	}
	return nil
}

// plan sets the recorded actions, and the default for the others that rstr's
// caller had ignored: execve(2) keeps SIG_IGN.
func (r sigActionsRecord) plan(h *kind.Host) []plan.Step {
	set := map[uint8]sigAction{}
	for _, n := range h.Caller.Born.Ignored.Signals() {
		set[uint8(n)] = sigAction{Signal: uint8(n)}
	}
	for _, a := range r.Actions {
		set[a.Signal] = a
	}
	var ops []plan.Op
	for _, n := range changeable() {
		if a, ok := set[n]; ok {
			ops = append(ops, inTask(h, unix.SYS_RT_SIGACTION,
				plan.Int(n), plan.Buf(a.encode()), plan.Int(0), plan.Int(abi.SizeofSigSet)))
		}
	}
	return oneStep(plan.Arm, fmt.Sprintf("set %d signal actions", len(ops)), ops...)
}
