package dump

import (
	"slices"

	"github.com/ckptool/ckpt/internal/kind"
)

// ancestry says from which address space each other one will be cloned when
// the tree is made again; those that nothing can be inherited by are left out.
// It must not say more than the restore does, which has its own mind about who
// clones whom: a process that its parent (or, for an orphan, the root) cannot
// clone, because it shares something with somebody else, inherits nothing.
func ancestry(tasks []kind.TaskNode) map[uint32]uint32 {
	from := map[uint32]uint32{}
	index := map[kind.TaskRef]*kind.TaskNode{0: &tasks[0]}
	seen := map[trait]bool{}
	for i := range tasks {
		n := &tasks[i]
		if n.MM == 0 {
			continue // dead
		}
		m := index[n.Parent]
		fresh := !seen[trait{0, n.MM}]
		if i > 0 && fresh && m != nil && clones(m, n, seen) {
			from[n.MM] = m.MM
		}
		index[kind.TaskRef(n.ID)] = n
		for _, t := range traits(n) {
			seen[t] = true
		}
	}
	return from
}

// trait is something that processes can share: what, and its number.
type trait struct {
	what int
	id   uint32
}

func traits(n *kind.TaskNode) []trait {
	return []trait{{0, n.MM}, {1, n.FDTable}, {2, n.FS}, {3, n.SigHand}}
}

// clones says whether m surely clones n: it is in its session, and n shares
// with nobody what it does not share with m.
func clones(m, n *kind.TaskNode, seen map[trait]bool) bool {
	if n.Session != n.PID && n.Session != m.Session {
		return false
	}
	have := traits(m)
	return !slices.ContainsFunc(traits(n), func(t trait) bool { return seen[t] && have[t.what] != t })
}
