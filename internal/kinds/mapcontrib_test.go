package kinds

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
)

const plainLine = "100000000000-100000010000 rw-p 00000000 00:00 0 "

func TestNothingContributesToPlainMemory(t *testing.T) {
	m := vma(t, plainLine, "rd wr mr mw me ac sd")
	for _, k := range []kind.Kind{Madvise(), Mlock(), Guard(), VMAName(), Mseal()} {
		if k.Match(m) {
			t.Errorf("%s contributes", k.Name())
		}
	}
}

func TestMadvise(t *testing.T) {
	_, got := taken(t, Madvise(), nil, vma(t, plainLine, "rd wr mr mw me dc ac wf dd hg"))
	wantPlan(t, got,
		"settle: madvise@mapping 7(17592186044416,65536,10)=0",
		"connect: madvise@mapping 7(17592186044416,65536,14)=0",
		"connect: madvise@mapping 7(17592186044416,65536,16)=0",
		"settle: madvise@mapping 7(17592186044416,65536,18)=0")
	if Madvise().Match(vma(t, plainLine, "rd wr mr mw me nr wf dd dp")) {
		t.Error("droppable memory has these flags by nature")
	}
	s := span{0x10000, 0x20000}
	checks(t, Madvise(), []madviseRecord{{s, []uint8{1, 2, 10, 12, 14, 15, 16, 18}}}, map[string]madviseRecord{
		"none":     {s, nil},
		"dontneed": {s, []uint8{unix.MADV_DONTNEED}},
		"twice":    {s, []uint8{1, 1}},
		"unsorted": {s, []uint8{2, 1}},
		"no range": {span{}, []uint8{1}},
	})
}

func TestMlock(t *testing.T) {
	_, got := taken(t, Mlock(), nil, vma(t, plainLine, "rd wr mr mw me lo ac"))
	wantPlan(t, got, "settle: !limit:memlock mlock2@mapping 7(17592186044416,65536,0)=0")
	_, got = taken(t, Mlock(), nil, vma(t, plainLine, "rd wr mr mw me lo lf ac"))
	wantPlan(t, got, "settle: !limit:memlock mlock2@mapping 7(17592186044416,65536,1)=0")
	checks(t, Mlock(), nil, map[string]mlockRecord{"both": {span{0x10000, 0x20000}, true, true}, "no range": {}})
}

func TestVMAName(t *testing.T) {
	_, got := taken(t, VMAName(), nil, vma(t, plainLine+"[anon: Go: heap]", "rd wr mr mw me ac"))
	wantPlan(t, got, "connect: prctl@mapping 7(1398164801,0,17592186044416,65536,20476f3a206865617000)")
	shared := of(vma(t, "100000000000-100000010000 rw-s 00000000 00:01 8 [anon_shmem:x]", "rd wr sh mr mw me ms"), &kind.InodeSite{ID: 5})
	_, got = taken(t, VMAName(), nil, shared)
	wantPlan(t, got, "connect: prctl@mapping 7(1398164801,0,17592186044416,65536,7800)")
	s := span{0x10000, 0x20000}
	checks(t, VMAName(), []vmanameRecord{{s, "a b"}}, map[string]vmanameRecord{
		"none": {s, ""}, "bracket": {s, "a]"}, "backslash": {s, `a\`}, "newline": {s, "a\n"}, "no range": {span{}, "a"},
		"long": {s, string(make([]byte, 80))},
	})
}

func TestMseal(t *testing.T) {
	_, got := taken(t, Mseal(), nil, vma(t, plainLine, "rd wr mr mw me ac sl"))
	wantPlan(t, got, "seal: "+abi.SyscallName(unix.SYS_MSEAL)+"@mapping 7(17592186044416,65536,0)=0")
}

func TestGuardCheck(t *testing.T) {
	checks(t, Guard(), []guardRecord{{[]span{{0x10000, 0x11000}, {0x11000, 0x12000}}}}, map[string]guardRecord{
		"none": {}, "overlap": {[]span{{0x10000, 0x12000}, {0x11000, 0x13000}}}, "half": {[]span{{0x10000, 0x10800}}},
	})
}

func TestHugetlb(t *testing.T) {
	i := &kind.InodeSite{ID: 5, Path: "/anon_hugepage", Deleted: true, Stat: kind.Stat{Mode: unix.S_IFREG, FSType: unix.HUGETLBFS_MAGIC, Size: 4 << 20}}
	const line = "100000000000-100000400000 rw-p 00000000 00:10 8 /anon_hugepage (deleted)"
	_, got := taken(t, Filemap(), nil, of(vma(t, line, "rd wr mr mw me de ht", "KernelPageSize:     2048 kB"), i))
	wantPlan(t, got, "create: !file:inode 5:r !limit:hugetlb openat@tool(-100,{inode 5},524544)->inode 5.1 "+
		"mmap@mapping 7(17592186044416,4194304,3,1048578,{inode 5.1},0)=17592186044416")
	_, got = taken(t, HugeInode(), nil, i)
	wantPlan(t, got, "create: !map-files mmap@tool(17712445128704,4194304,3,1410613281,-1,0)=17712445128704 "+
		"openat@tool(-100,2f70726f632f73656c662f6d61705f66696c65732f3130316330303030303030302d31303163303034303030303000,524290)->inode 7 munmap@tool(17712445128704,4194304)=0")
	checks(t, HugeInode(), nil, map[string]hugeInodeRecord{
		"small pages": {Size: 1 << 20, PageShift: 12}, "half a page": {Size: 1 << 20, PageShift: 21}, "nothing": {PageShift: 21},
	})
}
