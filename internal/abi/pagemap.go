package abi

import "encoding/binary"

// PageCategories is a set of properties of a page, as PAGEMAP_SCAN knows them
// (Documentation/admin-guide/mm/pagemap.rst).
type PageCategories uint64

// Categories of PAGEMAP_SCAN (linux/fs.h).
const (
	PageIsWPAllowed PageCategories = 1 << iota
	PageIsWritten                  // since the last write protection
	PageIsFile                     // of a file or of shared memory
	PageIsPresent
	PageIsSwapped
	PageIsPFNZero // the shared page of zeros
	PageIsHuge
	PageIsSoftDirty
	PageIsGuard // MADV_GUARD_INSTALL, always with PageIsSwapped; Linux 6.15
)

// Flags of PAGEMAP_SCAN.
const (
	PMScanWPMatching   = 1 << 0 // write-protect the pages that are reported
	PMScanCheckWPAsync = 1 << 1 // fail where write protection is not armed
	PagemapScan        = 0xc0606610
	SizeofPMScanArg    = 96
	SizeofPageRegion   = 24
	PMScanArgVecOffset = 40 // where vec, a pointer, is in pm_scan_arg
)

// PMScanArg is struct pm_scan_arg without its vector, whose address belongs at
// PMScanArgVecOffset. A page matches if, after the categories in Inverted are
// turned over, it has all of Mask and one of AnyOf (when that is not 0).
type PMScanArg struct {
	Flags                         uint64
	Start, End                    uint64
	VecLen                        uint64 // in regions
	MaxPages                      uint64 // 0: no limit
	Inverted, Mask, AnyOf, Return PageCategories
}

// Encode gives the 96 bytes of the struct, with walk_end and vec zero.
func (a *PMScanArg) Encode() []byte {
	return words(SizeofPMScanArg, a.Flags, a.Start, a.End, 0, 0, a.VecLen, a.MaxPages,
		uint64(a.Inverted), uint64(a.Mask), uint64(a.AnyOf), uint64(a.Return))
}

// Matches says whether a page of these categories is one that is asked for.
func (a *PMScanArg) Matches(c PageCategories) bool {
	c ^= a.Inverted
	return c&a.Mask == a.Mask && (a.AnyOf == 0 || c&a.AnyOf != 0)
}

// Mentions says whether the query or its answer involve one of c.
func (a *PMScanArg) Mentions(c PageCategories) bool {
	return (a.Inverted|a.Mask|a.AnyOf|a.Return)&c != 0
}

// Forget makes the query one for a kernel that does not know the categories c,
// that is, to which no page has them. It says whether any page can still match.
func (a *PMScanArg) Forget(c PageCategories) bool {
	if a.Mask&^a.Inverted&c != 0 || a.AnyOf != 0 && a.AnyOf&^c == 0 && a.Inverted&a.AnyOf == 0 {
		return false
	}
	if a.Inverted&a.AnyOf&c != 0 { // not having it is enough
		a.AnyOf = 0
	}
	a.Inverted, a.Mask, a.AnyOf, a.Return = a.Inverted&^c, a.Mask&^c, a.AnyOf&^c, a.Return&^c
	return true
}

// PageRegion is struct page_region: adjacent pages with the same Categories,
// of those that were to be returned.
type PageRegion struct {
	Start, End uint64
	Categories PageCategories
}

// DecodePageRegions reads n regions.
func DecodePageRegions(b []byte, n int) []PageRegion {
	out := make([]PageRegion, n)
	for i := range out {
		r := b[i*SizeofPageRegion:]
		out[i] = PageRegion{uint64(word(r, 0)), uint64(word(r, 1)), PageCategories(word(r, 2))}
	}
	return out
}

// PagemapEntry is one of the 64-bit entries of /proc/PID/pagemap.
type PagemapEntry uint64

// DecodePagemap reads whole entries.
func DecodePagemap(b []byte) []PagemapEntry {
	out := make([]PagemapEntry, len(b)/8)
	for i := range out {
		out[i] = PagemapEntry(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return out
}

// PFN is the page frame, 0 when the reader lacks CAP_SYS_ADMIN or when the
// page is not present.
func (e PagemapEntry) PFN() uint64 {
	if e>>63 == 0 {
		return 0
	}
	return uint64(e & (1<<55 - 1))
}

// Exclusive says whether the page is mapped only once (bit 56).
func (e PagemapEntry) Exclusive() bool { return e>>56&1 != 0 }

// Categories translates the bits of an entry. The entry knows neither huge
// pages nor the page of zeros.
func (e PagemapEntry) Categories() (c PageCategories) {
	for _, m := range [...]struct {
		bit uint
		cat PageCategories
	}{
		{63, PageIsPresent}, {62, PageIsSwapped}, {61, PageIsFile}, {58, PageIsGuard}, {55, PageIsSoftDirty},
	} {
		if e>>m.bit&1 != 0 {
			c |= m.cat
		}
	}
	if e>>57&1 == 0 {
		c |= PageIsWritten
	}
	return c
}
