package dump

import "sort"

// classes sorts objects that the kernel only lets us compare, not name
// (kcmp(2)), into groups of the same object. The kernel's order is total and
// stable while the tree is frozen, so n objects cost n log n comparisons.
type classes[T any] struct {
	compare func(a, b T) (int, error) // kcmp's 0 equal, 1 less, 2 greater
	sorted  []*class[T]
}

type class[T any] struct {
	first   T
	members []T
}

// add puts x into its class and says whether that class is new.
func (c *classes[T]) add(x T) (*class[T], bool, error) {
	var err error
	var same *class[T]
	i := sort.Search(len(c.sorted), func(i int) bool {
		if err != nil || same != nil {
			return true
		}
		var r int
		if r, err = c.compare(c.sorted[i].first, x); r == 0 {
			same = c.sorted[i]
		}
		return r != 1
	})
	if err != nil {
		return nil, false, err
	}
	if same != nil {
		same.members = append(same.members, x)
		return same, false, nil
	}
	fresh := &class[T]{first: x, members: []T{x}}
	c.sorted = append(c.sorted, nil)
	copy(c.sorted[i+1:], c.sorted[i:])
	c.sorted[i] = fresh
	return fresh, true, nil
}
