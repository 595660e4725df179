package dump

import (
	"slices"
	"testing"
)

func TestLeaderFirst(t *testing.T) {
	for _, c := range []struct{ tids, want []int }{
		{[]int{7}, []int{7}},
		{[]int{7, 8, 9}, []int{7, 8, 9}},
		{[]int{3, 4, 7, 8}, []int{7, 3, 4, 8}}, // numbers have wrapped around
		{[]int{3, 7}, []int{7, 3}},
	} {
		got := slices.Clone(c.tids)
		leaderFirst(got, 7)
		if !slices.Equal(got, c.want) {
			t.Errorf("%v became %v", c.tids, got)
		}
	}
}
