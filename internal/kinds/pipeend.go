package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type pipeEndRecord struct {
	Pipe  kind.InodeRef `cbor:"1,keyasint"`
	Flags uint32        `cbor:"2,keyasint,omitempty"` // as F_GETFL
}

const pipeFlags = unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_APPEND | unix.O_ASYNC | oLargefile

// PipeEnd claims the descriptions of a pipe that belongs to the tree alone.
// The two that pipe2(2) made lack O_LARGEFILE, which opening a pipe below
// /proc sets (force_o_largefile in fs/open.c); that is how they are known.
func PipeEnd() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, pipeEndRecord]{
		Name:   "pipeend",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classPipeEnd),
		Dump:   dumpPipeEnd,
		Check:  checkPipeEnd,
		Plan:   planPipeEnd,
	})
}

func dumpPipeEnd(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (pipeEndRecord, error) {
	flags := f.Info.Flags &^ (unix.O_CLOEXEC | onlyAtOpen)
	if unknown := flags &^ pipeFlags; unknown != 0 {
		return pipeEndRecord{}, kind.Unsupportedf("a pipe with the flags %#o, of which ckpt does not know %#o", flags, unknown)
	}
	return pipeEndRecord{Pipe: f.Inode.Ref(), Flags: flags}, nil
}

func checkPipeEnd(r pipeEndRecord) error {
	mode := r.Flags & unix.O_ACCMODE
	switch {
	case r.Pipe == 0:
		return errors.New("no pipe")
	case r.Flags&^pipeFlags != 0, mode == unix.O_ACCMODE, mode == unix.O_RDWR && r.Flags&oLargefile == 0:
		return fmt.Errorf("flags %#o", r.Flags)
	}
	return nil
}

func planPipeEnd(r pipeEndRecord, h *kind.Host) []plan.Step {
	s := plan.Step{Stage: plan.Create, Text: fmt.Sprintf("open an end of the pipe (%s)", accessMode(r.Flags))}
	if r.Flags&oLargefile != 0 {
		s.Ops = []plan.Op{reopen(r.Pipe, r.Flags, h.Self)}
		return []plan.Step{s}
	}
	from := slot(r.Pipe.Main(), pipeReader)
	if r.Flags&unix.O_ACCMODE == unix.O_WRONLY {
		from = slot(r.Pipe.Main(), pipeWriter)
	}
	s.Ops = []plan.Op{dup(plan.FD(from), h.Self)}
	return []plan.Step{s, {Stage: plan.Settle, Text: "set the flags of the pipe's end",
		Ops: []plan.Op{setFlags(plan.FD(h.Self), r.Flags&^unix.O_ACCMODE&^oLargefile&^unix.O_ASYNC)}}}
}
