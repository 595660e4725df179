package kernelio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// pages starts a process with 16 pages in a row: page 1 holds 'a', 3 to 5 hold
// 'b' and 4 of them is PROT_NONE, page 7 is a guard, 9 was only read, 11 is
// read-only and holds 'c', 13 is unmapped, 15 holds 'd'. A line of input has
// it check that page 11 begins with the line.
func pages(t *testing.T) (*target, uint64) {
	x := startC(t, `
	char *m = mmap(0, 16*4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	madvise(m, 16*4096, MADV_NOHUGEPAGE);
	memset(m+4096, 'a', 4096); memset(m+3*4096, 'b', 3*4096); memset(m+11*4096, 'c', 4096); memset(m+15*4096, 'd', 4096);
	int guard = madvise(m+7*4096, 4096, 102);
	volatile char x = m[9*4096];
	mprotect(m+4*4096, 4096, PROT_NONE); mprotect(m+11*4096, 4096, PROT_READ); munmap(m+13*4096, 4096);
	SAY("%p %d", m, guard);
	char line[64];
	while (fgets(line, 64, stdin)) SAY("%s", memcmp(line, m+11*4096, strlen(line)-1) ? "no" : "yes");`)
	var at uint64
	var guard int
	x.read(t, "0x%x %d", &at, &guard)
	if guard != 0 {
		t.Log("no guard pages on this kernel")
	}
	return x, at
}

func TestMemoryRead(t *testing.T) {
	x, at := pages(t)
	m := own[*Memory](t)(OpenMemory(x.pid))
	b := make([]byte, 4*4096)
	want := slices.Concat(make([]byte, 4096), bytes.Repeat([]byte{'b'}, 3*4096))
	if n, err := m.ReadAt(b, int64(at+2*4096)); err != nil || n != len(b) || !bytes.Equal(b, want) {
		t.Errorf("through a page without protection: %d %v", n, err)
	}
	if n, err := ReadMem(x.pid, at+3*4096, b[:3*4096]); n != 4096 || !errors.Is(err, unix.EFAULT) {
		t.Errorf("as the target: %d %v", n, err)
	}
	if n, err := m.ReadAt(b, int64(at+12*4096)); n != 4096 || err == nil {
		t.Errorf("into a hole: %d %v", n, err)
	}
	if n, err := m.ReadAt(b[:5], int64(at+4*4096-2)); err != nil || n != 5 || string(b[:5]) != "bbbbb" {
		t.Errorf("across a border: %d %q %v", n, b[:5], err)
	}
	x.end()
	if n, err := m.ReadAt(b, int64(at+4096)); n != 0 || err == nil {
		t.Errorf("after its death: %d %v", n, err)
	}
}

func TestMemoryReadHidden(t *testing.T) {
	x := startC(t, `
	int *m = mmap(0, 8 << 20, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 2 << 20; i++) m[i] = i;
	mprotect(m, 5 << 20, PROT_NONE); mprotect((char *)m + (6 << 20), 4096, PROT_NONE);
	SAY("%p", m); pause();`)
	var at uint64
	x.read(t, "0x%x", &at)
	m := own[*Memory](t)(OpenMemory(x.pid))
	b := make([]byte, 8<<20-100)
	if n, err := m.ReadAt(b, int64(at)+100); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
	for i := 0; i < len(b); i += 4 {
		if got := binary.LittleEndian.Uint32(b[i:]); got != uint32(i/4+25) {
			t.Fatalf("word %d is %d", i/4+25, got)
		}
	}
}

func TestMemoryWrite(t *testing.T) {
	x, at := pages(t)
	m := own[*Memory](t)(OpenMemory(x.pid))
	word := []byte("hello")
	if n, err := m.WriteAt(word, int64(at+11*4096)); n != 0 || !errors.Is(err, unix.EFAULT) {
		t.Errorf("read-only page: %d %v", n, err)
	}
	if n, err := m.Poke(word, int64(at+11*4096)); n != len(word) || err != nil {
		t.Errorf("forced: %d %v", n, err)
	}
	fmt.Fprintln(x.in, "hello")
	var answer string
	if x.read(t, "%s", &answer); answer != "yes" {
		t.Error("the target does not see what was written")
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 256)
	if n, err := m.WriteAt(big, int64(at)); n != len(big) || err != nil {
		t.Errorf("%d %v", n, err)
	}
	got := make([]byte, len(big))
	if _, err := m.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, big) {
		t.Errorf("reads back wrong: %v", err)
	}
}

func TestMemoryManyReaders(t *testing.T) {
	x, at := pages(t)
	m := own[*Memory](t)(OpenMemory(x.pid))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b := make([]byte, 3*4096)
			for range 50 {
				if _, err := m.ReadAt(b, int64(at+3*4096)); err != nil || b[5000] != 'b' {
					t.Error(b[5000], err)
				}
			}
		})
	}
	wg.Wait()
}

