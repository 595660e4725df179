package kinds

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type memPolicyRecord struct {
	Mode  uint32   `cbor:"1,keyasint,omitempty"` // MPOL_* and its flags; 0: the default
	Nodes []uint16 `cbor:"2,keyasint,omitempty"` // ascending
}

// maxNodes is MAX_NUMNODES on x86-64.
const maxNodes = 1024

// MemPolicy keeps where a thread's new pages come from (set_mempolicy(2)).
func MemPolicy() kind.Kind {
	return kind.New(kind.Spec[*kind.ThreadSite, memPolicyRecord]{
		Name: "mempolicy",
		At:   plan.Thread,
		Ask: asks[*kind.ThreadSite](plan.Call{Nr: unix.SYS_GET_MEMPOLICY, Args: []plan.Arg{
			plan.Out(4), plan.Out(maxNodes / 8), plan.Int(maxNodes), plan.Int(0), plan.Int(0)}}),
		Dump:  dumpMemPolicy,
		Check: memPolicyRecord.check,
		Plan:  memPolicyRecord.plan,
	})
}

func dumpMemPolicy(_ kind.Dump, _ *kind.ThreadSite, asked []plan.Result) (memPolicyRecord, error) {
	if asked[0].Ret == -int64(unix.ENOSYS) { // a kernel without NUMA
		return memPolicyRecord{}, nil
	}
	if err := answer(asked[0], "the memory policy"); err != nil {
		return memPolicyRecord{}, err
	}
	r := memPolicyRecord{Mode: binary.LittleEndian.Uint32(asked[0].Out[0])}
	if r.Mode == 0 {
		return r, nil
	}
	for n := range uint16(maxNodes) {
		if asked[0].Out[1][n/8]>>(n%8)&1 != 0 {
			r.Nodes = append(r.Nodes, n)
		}
	}
	return r, nil
}

func (r memPolicyRecord) check() error {
	last := -1
	for _, n := range r.Nodes {
		if int(n) <= last || n >= maxNodes {
			return errors.New("the nodes are not ascending")
		}
		last = int(n)
	}
	if r.Mode == 0 && len(r.Nodes) > 0 {
		return errors.New("nodes without a policy")
	}
	return nil
}

// plan passes one more than the highest number, since the kernel takes one
// off (get_nodes in mm/mempolicy.c).
func (r memPolicyRecord) plan(h *kind.Host) []plan.Step {
	if r.Mode == 0 {
		return nil
	}
	mask := bytes.Repeat([]byte{0}, maxNodes/8)
	for _, n := range r.Nodes {
		mask[n/8] |= 1 << (n % 8)
	}
	return oneStep(plan.Arm, "set the memory policy",
		inTask(h, unix.SYS_SET_MEMPOLICY, plan.Int(r.Mode), plan.Buf(mask), plan.Int(maxNodes+1)))
}
