package kinds

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// The two descriptors that pipe2(2) made. The kind "pipeend" duplicates them,
// or opens the pipe again by the first.
const (
	pipeReader = kind.SlotMain
	pipeWriter = kind.SlotWrite
)

// defaultPipeMax is what fs.pipe-max-size is without an administrator's
// change; a larger pipe needs CAP_SYS_RESOURCE (pipe(7)).
const defaultPipeMax = 1 << 20

// maxPipePackets is the number of packets that the largest possible pipe holds.
const maxPipePackets = 1 << 19

type pipeRecord struct {
	Capacity uint32       `cbor:"1,keyasint"`
	Mode     uint32       `cbor:"2,keyasint"` // permissions
	UID      credmap.UID  `cbor:"3,keyasint"`
	GID      credmap.GID  `cbor:"4,keyasint"`
	Contents kind.BlobRef `cbor:"5,keyasint,omitempty"`
	// Packets are the contents of a pipe in packet mode, each its own blob.
	Packets []kind.BlobRef `cbor:"6,keyasint,omitempty"`
}

// Pipe claims what the two ends of a pipe(2) share: its size, what is in it,
// and its owner, which is what decides who may open it again below /proc.
func Pipe() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, pipeRecord]{
		Name:   "pipe",
		At:     plan.Inode,
		Claims: true,
		Match: func(i *kind.InodeSite) bool {
			return i.Stat.Format() == unix.S_IFIFO && i.Stat.FSType == unix.PIPEFS_MAGIC && !leadsOut(i)
		},
		Dump:  dumpPipe,
		Check: checkPipe,
		Plan:  planPipe,
	})
}

func dumpPipe(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (pipeRecord, error) {
	r := pipeRecord{Mode: i.Stat.Mode & 0o7777, UID: i.Stat.UID, GID: i.Stat.GID}
	readers, writers := ends(i)
	any := append(readers, writers...)
	if len(any) == 0 {
		return r, kind.Unsupportedf("a pipe that is only known by O_PATH")
	}
	size, err := fcntl(any[0].Do, self(any[0]), unix.F_GETPIPE_SZ)
	if err != nil {
		return r, err
	}
	r.Capacity = uint32(size)
	if len(readers) == 0 {
		return r, nil // nobody will ever read what is in it
	}
	packets, err := peekPipe(readers[0], uint32(size))
	if err != nil {
		return r, err
	}
	return r, r.store(d, packets)
}

// store keeps the contents. One read gives all there is, unless the pipe
// holds packets: then it gives one (pipe(2), O_DIRECT).
func (r *pipeRecord) store(d kind.Dump, packets [][]byte) (err error) {
	if len(packets) == 1 {
		r.Contents, err = storeBytes(d, packets[0])
		return err
	}
	for _, p := range packets {
		if len(p) > 4096 {
			return kind.Unsupportedf("a pipe that holds packets and other data in a row")
		}
		b, err := storeBytes(d, p)
		if err != nil {
			return err
		}
		r.Packets = append(r.Packets, b)
	}
	return nil
}

// storeBytes makes a blob of b.
func storeBytes(d kind.Dump, b []byte) (kind.BlobRef, error) {
	return d.Blob(bytes.NewReader(b), []image.Extent{{Off: 0, Len: uint64(len(b))}})
}

// peekPipe copies what is in a pipe, read by read, and takes nothing out:
// tee(2) gives a second pipe the same buffers, and that one is read.
func peekPipe(reader *kind.FileSite, capacity uint32) ([][]byte, error) {
	n, err := ioctlInt(reader.Do, self(reader), unix.TIOCINQ)
	if err != nil || n == 0 {
		return nil, err
	}
	r, err := reader.Do(plan.Call{Nr: unix.SYS_PIPE2, Args: []plan.Arg{plan.Out(8), plan.Int(unix.O_CLOEXEC | unix.O_NONBLOCK)}})
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	out, in := pair(r.Out[0])
	defer closeOwn(reader.Do, out)
	defer closeOwn(reader.Do, in)
	return teeInto(reader, out, in, capacity, int(n))
}

func teeInto(reader *kind.FileSite, out, in int64, capacity uint32, n int) ([][]byte, error) {
	do := reader.Do
	calls := []plan.Call{
		{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.Int(in), plan.Int(unix.F_SETPIPE_SZ), plan.Int(capacity)}},
		{Nr: unix.SYS_TEE, Args: []plan.Arg{self(reader), plan.Int(in), plan.Int(n), plan.Int(unix.SPLICE_F_NONBLOCK)},
			Ret: plan.Exactly(int64(n))},
	}
	for _, c := range calls {
		if _, err := do(c); err != nil {
			return nil, fmt.Errorf("copying the contents of a pipe: %w", err)
		}
	}
	var packets [][]byte
	for got := 0; got < n; {
		b, err := readOwn(do, out, n-got)
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			return nil, fmt.Errorf("copying the contents of a pipe: %d bytes instead of %d", got, n)
		}
		packets, got = append(packets, b), got+len(b)
	}
	return packets, nil
}