func TestMemVec(t *testing.T) {
	x, at := pages(t)
	b1, b2 := make([]byte, 100), make([]byte, 50)
	spans := []Span{{at + 4096, 20}, {at + 15*4096, 130}}
	if n, err := ReadMemVec(x.pid, [][]byte{b1, b2}, spans); n != 150 || err != nil || b1[19] != 'a' || b1[20] != 'd' || b2[49] != 'd' {
		t.Errorf("%d %v", n, err)
	}
	if n, err := WriteMemVec(x.pid, [][]byte{[]byte("xy"), []byte("z")}, []Span{{at, 1}, {at + 4096, 2}}); n != 3 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	got := make([]byte, 2)
	if _, err := ReadMem(x.pid, at+4096, got); err != nil || string(got) != "yz" {
		t.Errorf("%q %v", got, err)
	}
}

func TestScan(t *testing.T) {
	x, at := pages(t)
	m := own[*Pagemap](t)(proc(t, x.pid).Pagemap())
	if _, err := m.scanOnce(&abi.PMScanArg{Start: at, End: at + 4096, VecLen: 1}, make([]byte, abi.SizeofPageRegion)); errors.Is(err, unix.ENOTTY) {
		t.Skip("a kernel before 6.7")
	}
	all, err := Scan(x.pid, at, at+16*4096)
	if err != nil {
		t.Fatal(err)
	}
	kind := map[uint64]abi.PageCategories{}
	for _, r := range all {
		for a := r.Start; a < r.End; a += 4096 {
			kind[(a-at)/4096] = r.Categories
		}
	}
	want := map[uint64]abi.PageCategories{1: abi.PageIsPresent, 3: abi.PageIsPresent, 4: abi.PageIsPresent, 5: abi.PageIsPresent,
		7: abi.PageIsSwapped | abi.PageIsGuard, 9: abi.PageIsPresent | abi.PageIsPFNZero, 11: abi.PageIsPresent, 15: abi.PageIsPresent}
	for page := range uint64(16) {
		if kind[page] != want[page] {
			t.Errorf("page %d is %#x, not %#x", page, kind[page], want[page])
		}
	}
	query := Anonymous()
	query.Return = abi.PageIsPresent
	anon, err := m.Scan(at, at+16*4096, query)
	if err != nil || !slices.Equal(anon, regions(at, 1, 2, 3, 6, 11, 12, 15, 16)) {
		t.Errorf("anonymous pages %x %v", anon, err)
	}
}

// TestScanEntries is about kernels before 6.7, where Scan does the same; the
// page of zeros is not told from others.
func TestScanEntries(t *testing.T) {
	x, at := pages(t)
	m := own[*Pagemap](t)(proc(t, x.pid).Pagemap())
	query := Anonymous()
	query.Return = abi.PageIsPresent
	got, err := m.scanEntries(at, at+16*4096, &query)
	if err != nil || !slices.Equal(got, regions(at, 1, 2, 3, 6, 9, 10, 11, 12, 15, 16)) {
		t.Errorf("%x %v", got, err)
	}
}

// regions are present pages, by first and last+1 page number.
func regions(at uint64, pages ...uint64) (out []abi.PageRegion) {
	for i := 0; i < len(pages); i += 2 {
		out = append(out, abi.PageRegion{Start: at + pages[i]*4096, End: at + pages[i+1]*4096, Categories: abi.PageIsPresent})
	}
	return out
}

func TestScanManyRegions(t *testing.T) {
	x := startC(t, `
	long n = 10000; char *m = mmap(0, n*4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	madvise(m, n*4096, MADV_NOHUGEPAGE);
	for (long i = 0; i < n; i += 2) m[i*4096] = 1;
	SAY("%p", m); pause();`)
	var at uint64
	x.read(t, "0x%x", &at)
	got, err := Scan(x.pid, at, at+10000*4096)
	if err != nil || len(got) != 5000 || got[4999].Start != at+9998*4096 {
		t.Errorf("%d regions %v", len(got), err)
	}
}

func TestEntriesShowSharing(t *testing.T) {
	x := startC(t, `
	char *m = mmap(0, 2*4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	madvise(m, 2*4096, MADV_NOHUGEPAGE); m[0] = m[4096] = 1;
	int p = fork(); if (p == 0) { m[4096] = 2; SAY("%d %p", getpid(), m); pause(); }
	wait(0);`)
	var child int
	var at uint64
	x.read(t, "%d 0x%x", &child, &at)
	defer unix.Kill(child, unix.SIGKILL)
	var e [2][]abi.PagemapEntry
	for i, pid := range []int{x.pid, child} {
		m := own[*Pagemap](t)(proc(t, pid).Pagemap())
		var err error
		if e[i], err = m.Entries(at, 2); err != nil {
			t.Fatal(err)
		}
	}
	if e[0][0].PFN() == 0 {
		t.Skip("page frames are hidden from this user")
	}
	if e[0][0].PFN() != e[1][0].PFN() || e[0][0].Exclusive() {
		t.Error("page 0 is not shared")
	}
	if e[0][1].PFN() == e[1][1].PFN() || !e[1][1].Exclusive() {
		t.Error("page 1 is shared")
	}
}

func TestRegionsJoin(t *testing.T) {
	r := func(a, b uint64, c abi.PageCategories) abi.PageRegion {
		return abi.PageRegion{Start: a, End: b, Categories: c}
	}
	got := appendRegions(nil, r(1, 2, 4), r(2, 3, 4), r(3, 4, 5), r(5, 6, 5))
	if want := []abi.PageRegion{r(1, 3, 4), r(3, 4, 5), r(5, 6, 5)}; !slices.Equal(got, want) {
		t.Error(got)
	}
}
