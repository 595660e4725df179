package restore

import (
	"runtime"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// many is how many processes and descriptors the large images have: about as
// many as fit into a tree.
const many = 30000

// grown is a draft with many more processes, each a child of the root with
// nothing shared, changed by f.
func grown(t *testing.T, f func(i uint32, n *kind.TaskNode)) *draft {
	d := newDraft(t)
	for i := uint32(10); i < many; i++ {
		th := d.tree.Tasks[1].Threads[0]
		th.ID, th.TID = i, kind.PID(1000+i)
		n := kind.TaskNode{ID: i, Parent: 1, PID: th.TID, Session: 100, Group: 100, MM: i, FDTable: i, FS: i, SigHand: i, Threads: []kind.ThreadNode{th}}
		f(i, &n)
		d.tree.Tasks = append(d.tree.Tasks, n)
		d.m.PIDs = append(d.m.PIDs, uint32(n.PID))
		if n.MM == i {
			d.tree.MMs = append(d.tree.MMs, kind.MMNode{ID: i})
		}
		if n.FDTable == i {
			d.tree.FDTables = append(d.tree.FDTables, kind.FDTableNode{ID: i})
		}
	}
	return d
}

// TestLargeTreesTakeTheirTime reads images that are as large as they can be
// and made to be slow: what is wrong with them is found at the end.
func TestLargeTreesTakeTheirTime(t *testing.T) {
	const half = many / 2
	for name, make := range map[string]func() *draft{
		"a chain": func() *draft {
			return grown(t, func(i uint32, n *kind.TaskNode) {
				if i > 10 {
					n.Parent = kind.TaskRef(i - 1)
				}
			})
		},
		"a star": func() *draft { return grown(t, func(uint32, *kind.TaskNode) {}) },
		"every session again": func() *draft {
			return grown(t, func(i uint32, n *kind.TaskNode) {
				if n.Session = n.PID; i >= half {
					n.Session = kind.PID(1000 + i - half + 10)
				}
			})
		},
		"memory by pairs": func() *draft {
			return grown(t, func(i uint32, n *kind.TaskNode) {
				if i >= half {
					n.MM, n.SigHand = i-half+10, i-half+10
				}
			})
		},
		"one memory, tables by pairs": func() *draft {
			return grown(t, func(i uint32, n *kind.TaskNode) {
				if n.MM = 10; i >= half {
					n.FDTable = i - half + 10
				}
			})
		},
		"descriptors": func() *draft {
			d := newDraft(t)
			fds := &d.tree.FDTables[1].FDs
			for i := int32(1); i < 4*many; i++ {
				*fds = append(*fds, kind.FDNode{Num: 100 * i, File: 1})
			}
			return d
		},
		"memory in pieces": func() *draft {
			d := newDraft(t)
			x := &d.tree.MMs[1].Used
			for i := uint64(1); i < 4*many; i++ {
				*x = append(*x, image.Extent{Off: 0x100000 * i, Len: 4096})
			}
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := make()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := d.read()
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB: %.100v", took, (after.TotalAlloc-before.TotalAlloc)>>20, err)
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if grew := after.TotalAlloc - before.TotalAlloc; grew > 1<<30 {
				t.Errorf("allocated %d bytes", grew)
			}
		})
	}
}
