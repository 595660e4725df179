package kinds

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type hugetlbRecord struct {
	area
	PageShift uint8 `cbor:"6,keyasint"` // log2 of the page size
}

// Hugetlb claims private anonymous memory of huge pages (MAP_HUGETLB). Its
// pages are the engine's like all private ones.
func Hugetlb() kind.Kind {
	return kind.New(kind.Spec[*kind.MappingSite, hugetlbRecord]{
		Name:   "hugetlb",
		At:     plan.Mapping,
		Claims: true,
		Match:  maps(mapHuge),
		Dump:   dumpHugetlb,
		Check:  hugetlbRecord.check,
		Plan:   hugetlbRecord.plan,
	})
}

func dumpHugetlb(_ kind.Dump, m *kind.MappingSite, _ []plan.Result) (hugetlbRecord, error) {
	r := hugetlbRecord{area: areaOf(&m.VMA), PageShift: uint8(bits.TrailingZeros64(m.VMA.KernelPageSize))}
	switch {
	case m.VMA.Shared:
		return r, kind.Unsupportedf("shared memory of huge pages")
	case m.Inode == nil || inodeClassOf(m.Inode) != inodeHugeVM:
		return r, kind.Unsupportedf("huge pages of a file")
	}
	// smaps counts huge pages apart from Anonymous.
	r.Fill = r.Fill || r.Prot&unix.PROT_WRITE == 0 && m.VMA.PrivateHugetlb+m.VMA.SharedHugetlb > 0
	return r, refuseFlags(&m.VMA, flagsOfHuge)
}

func (r hugetlbRecord) check() error {
	if r.PageShift < 16 || r.PageShift > 34 || r.Start%(1<<r.PageShift) != 0 || r.End%(1<<r.PageShift) != 0 {
		return errors.New("no range of huge pages")
	}
	return r.area.check()
}

func (r hugetlbRecord) plan(h *kind.Host) []plan.Step {
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | int(r.PageShift)<<unix.MAP_HUGE_SHIFT
	needs := []plan.Need{{Demand: "limit:hugetlb", Why: fmt.Sprintf("takes huge pages for %d bytes", r.len()), Amount: r.len()}}
	return r.steps(h, "huge pages", needs, r.mmap(h, flags, plan.Int(-1), 0))
}

// HugeInode claims what the kernel puts behind anonymous memory of huge
// pages. Behind a private mapping it holds nothing.
func HugeInode() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, noRecord]{
		Name:   "hugeinode",
		At:     plan.Inode,
		Claims: true,
		Match:  inodes(inodeHugeVM),
		Dump:   func(kind.Dump, *kind.InodeSite, []plan.Result) (noRecord, error) { return noRecord{}, nil },
		Plan:   func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}
