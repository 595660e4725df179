package kinds

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// answered are the results of askSigActions for a process with these actions.
func answered(actions ...sigAction) []plan.Result {
	var out []plan.Result
	for _, n := range changeable() {
		a := sigAction{Signal: n}
		for _, have := range actions {
			if have.Signal == n {
				a = have
			}
		}
		out = append(out, plan.Result{Out: [][]byte{a.encode()}})
	}
	return out
}

func TestSigActions(t *testing.T) {
	site := &kind.SigHandSite{ID: 7, Task: sampleTask()}
	site.Task.Status.SigIgn = abi.SigSetOf(int(unix.SIGPIPE))
	site.Task.Status.SigCgt = abi.SigSetOf(int(unix.SIGINT), 64)
	asked := answered(sigAction{Signal: 2, Handler: 0x401000, Flags: 0x4000000, Restorer: 0x402000, Mask: 2},
		sigAction{Signal: 13, Handler: 1}, sigAction{Signal: 17, Flags: 2}, sigAction{Signal: 64, Handler: 0x403000})

	record, _ := through(t, SigActions(), site, asked...)
	if n := len(record.(*sigActionsRecord).Actions); n != 4 {
		t.Fatalf("%d actions", n)
	}
	h := stateHost(plan.SigHand)
	h.Caller.Born.Ignored = abi.SigSetOf(1, 2) // as nohup(1) leaves it
	steps := SigActions().Plan(record, h)
	golden(t, steps, `arm: rt_sigaction@sighand 7(1,`+strings.Repeat("00", 32)+`,0,8)`+
		` rt_sigaction@sighand 7(2,0010400000000000000000040000000000204000000000000200000000000000,0,8)`+
		` rt_sigaction@sighand 7(13,01`+strings.Repeat("00", 31)+`,0,8)`+
		` rt_sigaction@sighand 7(17,`+strings.Repeat("00", 8)+`02`+strings.Repeat("00", 23)+`,0,8)`+
		` rt_sigaction@sighand 7(64,0030400000000000`+strings.Repeat("00", 24)+`,0,8)`)
}

func TestSigActionsDisbelieved(t *testing.T) {
	site := &kind.SigHandSite{ID: 7, Task: sampleTask()}
	site.Task.Status.SigCgt = abi.SigSetOf(15)
	_, err := SigActions().Dump(nil, site, answered())
	if err == nil || !strings.Contains(err.Error(), "the kernel says") {
		t.Errorf("actions that status contradicts: %v", err)
	}
}

func TestSigActionsCheck(t *testing.T) {
	act := func(n ...uint8) (r sigActionsRecord) {
		for _, n := range n {
			r.Actions = append(r.Actions, sigAction{Signal: n, Handler: 1})
		}
		return r
	}
	checks(t, SigActions(),
		[]sigActionsRecord{{}, act(1), act(2, 3, 64)},
		map[string]sigActionsRecord{
			"SIGKILL": act(9), "SIGSTOP": act(19), "signal 0": act(0), "signal 65": act(65),
			"twice": act(2, 2), "disorder": act(3, 2), "a default": {Actions: []sigAction{{Signal: 5}}},
		})
}
