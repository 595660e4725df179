package main

import (
	"sync/atomic"

	"github.com/ckptool/ckpt/internal/cli"
)

// cycling shows how far the numbers have come.
func (o *options) cycling(total int, p *cli.Progress, s *cli.Speaker) func(int) {
	s.Detail("making and ending about %d tasks until the numbers of the tree come", total)
	var done atomic.Uint64
	p.Count("PIDs tried", uint64(total), done.Load)
	return func(n int) { done.Add(uint64(n)) }
}
