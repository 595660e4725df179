package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// fionbio is FIONBIO of asm-generic/ioctls.h.
const fionbio = 0x5421

// streamsRecord is a description that is replaced by rstr's own standard
// streams. It is shared by several kinds: what a stream is made of does not
// matter where it leads out of the tree.
type streamsRecord struct {
	Streams  uint8 `cbor:"1,keyasint"` // bit n: the tree has it as descriptor n, n from 0 to 2
	NonBlock bool  `cbor:"2,keyasint,omitempty"`
}

// Stdio claims the pipes and TCP connections among the standard streams whose
// other end is outside the tree. What is on the way there is not the tree's.
func Stdio() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, streamsRecord]{
		Name:   "stdio",
		At:     plan.OpenFile,
		Claims: true,
		Match: func(f *kind.FileSite) bool {
			return classOf(f) == classStdio || isSocket(socketStream)(f)
		},
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (streamsRecord, error) {
			return dumpStreams(f, "a pipe whose other end is outside the tree")
		},
		Check: checkStreams,
		Plan:  planStreams,
	})
}

// StdioPipe claims the inode of such a pipe, of which nothing is kept.
func StdioPipe() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, noRecord]{
		Name:   "stdiopipe",
		At:     plan.Inode,
		Claims: true,
		Match: func(i *kind.InodeSite) bool {
			return i.Stat.Format() == unix.S_IFIFO && i.Stat.FSType == unix.PIPEFS_MAGIC && leadsOut(i)
		},
		Dump: func(kind.Dump, *kind.InodeSite, []plan.Result) (noRecord, error) { return noRecord{}, nil },
		Plan: func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

// dumpStreams records which of the standard streams lead to f. What is none
// of them can't be reconnected to anything.
func dumpStreams(f *kind.FileSite, what string) (streamsRecord, error) {
	r := streamsRecord{Streams: streamsOf(f), NonBlock: f.Info.Flags&unix.O_NONBLOCK != 0}
	if r.Streams == 0 && f.Inode != nil {
		for _, other := range f.Inode.Files {
			r.Streams |= streamsOf(other)
		}
	}
	if r.Streams == 0 {
		return r, &kind.Unsupported{Why: what, Hint: "only standard input, output and error may lead out of the tree"}
	}
	return r, nil
}

func streamsOf(f *kind.FileSite) (set uint8) {
	for _, h := range f.Holders {
		if h.Num >= 0 && h.Num <= 2 {
			set |= 1 << h.Num
		}
	}
	return set
}

func checkStreams(r streamsRecord) error {
	if r.Streams == 0 || r.Streams > 7 {
		return fmt.Errorf("standard streams %#b", r.Streams)
	}
	return nil
}

// planStreams duplicates the tool's own standard streams, each for its number
// (kind.FileRef.Stream). For all other numbers the object itself is one of
// them, rather one for output: rstr's input may be the image.
//
// They stay shared with whoever started rstr, so flags are only added, by
// FIONBIO, which leaves the others alone.
func planStreams(r streamsRecord, h *kind.Host) []plan.Step {
	connect := plan.Step{Stage: plan.Create, Text: "connect it to rstr's own standard streams"}
	block := plan.Step{Stage: plan.Settle, Text: "make it non-blocking"}
	var main plan.Ref
	for _, n := range []int{0, 2, 1} {
		if r.Streams&(1<<n) == 0 {
			continue
		}
		main = kind.FileRef(h.Self.ID).Stream(n)
		connect.Ops = append(connect.Ops, dup(plan.Int(n), main))
		block.Ops = append(block.Ops, plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{
			plan.FD(main), plan.Int(fionbio), plan.Buf([]byte{1, 0, 0, 0})}})
	}
	connect.Ops = append(connect.Ops, dup(plan.FD(main), h.Self))
	if r.NonBlock {
		return []plan.Step{connect, block}
	}
	return []plan.Step{connect}
}
