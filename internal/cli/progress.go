package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	progressAfter = 500 * time.Millisecond // shorter work shows none
	progressEvery = 100 * time.Millisecond
	eraseLine     = "\r\x1b[K" // ECMA-48, EL
)

// Progress shows on a terminal how far long work has come, in one line that
// is written over and erased at the end.
type Progress struct {
	to   io.Writer
	name string
	stop chan struct{}
	idle sync.WaitGroup

	mu    sync.Mutex
	what  string
	total uint64
	done  func() uint64
	begin time.Time
	plain bool // it is no bytes that are counted
}

// NewProgress shows the progress of a program on to, if that is a terminal.
// The result may be nil, which is a Progress that shows nothing.
func NewProgress(to *os.File, program string) *Progress {
	if !IsTerminal(int(to.Fd())) {
		return nil
	}
	p := &Progress{to: to, name: program, stop: make(chan struct{})}
	p.idle.Go(p.run)
	return p
}

// Watch begins a piece of work: what it is, how many bytes it is in all (0:
// nobody knows), and who tells how many of them are done.
func (p *Progress) Watch(what string, total uint64, done func() uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.total, p.done, p.begin, p.plain = what, total, done, time.Now(), false
}

// Count is Watch for anything but bytes.
func (p *Progress) Count(what string, total uint64, done func() uint64) {
	if p == nil {
		return
	}
	p.Watch(what, total, done)
	p.mu.Lock()
	p.plain = true
	p.mu.Unlock()
}

// Stop erases the line. It may be called twice.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.idle.Wait()
}

func (p *Progress) run() {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-p.stop:
			if shown {
				io.WriteString(p.to, eraseLine)
			}
			return
		case <-tick.C:
			if line := p.line(); line != "" {
				shown = true
				io.WriteString(p.to, eraseLine+line)
			}
		}
	}
}

// line is what to show now; nothing while the work is young.
func (p *Progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(p.begin)
	if p.done == nil || took < progressAfter {
		return ""
	}
	done := p.done()
	if p.plain {
		return fmt.Sprintf("%s: %s %d of about %d", p.name, p.what, done, p.total)
	}
	of := ""
	if p.total > 0 && done >= p.total {
		return fmt.Sprintf("%s: %s %s, finishing", p.name, p.what, Bytes(done))
	}
	if p.total > 0 {
		of = fmt.Sprintf(" of %s (%d %%)", Bytes(p.total), done*100/p.total)
	}
	return fmt.Sprintf("%s: %s %s%s, %s", p.name, p.what, Bytes(done), of, Rate(done, took))
}