func checkPipe(r pipeRecord) error {
	switch {
	case badCapacity(r.Capacity):
		return fmt.Errorf("capacity %d", r.Capacity)
	case r.Mode&^0o777 != 0:
		return fmt.Errorf("mode %#o", r.Mode)
	case r.Contents != 0 && len(r.Packets) != 0:
		return errors.New("contents both as a stream and as packets")
	case len(r.Packets) > maxPipePackets:
		return fmt.Errorf("%d packets", len(r.Packets))
	}
	return nil
}

// badCapacity says whether a pipe can't have that size: it is a power of two
// of pages (round_pipe_size in fs/pipe.c).
func badCapacity(n uint32) bool { return n < 4096 || n&(n-1) != 0 }

func setCapacity(pipe plan.Ref, n uint32) plan.Call {
	return plan.Call{Nr: unix.SYS_FCNTL, Args: []plan.Arg{plan.FD(pipe), plan.Int(unix.F_SETPIPE_SZ), plan.Int(n)},
		Ret: plan.Exactly(int64(n))}
}

func capacityNeeds(n uint32) []plan.Need {
	if n <= defaultPipeMax {
		return nil
	}
	return []plan.Need{{Demand: "limit:pipe", Why: "the pipe is larger than fs.pipe-max-size is by default", Amount: uint64(n)}}
}

func planPipe(r pipeRecord, h *kind.Host) []plan.Step {
	main, writer := h.Self, slot(h.Self, pipeWriter)
	create := plan.Step{Stage: plan.Create, Text: fmt.Sprintf("make a pipe of %d bytes", r.Capacity), Ops: []plan.Op{
		plan.Call{Nr: unix.SYS_PIPE2, Args: []plan.Arg{plan.FDs(main, writer), plan.Int(unix.O_CLOEXEC)}},
		setCapacity(main, r.Capacity),
	}, Needs: capacityNeeds(r.Capacity)}
	steps := append([]plan.Step{create}, ownership(main, owner{r.Mode, r.UID, r.GID}, bornAs(h, 0o600))...)
	return append(steps, fillPipe(r, writer)...)
}

func fillPipe(r pipeRecord, writer plan.Ref) []plan.Step {
	if r.Contents != 0 {
		return []plan.Step{{Stage: plan.Fill, Text: "put back what was in the pipe",
			Ops: []plan.Op{plan.Move{Blob: uint32(r.Contents), Into: writer, Stream: true}}}}
	}
	if len(r.Packets) == 0 {
		return nil
	}
	s := plan.Step{Stage: plan.Fill, Text: fmt.Sprintf("put back the %d packets that were in the pipe", len(r.Packets)),
		Ops: []plan.Op{setFlags(plan.FD(writer), unix.O_DIRECT)}}
	for _, b := range r.Packets {
		s.Ops = append(s.Ops, plan.Move{Blob: uint32(b), Into: writer, Stream: true})
	}
	return []plan.Step{s}
}
