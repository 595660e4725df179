package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type mmRecord struct {
	Exe       kind.InodeRef `cbor:"1,keyasint"`
	Code      span          `cbor:"2,keyasint"`
	Data      span          `cbor:"3,keyasint"`
	Brk       span          `cbor:"4,keyasint"` // from start_brk to the break
	Stack     uint64        `cbor:"5,keyasint"`
	Arguments span          `cbor:"6,keyasint"`
	Environ   span          `cbor:"7,keyasint"`
	// Auxv holds the types and values of the auxiliary vector (getauxval(3))
	// in turn, without AT_NULL. The values of AT_UID to AT_EGID are 0 and stand
	// below, so that they are mapped like all others.
	Auxv []uint64    `cbor:"8,keyasint,omitempty"`
	UID  credmap.UID `cbor:"9,keyasint,omitempty"`
	EUID credmap.UID `cbor:"10,keyasint,omitempty"`
	GID  credmap.GID `cbor:"11,keyasint,omitempty"`
	EGID credmap.GID `cbor:"12,keyasint,omitempty"`
}

// Types of entries of the auxiliary vector (linux/auxvec.h).
const (
	atNull = 0
	atUID  = 11
	atEUID = 12
	atGID  = 13
	atEGID = 14
	// auxvWords is the most that an mm keeps: AT_VECTOR_SIZE of amd64 in
	// Linux 6.18, without AT_NULL.
	auxvWords = 2 * 26
)

// MM is responsible for what the kernel remembers of an address space beside
// its mappings: where code, data, break, stack, arguments and environment
// are, the auxiliary vector and the executable file.
func MM() kind.Kind {
	return kind.New(kind.Spec[*kind.MMSite, mmRecord]{
		Name:   "mm",
		At:     plan.MM,
		Claims: true,
		Ask:    askMM,
		Dump:   dumpMM,
		Check:  mmRecord.check,
		Plan:   mmRecord.plan,
	})
}

// askMM asks for the break, which nothing else shows.
func askMM(*kind.MMSite) []plan.Call {
	return []plan.Call{{Nr: unix.SYS_BRK, Args: []plan.Arg{plan.Int(0)}}}
}

func dumpMM(_ kind.Dump, mm *kind.MMSite, asked []plan.Result) (mmRecord, error) {
	if untag := mm.Task.Status.UntagMask; untag != 0 && untag != ^uint64(0) {
		return mmRecord{}, kind.Unsupportedf("its addresses carry tags (linear address masking, mask %#x)", untag)
	}
	s := mm.Task.Stat
	r := mmRecord{
		Exe:       mm.Exe.Ref(),
		Code:      span{s.StartCode, s.EndCode},
		Data:      span{s.StartData, s.EndData},
		Brk:       span{s.StartBrk, uint64(asked[0].Ret)},
		Stack:     s.StartStk,
		Arguments: span{s.ArgStart, s.ArgEnd},
		Environ:   span{s.EnvStart, s.EnvEnd},
	}
	auxv, err := mm.Task.Proc.Read("auxv")
	if err != nil {
		return r, err
	}
	return r, r.setAuxv(auxv)
}

// setAuxv reads /proc/PID/auxv: pairs of words, the last one AT_NULL.
func (r *mmRecord) setAuxv(b []byte) error {
	for ; len(b) >= 16; b = b[16:] {
		typ, val := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		switch typ {
		case atNull:
			return nil
		case atUID:
			r.UID, val = credmap.UID(val), 0
		case atEUID:
			r.EUID, val = credmap.UID(val), 0
		case atGID:
			r.GID, val = credmap.GID(val), 0
		case atEGID:
			r.EGID, val = credmap.GID(val), 0
		}
		r.Auxv = append(r.Auxv, typ, val)
	}
	return errors.New("the auxiliary vector has no end")
}

