package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type fifoEndRecord struct {
	FIFO  kind.InodeRef `cbor:"1,keyasint"`
	Flags uint32        `cbor:"2,keyasint,omitempty"`
	// HungUp says that a reader has seen the last writer go: a FIFO that
	// never had one does not report POLLHUP (pipe_poll in fs/pipe.c).
	HungUp bool `cbor:"3,keyasint,omitempty"`
}

const fifoFlags = unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_APPEND | unix.O_ASYNC | unix.O_NOFOLLOW | oLargefile

// FIFOEnd claims the descriptions of named pipes.
func FIFOEnd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, fifoEndRecord]{
		Name:   "fifoend",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classFIFO),
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (fifoEndRecord, error) {
			if f.Inode == nil {
				return fifoEndRecord{}, errors.New("a FIFO without an inode")
			}
			r := fifoEndRecord{f.Inode.Ref(), f.Info.Flags &^ unix.O_CLOEXEC, gone(f, unix.POLLHUP)}
			return r, onlyFlags(f, fifoFlags)
		},
		Check: func(r fifoEndRecord) error {
			if r.FIFO == 0 || r.Flags&^fifoFlags != 0 || r.Flags&unix.O_ACCMODE == unix.O_ACCMODE {
				return fmt.Errorf("end of FIFO %d with flags %#o", r.FIFO, r.Flags)
			}
			return nil
		},
		Plan: planFIFOEnd,
	})
}

func planFIFOEnd(r fifoEndRecord, h *kind.Host) []plan.Step {
	open := reopen(r.FIFO, r.Flags, h.Self)
	open.Args[1] = plan.FDPath(slot(r.FIFO.Main(), fifoHolder))
	steps := []plan.Step{{Stage: plan.Create, Text: fmt.Sprintf("open an end of the FIFO (%s)", accessMode(r.Flags)),
		Needs: openNeeds(r.FIFO, r.Flags), Ops: []plan.Op{open}}}
	if !r.HungUp {
		return steps
	}
	writer := reopen(r.FIFO, unix.O_WRONLY|unix.O_NONBLOCK, slot(h.Self, kind.SlotOther))
	writer.Args[1] = open.Args[1]
	return append(steps, oneStep(plan.Settle, "let a last writer come and go", writer)...)
}
