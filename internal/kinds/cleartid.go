package kinds

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type clearTIDRecord struct {
	Addr uint64 `cbor:"1,keyasint,omitempty"` // 0: nothing is cleared
}

// ClearTID keeps the address of the word that the kernel clears and wakes
// when the thread ends (set_tid_address(2)), by which pthread_join waits.
func ClearTID() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, clearTIDRecord]{
		Name: "cleartid",
		At:   plan.Thread,
		Ask:  asks[*kind.ThreadSite](prctlAsk(unix.PR_GET_TID_ADDRESS, plan.Out(8))),
		Dump: func(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (clearTIDRecord, error) {
			if err := answer(asked[0], "the clear-child-tid address"); err != nil {
				return clearTIDRecord{}, err
			}
			return clearTIDRecord{binary.LittleEndian.Uint64(asked[0].Out[0])}, nil
		},
		// Set even if 0: the engine may have made the thread with another.
		Plan: func(r clearTIDRecord, h *kind.Host) []plan.Step {
			return oneStep(plan.Arm, "set the clear-child-tid address",
				inTask(h, unix.SYS_SET_TID_ADDRESS, plan.Int(r.Addr)))
		},
	})
}

// TIDAt implements kind.KeepsTID: the GNU C library has the kernel clear the
// word in which it keeps the thread's number.
func (r *clearTIDRecord) TIDAt() uint64 { return r.Addr }
