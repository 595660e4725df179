package kinds

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// cpuRange is the CPUs from First to Last.
type cpuRange struct {
	First uint32 `cbor:"1,keyasint"`
	Last  uint32 `cbor:"2,keyasint"`
}

type affinityRecord struct {
	CPUs []cpuRange `cbor:"1,keyasint,omitempty"` // ascending; empty: any
}

// maxCPU bounds the masks of a hostile image; NR_CPUS is at most 8192 on x86.
const maxCPU = 1<<16 - 1

// Affinity keeps the CPUs that a thread may run on (sched_setaffinity(2)). A
// thread that may run on every CPU of its machine may do so on any other.
func Affinity() kind.Kind {
	var machine onlineCPUs
	return kind.New(kind.Spec[*kind.ThreadSite, affinityRecord]{
		Name: "affinity",
		At:   plan.Thread,
		Dump: func(_ kind.Dump, t *kind.ThreadSite, _ []plan.Result) (affinityRecord, error) {
			return dumpAffinity(t, &machine)
		},
		Check: affinityRecord.check,
		Plan:  affinityRecord.plan,
	})
}

// onlineCPUs is the mask of the machine's CPUs, the same for all threads and
// read for the first of them.
type onlineCPUs struct {
	mu   sync.Mutex
	mask []byte
}

func (o *onlineCPUs) read(do kind.Doer) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mask != nil {
		return o.mask, nil
	}
	text, err := readFile(do, "/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	cpus, err := parseCPUs(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, err
	}
	o.mask = maskOf(cpus)
	return o.mask, nil
}

func dumpAffinity(t *kind.ThreadSite, machine *onlineCPUs) (affinityRecord, error) {
	mine, err := parseCPUs(t.Status.CpusAllowedList)
	if err != nil {
		return affinityRecord{}, err
	}
	online, err := machine.read(t.Do)
	if err != nil {
		return affinityRecord{}, err
	}
	if subset(online, maskOf(mine)) {
		return affinityRecord{}, nil
	}
	return affinityRecord{mine}, nil
}

// parseCPUs reads a list such as "0-3,8" (cpuset(7), List format).
func parseCPUs(list string) ([]cpuRange, error) {
	var out []cpuRange
	for part := range strings.SplitSeq(list, ",") {
		first, last, found := strings.Cut(part, "-")
		if !found {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || a > b {
			return nil, fmt.Errorf("not a list of CPUs: %q", list)
		}
		out = append(out, cpuRange{uint32(a), uint32(b)})
	}
	return out, nil
}

// maskOf sets bit n of byte n/8 for each CPU n, in whole words as the kernel
// wants them.
func maskOf(ranges []cpuRange) []byte {
	if len(ranges) == 0 {
		return nil
	}
	mask := make([]byte, (ranges[len(ranges)-1].Last/64+1)*8)
	for _, r := range ranges {
		for n := r.First; n <= r.Last; n++ {
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask
}

// subset says whether every CPU of a is in b.
func subset(a, b []byte) bool {
	for i, bits := range a {
		if i >= len(b) && bits != 0 || i < len(b) && bits&^b[i] != 0 {
			return false
		}
	}
	return true
}

func (r affinityRecord) check() error {
	next := uint32(0)
	for i, c := range r.CPUs {
		if c.First > c.Last || c.Last > maxCPU || i > 0 && c.First < next {
			return errors.New("the CPUs are not ascending ranges")
		}
		next = c.Last + 1
	}
	return nil
}

func (r affinityRecord) String() string {
	var parts []string
	for _, c := range r.CPUs {
		if c.First == c.Last {
			parts = append(parts, fmt.Sprint(c.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", c.First, c.Last))
		}
	}
	return strings.Join(parts, ",")
}

// plan insists on all of the CPUs: the kernel would take those it has and be
// silent about the others.
func (r affinityRecord) plan(h *kind.Host) []plan.Step {
	if len(r.CPUs) == 0 {
		return nil
	}
	mask := maskOf(r.CPUs)
	text := fmt.Sprintf("run on CPUs %v only", r)
	if !subset(mask, h.Caller.Born.CPUs) {
		return []plan.Step{{Stage: plan.Arm, Text: text, Needs: []plan.Need{{Demand: fmt.Sprintf("cpus:%v", r),
			Why: "it is bound to these CPUs, and rstr may not run on all of them"}}}}
	}
	return oneStep(plan.Arm, text, inTask(h, unix.SYS_SCHED_SETAFFINITY, plan.Int(0), plan.Int(len(mask)), plan.Buf(mask)))
}
