package dump

import (
	"math/rand/v2"
	"testing"
)

// remake does what a restore does with one page: a process is cloned with the
// page that its cloner has, lends one before it clones others, and gets its
// own when all are there. It returns which copy each has in the end, 0 for
// none, and the contents and number of the copies.
func remake(t *testing.T, up, class []int, shares []share) (has, content []int) {
	t.Helper()
	has, content = make([]int, len(up)), []int{0}
	add := func(z int) int {
		content = append(content, z)
		return len(content) - 1
	}
	for i, s := range shares {
		switch {
		case s.inherits:
			if has[i] = has[up[i]]; has[i] == 0 {
				t.Fatalf("%v, %v: %d inherits nothing", up, class, i)
			}
		case s.lends:
			if class[s.donor] == 0 {
				t.Fatalf("%v, %v: %d has no page for %d", up, class, s.donor, i)
			}
			has[i] = add(class[s.donor])
		}
	}
	for i, s := range shares {
		if s.own {
			has[i] = add(class[i])
		}
	}
	return has, content
}

// TestInherit makes random histories of forks and writes, and has the pages
// that result made again.
func TestInherit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stored, least, plain int
	for range 20000 {
		up, class := history(random, 1+random.IntN(9))
		has, content := remake(t, up, class, inherit(up, class))
		distinct := map[int]bool{}
		for i, h := range has {
			if content[h] != class[i] {
				t.Fatalf("%v, %v: %d has page %d", up, class, i, content[h])
			}
			if class[i] != 0 {
				plain++
				distinct[class[i]] = true
			}
		}
		stored, least = stored+len(content)-1, least+len(distinct)
	}
	// What is stored lies between one copy for each page and one for each process that has it, and close to the first.
	t.Logf("%d pages of %d processes, stored %d times", least, plain, stored)
	if stored < least || stored-least > (plain-least)/10 {
		t.Errorf("%d pages of %d processes are stored %d times", least, plain, stored)
	}
}

// history forks n processes, each from one of those before it, while one or
// the other gets a page of its own or loses the one it has.
func history(random *rand.Rand, n int) (up, class []int) {
	pages := 1
	up, class = []int{-1}, []int{random.IntN(2)}
	for len(up) < n {
		i := random.IntN(len(up))
		switch random.IntN(8) {
		case 0, 1:
			pages++
			class[i] = pages
		case 2:
			if random.IntN(4) == 0 {
				class[i] = 0
			}
		default:
			up, class = append(up, i), append(class, class[i])
		}
	}
	return up, class
}

// TestInheritKnown are cases that come up: all the same; the parent wrote
// since; a child wrote between two forks.
func TestInheritKnown(t *testing.T) {
	for _, c := range []struct {
		name      string
		up, class []int
		copies    int
	}{
		{"nothing written", []int{-1, 0, 0, 1}, []int{1, 1, 1, 1}, 1},
		{"a child wrote", []int{-1, 0, 0}, []int{1, 2, 1}, 2},
		{"the parent wrote", []int{-1, 0, 0}, []int{2, 1, 1}, 2},
		{"the one in the middle wrote", []int{-1, 0, 1}, []int{1, 2, 1}, 2},
		{"the one in the middle wrote and forked again", []int{-1, 0, 1, 1, 1}, []int{1, 2, 1, 2, 2}, 3},
		{"nobody shares", []int{-1, 0}, []int{1, 2}, 2},
		{"only a child has it", []int{-1, 0}, []int{0, 1}, 1},
		{"children have what the parent lost", []int{-1, 0, 0}, []int{0, 1, 1}, 2},
	} {
		if _, content := remake(t, c.up, c.class, inherit(c.up, c.class)); len(content)-1 != c.copies {
			t.Errorf("%s: %d copies, not %d", c.name, len(content)-1, c.copies)
		}
	}
}
