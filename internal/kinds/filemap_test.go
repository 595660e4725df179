package kinds

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
)

func TestFilemap(t *testing.T) {
	const shm = "100000000000-100000010000 rw-s 00001000 00:01 8 /dev/zero (deleted)"
	for name, c := range map[string]struct {
		line, flags string
		want        []string
	}{
		"text": {"400000-401000 r-xp 00001000 fe:01 77 /bin/true", "rd ex mr mw me", []string{
			"create: !file:inode 5:r openat@tool(-100,{inode 5},524544)->inode 5.1 mmap@mapping 7(4194304,4096,5,1048578,{inode 5.1},4096)=4194304"}},
		"relro": {"400000-401000 r--p 00001000 fe:01 77 /bin/true", "rd mr mw me ac", []string{
			"create: !file:inode 5:r openat@tool(-100,{inode 5},524544)->inode 5.1 mmap@mapping 7(4194304,4096,3,1048578,{inode 5.1},4096)=4194304",
			"settle: mprotect@mapping 7(4194304,4096,1)=0"}},
		"shared": {shm, "rd wr sh mr mw me ms nr", []string{
			"create: !file:inode 5:rw openat@tool(-100,{inode 5},524546)->inode 5.2 mmap@mapping 7(17592186044416,65536,3,1064961,{inode 5.2},4096)=17592186044416"}},
		"shared, not written now": {"100000000000-100000010000 r--s 00000000 00:01 8 /tmp/f", "rd sh mr mw me ms", []string{
			"create: !file:inode 5:rw openat@tool(-100,{inode 5},524546)->inode 5.2 mmap@mapping 7(17592186044416,65536,1,1048577,{inode 5.2},0)=17592186044416"}},
		"shared, of a file opened for reading": {"100000000000-100000010000 r--s 00000000 00:01 8 /tmp/f", "rd mr me ms", []string{
			"create: !file:inode 5:r openat@tool(-100,{inode 5},524544)->inode 5.1 mmap@mapping 7(17592186044416,65536,1,1048577,{inode 5.1},0)=17592186044416"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := taken(t, Filemap(), nil, of(vma(t, c.line, c.flags), &kind.InodeSite{ID: 5}))
			wantPlan(t, got, c.want...)
		})
	}
}

func TestFilemapRefuses(t *testing.T) {
	i := &kind.InodeSite{ID: 5}
	for flags, word := range map[string]string{
		"rd wr sh mr mw me ms pf io de dd": "device",
		"rd wr sh mr mw me ms sf":          "MAP_SYNC",
		"rd wr mr mw me gd ac":             "grows down",
		"rd wr mr mw me de ac":             "driver",
	} {
		refused(t, Filemap(), of(vma(t, "400000-401000 rw-p 00001000 fe:01 77 /dev/x", flags), i), word)
	}
}

func TestFilemapCheck(t *testing.T) {
	good := filemapRecord{area: area{span: span{0x10000, 0x20000}, Prot: unix.PROT_READ}, Inode: 1}
	with := func(change func(*filemapRecord)) filemapRecord {
		r := good
		change(&r)
		return r
	}
	checks(t, Filemap(), []filemapRecord{good}, map[string]filemapRecord{
		"no inode":                   with(func(r *filemapRecord) { r.Inode = 0 }),
		"half a page":                with(func(r *filemapRecord) { r.Offset = 512 }),
		"an offset beyond all files": with(func(r *filemapRecord) { r.Offset = 1<<63 - 4096 }),
		"own pages, shared":          with(func(r *filemapRecord) { r.Shared, r.Fill = true, true }),
		"written without a file":     with(func(r *filemapRecord) { r.Write = true }),
		"written without being so":   with(func(r *filemapRecord) { r.Shared, r.Prot = true, unix.PROT_WRITE }),
		"no range":                   with(func(r *filemapRecord) { r.End = 0 }),
	})
}