// auxv is the vector as prctl(2) takes it.
func (r mmRecord) auxv() []byte {
	ids := map[uint64]uint64{atUID: uint64(r.UID), atEUID: uint64(r.EUID), atGID: uint64(r.GID), atEGID: uint64(r.EGID)}
	b := make([]byte, 0, 8*len(r.Auxv)+16)
	for i := 0; i+1 < len(r.Auxv); i += 2 {
		b = binary.LittleEndian.AppendUint64(b, r.Auxv[i])
		b = binary.LittleEndian.AppendUint64(b, r.Auxv[i+1]|ids[r.Auxv[i]])
	}
	return append(b, make([]byte, 16)...)
}

// check demands the order that the kernel demands (validate_prctl_map_addr in
// kernel/sys.c).
func (r mmRecord) check() error {
	if r.Exe == 0 {
		return errors.New("no executable file")
	}
	for _, s := range []span{r.Code, r.Data, r.Brk, r.Arguments, r.Environ, {r.Stack, r.Stack}} {
		if s.Start > s.End || s.End > highest {
			return fmt.Errorf("a layout with %v", s)
		}
	}
	return r.checkAuxv()
}

func (r mmRecord) checkAuxv() error {
	if len(r.Auxv)%2 != 0 || len(r.Auxv) > auxvWords {
		return fmt.Errorf("an auxiliary vector of %d words", len(r.Auxv))
	}
	for i := 0; i < len(r.Auxv); i += 2 {
		typ, val := r.Auxv[i], r.Auxv[i+1]
		if typ == atNull || typ >= atUID && typ <= atEGID && val != 0 {
			return fmt.Errorf("entry %d of type %d in the auxiliary vector", i/2, typ)
		}
	}
	return nil
}

// The parts of struct prctl_mm_map (linux/prctl.h).
const (
	mmMapAuxv      = 88 // pointer
	mmMapAuxvBytes = 96
	mmMapExe       = 100 // descriptor
	mmMapBytes     = 104
)

// Executable implements kind.Executes.
func (r *mmRecord) Executable() kind.InodeRef { return r.Exe }

// plan sets everything by one call. If that includes the executable file it
// comes as soon as nothing of the old one is mapped (EBUSY otherwise): it takes
// the capability that PIDs take, which is given up before anything else is
// built. It needs the file open and not O_PATH.
func (r mmRecord) plan(h *kind.Host) []plan.Step {
	if h.Executed {
		return oneStep(plan.Settle, "set the layout of memory", r.set(h, plan.Int(int32(-1))))
	}
	exe := r.Exe.Slot(kind.SlotRead)
	return []plan.Step{
		{Stage: plan.Create, Text: "open the executable file", Needs: openNeeds(r.Exe, unix.O_RDONLY), Ops: []plan.Op{reopen(r.Exe, unix.O_RDONLY, exe)}},
		{Stage: plan.Create, Text: "set the layout of memory and the executable file",
			Needs: []plan.Need{{Demand: "exe-link", Why: "/proc/PID/exe is to lead to the program"}},
			Ops:   []plan.Op{r.set(h, plan.FD(exe))}},
	}
}

func (r mmRecord) set(h *kind.Host, exe plan.Arg) plan.Call {
	auxv := r.auxv()
	return prctlIn(h, unix.PR_SET_MM, plan.Int(unix.PR_SET_MM_MAP),
		plan.Buf(r.layout(len(auxv)),
			plan.Reloc{Off: mmMapAuxv, Size: 8, Arg: plan.Buf(auxv)},
			plan.Reloc{Off: mmMapExe, Size: 4, Arg: exe}),
		plan.Int(mmMapBytes))
}

func (r mmRecord) layout(auxvBytes int) []byte {
	b := make([]byte, 0, mmMapBytes)
	for _, w := range []uint64{r.Code.Start, r.Code.End, r.Data.Start, r.Data.End, r.Brk.Start, r.Brk.End, r.Stack,
		r.Arguments.Start, r.Arguments.End, r.Environ.Start, r.Environ.End, 0} {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(auxvBytes))
	return binary.LittleEndian.AppendUint32(b, 0)
}
