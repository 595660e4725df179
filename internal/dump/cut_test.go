package dump

import (
	"fmt"
	"testing"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
)

// data is a mapping that may be cut.
func data(start, end uint64) abi.SmapsVMA {
	return abi.SmapsVMA{VMA: abi.VMA{Start: start, End: end, Prot: 3}, Flags: abi.VMFlagRead | abi.VMFlagWrite, Anonymous: 4096}
}

func TestCut(t *testing.T) {
	other := data(0x1000, 0x3000)
	other.Flags |= abi.VMFlagHugePage
	brk := func(end uint64) abi.SmapsVMA {
		v := data(0x1000, end)
		v.Path = heap
		return v
	}
	file := data(0x1000, 0x3000)
	file.Inode = 7
	for _, c := range []struct {
		name   string
		vmas   [][]abi.SmapsVMA // of a parent, its child, the child's child
		wanted string
	}{
		{"alike", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {data(0x1000, 0x5000)}}, "[1-5] [1-5]"},
		{"the parent grew", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {data(0x1000, 0x3000)}}, "[1-3 3-5] [1-3]"},
		{"it grew down", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {data(0x2000, 0x5000)}}, "[1-2 2-5] [2-5]"},
		{"it grew twice", [][]abi.SmapsVMA{{data(0x1000, 0x9000)}, {data(0x1000, 0x3000)}, {data(0x1000, 0x2000)}}, "[1-2 2-3 3-9] [1-2 2-3] [1-2]"},
		{"the child grew", [][]abi.SmapsVMA{{data(0x1000, 0x3000)}, {data(0x1000, 0x5000)}}, "[1-3] [1-5]"},
		{"the child's heap grew", [][]abi.SmapsVMA{{brk(0x3000)}, {brk(0x5000)}, {brk(0x4000)}}, "[1-3] [1-3 3-4 4-5] [1-3 3-4]"},
		{"the parent's heap shrank", [][]abi.SmapsVMA{{brk(0x2000)}, {brk(0x3000)}, {brk(0x3000)}}, "[1-2] [1-2 2-3] [1-2 2-3]"},
		{"it has two of one", [][]abi.SmapsVMA{{data(0x1000, 0x9000)}, {data(0x2000, 0x3000), data(0x4000, 0x5000)}}, "[1-2 2-3 3-4 4-5 5-9] [2-3 4-5]"},
		{"another sort", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {other}}, "[1-5] [1-3]"},
		{"of a file", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {file}}, "[1-5] [1-3]"},
		{"elsewhere", [][]abi.SmapsVMA{{data(0x1000, 0x5000)}, {data(0x5000, 0x7000)}}, "[1-5] [5-7]"},
	} {
		cut := cutting{map[*kind.MMSite][]abi.SmapsVMA{}, map[*kind.MMSite][]*origin{}}
		var mms []*kind.MMSite
		var parent *kind.MMSite
		for _, vmas := range c.vmas {
			mm := &kind.MMSite{}
			cut.vmas[mm] = vmas
			cut.trace(mm, parent)
			mms, parent = append(mms, mm), mm
		}
		var got []string
		for _, mm := range mms {
			cut.cut(mm)
			got = append(got, places(cut.vmas[mm]))
		}
		if s := fmt.Sprint(got); s != "["+c.wanted+"]" {
			t.Errorf("%s: %s, wanted %s", c.name, s, c.wanted)
		}
	}
}

func places(vmas []abi.SmapsVMA) string {
	var out []string
	for _, v := range vmas {
		out = append(out, fmt.Sprintf("%x-%x", v.Start>>12, v.End>>12))
	}
	return fmt.Sprint(out)
}
