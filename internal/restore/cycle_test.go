package restore

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/kind"
)

// familyOf is a tree of a root with two threads and two children, one of which
// has a child.
func familyOf(t *testing.T, pids ...kind.PID) *session {
	t.Helper()
	c := &content{tree: &kind.Tree{Tasks: []kind.TaskNode{
		{ID: 1, PID: pids[0], Threads: []kind.ThreadNode{{TID: pids[0]}, {TID: pids[1]}}},
		{ID: 2, PID: pids[2], Parent: 1, Threads: []kind.ThreadNode{{TID: pids[2]}}},
		{ID: 3, PID: pids[3], Parent: 1, Threads: []kind.ThreadNode{{TID: pids[3]}}},
		{ID: 4, PID: pids[4], Parent: 2, Threads: []kind.ThreadNode{{TID: pids[4]}}},
	}}}
	n := func(i int) *kind.TaskNode { return &c.tree.Tasks[i] }
	c.clones = map[*kind.TaskNode][]*kind.TaskNode{n(0): {n(1), n(2)}, n(1): {n(3)}}
	return &session{content: c}
}

// The numbers come in the order in which the tasks are made; one that is
// behind the counter comes after all others.
func TestDistance(t *testing.T) {
	s := familyOf(t, 1000, 1003, 1001, 1002, 1010)
	if got := s.order(nil, nil); !slices.Equal(got, []kind.PID{1000, 1001, 1002, 1003, 1010}) {
		t.Errorf("they are made in the order %v", got)
	}
	k := &counter{s: s, max: 32768}
	for last, want := range map[int]int{900: 110, 1000: 32468 + 10, 2000: 32468 - 1000 + 10} {
		if got := k.distance(last); got != want {
			t.Errorf("from %d on they come after %d, not %d", last, got, want)
		}
	}
	k.s = familyOf(t, 1000, 1001, 1002, 1003, 1010) // the thread after the children
	if got := k.distance(999); got != 11+32468 {
		t.Errorf("with a thread in between they come after %d", got)
	}
	k.s = familyOf(t, 1000, 1001, 299, 1003, 1010)
	if got := k.distance(999); got != never {
		t.Errorf("a reserved number comes after %d", got)
	}
}

// What would take too long is refused with how long.
func TestHopeless(t *testing.T) {
	k := &counter{max: 4 << 20}
	var h *HostError
	if err := k.hopeless(32768, 40*time.Microsecond); err != nil {
		t.Error(err)
	}
	err := k.hopeless(4<<20, 40*time.Microsecond)
	if !errors.As(err, &h) || !strings.Contains(h.What, "2m48s") || !strings.Contains(h.What, "4194304") || !strings.Contains(h.What, "25000") {
		t.Error(err)
	}
	if err := k.hopeless(never, 1); !errors.As(err, &h) || !strings.Contains(h.What, "300") {
		t.Error(err)
	}
}
