package dump

// share is what becomes of one page of one address space.
type share struct {
	inherits bool // it comes from the one that it is cloned from
	lends    bool // it is to be there before others are cloned
	own      bool // it is filled when all are cloned
	donor    int  // if it lends: who has that page now
}

// inherit decides how pages at one address, in the address spaces of a lineage,
// come to be shared again. up holds the index of the one that each is cloned
// from, -1 for the first; class holds equal numbers for the same page, 0 for
// none.
//
// A clone gets the page that the cloner has at that moment; what a process
// wrote later it gets later. So an address space may carry a page for those
// that are cloned from it which it does not keep itself. It can carry one only:
// that which saves most. Where sharing is more tangled, the rest is copied.
func inherit(up, class []int) []share {
	n := len(up)
	holders := count(up, class)
	carry := make([]int, n)
	out := make([]share, n)
	for i := range n {
		if class[i] == 0 {
			continue // what is not there in the end would have to be dropped again
		}
		in := 0
		if up[i] >= 0 {
			in = carry[up[i]]
		}
		best := holders[i][in]
		if in != 0 && best > 0 {
			carry[i] = in
		} else {
			best = 0
		}
		for z, k := range holders[i] {
			better := k-1 > best || k-1 == best && best > 0 && carry[i] != in && z < carry[i]
			if z != in && better && (z == class[i] || branches(up, holders, i, z) > 1) {
				best, carry[i] = k-1, z
			}
		}
	}
	prune(up, class, carry)
	for i := range n {
		in := up[i] >= 0 && carry[i] != 0 && carry[i] == carry[up[i]]
		out[i] = share{inherits: in, lends: carry[i] != 0 && !in, own: class[i] != 0 && class[i] != carry[i], donor: donor(class, carry[i], i)}
	}
	return out
}

// count says how many of those at and below each have which page.
func count(up, class []int) []map[int]int {
	out := make([]map[int]int, len(up))
	for i := range up {
		out[i] = map[int]int{}
		if class[i] == 0 {
			continue
		}
		for j := i; j >= 0; j = up[j] {
			out[j][class[i]]++
		}
	}
	return out
}

// branches counts those cloned from i at or below which somebody has page z.
func branches(up []int, holders []map[int]int, i, z int) (n int) {
	for j := range up {
		if up[j] == i && holders[j][z] > 0 {
			n++
		}
	}
	return n
}

// prune takes away what is carried for nobody.
func prune(up, class, carry []int) {
	wanted := make([]bool, len(up))
	for i := len(up) - 1; i >= 0; i-- {
		same := up[i] >= 0 && carry[i] == carry[up[i]]
		if carry[i] == 0 || !wanted[i] && !(same && class[i] == carry[i]) {
			carry[i] = 0
			continue
		}
		if same {
			wanted[up[i]] = true
		}
	}
}

// donor is one that has page z now, i itself if it can.
func donor(class []int, z, i int) int {
	if class[i] == z {
		return i
	}
	for j, c := range class {
		if c == z {
			return j
		}
	}
	return -1
}
