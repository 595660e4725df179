package restore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// filling is an address space and what belongs there.
type filling struct {
	body  *body
	pages image.Blob
}

// fill brings the private pages of every address space to their places. Each
// chunk is verified when it is used, by the image. All processors work at one
// large address space, or each at a small one.
func (s *session) fill() error {
	const large = 16 << 20
	var small []filling
	for _, ref := range s.spaces() {
		m := s.mms[ref.ID]
		if m.Pages == 0 {
			continue
		}
		b, err := s.rep(ref)
		if err != nil {
			return err
		}
		f := filling{b, s.manifest.Blobs[m.Pages-1]}
		if f.pages.Size() < large && !s.opts.Elevated {
			small = append(small, f)
			continue
		}
		if err := s.fillOne(f, 0); err != nil {
			return err
		}
	}
	errs := make([]error, len(small))
	inBatches(len(small), 1, func(i, _ int) { errs[i] = s.fillOne(small[i], 1) })
	return errors.Join(errs...)
}

func (s *session) fillOne(f filling, workers int) error {
	pid := f.body.leader.PID()
	if s.opts.Elevated {
		workers = 1 // only the tracer's thread may write there
	}
	err := s.img.EachRun(f.pages, workers, func(p []byte, at []image.Extent) error {
		s.placed.Add(uint64(len(p)))
		return write(pid, p, at)
	})
	if err != nil {
		return fmt.Errorf("filling the memory of process %d: %w", f.body.node.PID, err)
	}
	return nil
}

// maxSpans is how many ranges one process_vm_writev takes (UIO_MAXIOV).
const maxSpans = 1024

// write puts the bytes of a chunk where they belong in a process.
func write(pid int, p []byte, at []image.Extent) error {
	for len(at) > 0 {
		n := min(len(at), maxSpans)
		spans := make([]kernelio.Span, n)
		size := uint64(0)
		for i, e := range at[:n] {
			spans[i] = kernelio.Span{Addr: e.Off, Len: e.Len}
			size += e.Len
		}
		done, err := kernelio.WriteMemVec(pid, [][]byte{p[:size]}, spans)
		if err != nil {
			return err
		}
		if uint64(done) < size {
			return fmt.Errorf("only %d of %d bytes from %x could be written", done, size, at[0].Off)
		}
		p, at = p[size:], at[n:]
	}
	return nil
}

// move brings a blob into an object that the tool holds a descriptor of.
func (s *session) move(m plan.Move) error {
	if m.Blob == 0 || int(m.Blob) > len(s.manifest.Blobs) {
		return fmt.Errorf("blob %d of %d", m.Blob, len(s.manifest.Blobs))
	}
	blob, fd := s.manifest.Blobs[m.Blob-1], int(s.made[m.Into])
	if m.Stream {
		return s.stream(blob, fd)
	}
	w, err := kernelio.ContentWriter(fd)
	if err != nil {
		return err
	}
	return s.img.EachChunk(blob, 0, func(off uint64, p []byte) error {
		s.placed.Add(uint64(len(p)))
		_, err := w.WriteAt(p, int64(off))
		return err
	})
}

// maxStream bounds what is written into a pipe or socket at a time: more
// than /proc/sys/fs/pipe-max-size ever is.
const maxStream = 64 << 20

// stream never waits: what was in a pipe fits into one of that size, and there
// is nobody yet who would make room.
func (s *session) stream(blob image.Blob, fd int) error {
	b, err := s.img.ReadBlob(blob, maxStream)
	if err != nil {
		return err
	}
	flags, err := fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if _, err := fcntl(fd, unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
		return err
	}
	err = kernelio.WriteAll(fd, b)
	if errors.Is(err, unix.EAGAIN) {
		err = fmt.Errorf("%d bytes do not fit: %w", len(b), image.ErrFormat)
	}
	_, back := fcntl(fd, unix.F_SETFL, flags)
	return errors.Join(err, back)
}

func fcntl(fd int, cmd, arg int64) (int64, error) {
	return kernelio.Syscall(unix.SYS_FCNTL, kernelio.Int(fd), kernelio.Int(cmd), kernelio.Int(arg))
}
