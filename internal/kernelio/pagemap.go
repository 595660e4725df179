package kernelio

import (
	"errors"
	"fmt"
	"io"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// Pagemap answers which pages of a process there are. It is for one
// goroutine at a time.
type Pagemap struct {
	fd  *FD
	vec []byte // what one call returns, kept for the next

	oneByOne bool
}

// Pagemap opens the process's pagemap.
func (p *ProcDir) Pagemap() (*Pagemap, error) {
	fd, err := p.Open("pagemap", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &Pagemap{fd: fd}, nil
}

// Close closes the pagemap.
func (m *Pagemap) Close() error { return m.fd.Close() }

// Anonymous asks for the pages whose contents exist nowhere but in the
// process: of no file, not the page of zeros, in memory or in swap. Guard
// pages, which the kernel counts among the swapped ones, have no contents.
func Anonymous() abi.PMScanArg {
	const not = abi.PageIsFile | abi.PageIsPFNZero | abi.PageIsGuard
	return abi.PMScanArg{
		Inverted: not,
		Mask:     not,
		AnyOf:    abi.PageIsPresent | abi.PageIsSwapped,
	}
}

// Scan lists the pages of [start, end) of process pid that are in memory, in
// swap or guarded, with all their categories. For many ranges of one process,
// keep a Pagemap.
func Scan(pid int, start, end uint64) ([]abi.PageRegion, error) {
	return inProc(pid, func(p *ProcDir) ([]abi.PageRegion, error) {
		m, err := p.Pagemap()
		if err != nil {
			return nil, err
		}
		defer m.Close()
		return m.Scan(start, end, Everything())
	})
}

// Everything asks for all pages that are in memory, in swap or guarded.
func Everything() abi.PMScanArg {
	shown := abi.PageIsPresent | abi.PageIsSwapped | abi.PageIsGuard
	return abi.PMScanArg{AnyOf: shown, Return: shown | abi.PageIsFile | abi.PageIsPFNZero | abi.PageIsHuge}
}

// scanVec is how many regions one call returns at most.
const scanVec = 512

// Scan lists the pages of [start, end) that the query asks for, joined to
// regions of equal categories among query.Return. The query's own Start, End
// and VecLen are ignored. Before Linux 6.7, which has no PAGEMAP_SCAN, the
// entries are read one by one: pages of zeros are then reported as ordinary
// ones, and write protection (query.Flags) gives ENOTTY. Before Linux 6.15
// nothing tells guard pages.
func (m *Pagemap) Scan(start, end uint64, query abi.PMScanArg) (out []abi.PageRegion, err error) {
	if m.vec == nil {
		m.vec = make([]byte, scanVec*abi.SizeofPageRegion)
	}
	query.VecLen = scanVec
	for start < end {
		query.Start, query.End = start, end
		some, err := m.scanOnce(&query, m.vec)
		switch {
		case errors.Is(err, unix.ENOTTY) && query.Flags == 0:
			m.oneByOne = true
			return m.scanEntries(start, end, &query)
		case errors.Is(err, unix.EINVAL) && query.Mentions(abi.PageIsGuard):
			if !query.Forget(abi.PageIsGuard) {
				return nil, nil
			}
			continue
		case err != nil:
			return nil, failed(err, "PAGEMAP_SCAN", fmt.Sprintf("%s %#x-%#x", m.fd.name, start, end))
		}
		out = appendRegions(out, some...)
		if len(some) < scanVec {
			break
		}
		// Not walk_end: the kernel fills its answer in pieces and leaves
		// there where the last full piece ended, even when it went on.
		start = some[len(some)-1].End
	}
	return out, nil
}

// OneByOne says whether a Scan found that the kernel has no PAGEMAP_SCAN, so that
// it reads an entry for every page of its range, holes included: not for ranges
// that are more than a mapping.
func (m *Pagemap) OneByOne() bool { return m.oneByOne }

// scanOnce makes one call, which ends early when the vector is full.
func (m *Pagemap) scanOnce(query *abi.PMScanArg, vec []byte) ([]abi.PageRegion, error) {
	n, err := againFor(func() (int64, error) {
		return Syscall(unix.SYS_IOCTL, Int(m.fd.Int()), Int(abi.PagemapScan),
			Buf(query.Encode(), Reloc{abi.PMScanArgVecOffset, 8, Buf(vec)}))
	})
	if err != nil {
		return nil, err
	}
	return abi.DecodePageRegions(vec, int(n)), nil
}

// scanEntries is Scan without PAGEMAP_SCAN.
func (m *Pagemap) scanEntries(start, end uint64, query *abi.PMScanArg) (out []abi.PageRegion, err error) {
	for start < end {
		entries, err := m.Entries(start, int(min((end-start)/4096, 1<<16)))
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			if c := e.Categories(); query.Matches(c) {
				at := start + uint64(i)*4096
				out = appendRegions(out, abi.PageRegion{Start: at, End: at + 4096, Categories: c & query.Return})
			}
		}
		start += uint64(len(entries)) * 4096
	}
	return out, nil
}

// appendRegions joins regions that touch.
func appendRegions(out []abi.PageRegion, more ...abi.PageRegion) []abi.PageRegion {
	for _, r := range more {
		if n := len(out); n > 0 && out[n-1].End == r.Start && out[n-1].Categories == r.Categories {
			out[n-1].End = r.End
			continue
		}
		out = append(out, r)
	}
	return out
}

// Entries reads the pagemap entries of n pages from address start. Page
// frames are 0 for a reader without CAP_SYS_ADMIN.
func (m *Pagemap) Entries(start uint64, n int) ([]abi.PagemapEntry, error) {
	buf := make([]byte, 8*n)
	for have := 0; have < len(buf); {
		k, err := againFor(func() (int, error) {
			return unix.Pread(m.fd.Int(), buf[have:], int64(start/4096*8)+int64(have))
		})
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, failed(err, "pread", fmt.Sprintf("%s at page %#x", m.fd.name, start))
		}
		have += k
	}
	return abi.DecodePagemap(buf), nil
}
