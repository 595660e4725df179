package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// shared memory by fork: what /proc shows of it from outside.

const pageSize = 4096

// frames are the page frames of a process from an address on, 0 for a page that is not in memory (pagemap, as root).
func frames(t *testing.T, pid int, at int64, pages int) []uint64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 8*pages)
	if _, err := f.ReadAt(b, at/pageSize*8); err != nil {
		t.Fatal(err)
	}
	out := make([]uint64, pages)
	for i := range out {
		if e := binary.LittleEndian.Uint64(b[8*i:]); e>>63 == 1 {
			out[i] = e & (1<<55 - 1)
		}
	}
	return out
}

// sharing draws who has the same page as whom: for each page a letter for each process, the same for the same frame.
func sharing(t *testing.T, pids []int, at int64, pages int) string {
	t.Helper()
	all := make([][]uint64, len(pids))
	for i, pid := range pids {
		all[i] = frames(t, pid, at, pages)
	}
	var out strings.Builder
	for p := range pages {
		for i := range pids {
			j := 0
			for all[j][p] != all[i][p] {
				j++
			}
			out.WriteByte(byte('a' + j))
		}
		out.WriteByte(' ')
	}
	return out.String()
}

// memory sums up over a tree the anonymous memory that its processes see, and their shares in it (Pss): what it takes. It gives the least and
// the most of some moments: in some there are strings that are soon forgotten, and children that soon end.
func memory(t *testing.T, root int) (seen, least, most int) {
	t.Helper()
	for n := range 20 {
		s, taken := memoryNow(t, root)
		if n == 0 || taken < least {
			seen, least = s, taken
		}
		most = max(most, taken)
		time.Sleep(7 * time.Millisecond)
	}
	return seen, least, most
}

func memoryNow(t *testing.T, root int) (seen, taken int) {
	t.Helper()
	for _, pid := range harness.Tree(root) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // it has ended meanwhile
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			n, _ := strconv.Atoi(f[1])
			switch f[0] {
			case "Anonymous:":
				seen += n
			case "Pss_Anon:":
				taken += n
			}
		}
	}
	return seen, taken
}

// stand stops a tree for as long as it is looked at.
func stand(t *testing.T, root int, look func(pids []int)) {
	t.Helper()
	pids := harness.Tree(root)
	for _, pid := range pids {
		if err := harness.Signal(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	look(pids)
	for _, pid := range pids {
		_ = harness.Signal(pid, syscall.SIGCONT)
	}
}

// mapping is the address of the private mapping of that size that can be written.
func mapping(t *testing.T, pid int, size int64) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var from, to int64
		if n, _ := fmt.Sscanf(line, "%x-%x rw-p", &from, &to); n == 2 && to-from == size && strings.Contains(line, " rw-p ") {
			return from
		}
	}
	t.Fatalf("no mapping of %d bytes in\n%s", size, b)
	return 0
}

// writeApart writes to one address in each process, and looks whether each has what was written to it.
func writeApart(t *testing.T, pids []int, at int64) {
	t.Helper()
	at += pageSize - 8 // the fixture looks at the beginning of its pages only
	var mem []*os.File
	for i, pid := range pids {
		f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{byte(i + 1)}, at); err != nil {
			t.Fatal(err)
		}
		mem = append(mem, f)
	}
	for i, f := range mem {
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil || b[0] != byte(i+1) {
			t.Errorf("process %d of %v has %d, %v: what another one wrote", i, pids, b[0], err)
		}
	}
}

// TestForkKeepsSharing compares the page frames of three processes before a dump and after each restore, and then writes to a page of each
// and sees it in no other.
func TestForkKeepsSharing(t *testing.T) {
	t.Parallel()
	j := fixture(t, "mem_cow")
	const pages = 96 // of the fixture
	at := mapping(t, j.pid, pages*pageSize)
	var before string
	stand(t, j.pid, func(pids []int) { before = sharing(t, pids, at, pages) })
	for n := range 5 {
		j.restoreAfterDump()
		stand(t, j.pid, func(pids []int) {
			if after := sharing(t, pids, at, pages); after != before {
				t.Errorf("cycle %d: was\n%s, is\n%s", n+1, before, after)
			}
		})
	}
	stand(t, j.pid, func(pids []int) { writeApart(t, pids, at) })
}

// TestForkTakesNoMore: programs that fork take as much memory after a restore, and after many, as before.
func TestForkTakesNoMore(t *testing.T) {
	for name, argv := range map[string][]string{
		"python3": script(t, "prog_forks.py", "python3"),
		"bash":    script(t, "prog_forks.bash", "bash"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := begin(t, argv)
			j.reach(60) // by then everybody has written what it ever will
			seen, _, before := memory(t, j.pid)
			if before > seen*3/4 {
				t.Fatalf("it sees %d KiB and takes %d: it shares too little to be a test", seen, before)
			}
			for n := range 6 {
				j.restoreAfterDump()
				if seen, after, _ := memory(t, j.pid); after > before+before/20+256 {
					t.Fatalf("cycle %d: it sees %d KiB and takes %d, before %d", n+1, seen, after, before)
				}
			}
			j.goesOn(10)
		})
	}
}

// TestDumpUnsharesNothing: reading pages does not give processes copies of them.
func TestDumpUnsharesNothing(t *testing.T) {
	t.Parallel()
	j := begin(t, script(t, "prog_forks.py", "python3"))
	j.reach(60)
	_, _, before := memory(t, j.pid)
	for range 2 {
		if res := ckpt(t, "--sign", "-o", j.image(), strconv.Itoa(j.pid)); !res.OK() {
			t.Fatal(res)
		}
		if _, after, _ := memory(t, j.pid); after > before+before/20+256 {
			t.Fatalf("it took %d KiB, and takes %d after a dump", before, after)
		}
	}
}

// TestDumpOfOneUnsharesNothing dumps a child alone: what it shares with its parent, which is no part of the tree, stays shared.
func TestDumpOfOneUnsharesNothing(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	program := "import os, time; data = os.urandom(16 << 20); os.fork(); time.sleep(1000)"
	pid, _, err := shared.reaper.Start([]string{"/usr/bin/env", "python3", "-c", program}, os.ProcAttr{Dir: "/", Files: []*os.File{null, null, null}})
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, pid: pid, status: filepath.Join(t.TempDir(), "status")}
	var tree []int
	t.Cleanup(func() { j.kill(tree) })
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		tree = harness.Tree(pid)
		if seen, _ := memoryNow(t, pid); seen > 32<<10 && len(tree) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("python3 has not forked: %v", tree)
		}
	}
	seen, _, before := memory(t, pid)
	res := ckpt(t, "-o", j.image(), strconv.Itoa(tree[1]))
	if _, _, after := memory(t, pid); !res.OK() || after > before+before/20+256 {
		t.Errorf("%v\nthey see %d KiB and took %d, and take %d after the dump", res, seen, before, after)
	}
}
