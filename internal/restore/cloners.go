package restore

import (
	"fmt"

	"github.com/ckptool/ckpt/internal/kind"
)

// chooser decides who clones whom. Its lists keep that quick whatever a tree
// looks like: an image may name a hundred thousand processes.
type chooser struct {
	c    *content
	seen map[trait]bool                // of any living process so far
	kin  map[relation][]*kind.TaskNode // living processes so far, in order
}

// trait is something that processes can share.
type trait struct {
	what uint8
	id   uint32
}

// relation is having a parent and a trait.
type relation struct {
	parent kind.TaskRef
	trait
}

// What processes share.
const (
	sharesNothing uint8 = iota
	sharesMM
	sharesFDTable
	sharesFS
	sharesSigHand
	sharesSession
)

func traits(n *kind.TaskNode) []trait {
	return []trait{{sharesMM, n.MM}, {sharesFDTable, n.FDTable}, {sharesFS, n.FS}, {sharesSigHand, n.SigHand}}
}

// chooseCloners decides who clones whom. A process is cloned by its parent,
// or by a sibling if it shares with that one what it does not share with the
// parent: sharing can only begin at a clone.
func (c *content) chooseCloners() error {
	c.cloner = map[*kind.TaskNode]*kind.TaskNode{}
	c.clones = map[*kind.TaskNode][]*kind.TaskNode{}
	ch := &chooser{c: c, seen: map[trait]bool{}, kin: map[relation][]*kind.TaskNode{}}
	for i := range c.tree.Tasks {
		n := &c.tree.Tasks[i]
		if i > 0 {
			m := ch.find(n)
			if m == nil {
				return fmt.Errorf("process %d: what it shares with others, and its session, cannot be had from its parent", n.PID)
			}
			c.cloner[n] = m
			c.clones[m] = append(c.clones[m], n)
		}
		ch.note(n)
	}
	return nil
}

// note makes a process known to those that come after it.
func (ch *chooser) note(n *kind.TaskNode) {
	if !alive(n) {
		return
	}
	add := func(t trait) {
		at := relation{n.Parent, t}
		ch.kin[at] = append(ch.kin[at], n)
	}
	add(trait{})
	for _, t := range traits(n) {
		ch.seen[t] = true
		add(t)
	}
	add(trait{sharesSession, uint32(n.Session)})
	if born := ch.c.bornIn(n); born != n.Session {
		add(trait{sharesSession, uint32(born)})
	}
}

// find looks for the process that can clone n: its parent, else the first of
// those siblings that come into question.
func (ch *chooser) find(n *kind.TaskNode) *kind.TaskNode {
	if p := ch.c.tasks[uint32(n.Parent)]; p != nil && ch.mayClone(p, n) {
		return p
	}
	for _, m := range ch.siblings(n) {
		if ch.mayClone(m, n) {
			return m
		}
	}
	return nil
}

// siblings is the shortest list that holds every sibling that can clone n.
func (ch *chooser) siblings(n *kind.TaskNode) []*kind.TaskNode {
	best := ch.kin[relation{n.Parent, trait{}}]
	narrow := func(t trait) {
		if l := ch.kin[relation{n.Parent, t}]; len(l) < len(best) {
			best = l
		}
	}
	if n.Session != n.PID {
		narrow(trait{sharesSession, uint32(n.Session)})
	}
	if alive(n) {
		for _, t := range traits(n) {
			if ch.seen[t] {
				narrow(t)
			}
		}
	}
	return best
}

// mayClone says whether m, the parent or a sibling, can clone n: it shares
// all that n shares with anybody who is there before.
func (ch *chooser) mayClone(m, n *kind.TaskNode) bool {
	if n.Session != n.PID && n.Session != m.Session && n.Session != ch.c.bornIn(m) {
		return false
	}
	if !alive(n) {
		return true
	}
	have := traits(m)
	for i, t := range traits(n) {
		if ch.seen[t] && have[i] != t {
			return false
		}
	}
	return true
}

// bornIn is the session in which a process starts.
func (c *content) bornIn(n *kind.TaskNode) kind.PID {
	if p := c.cloner[n]; p != nil && n.Session == n.PID {
		return p.Session
	}
	return n.Session
}
