package kernelio

import (
	"fmt"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// Extent is a range of bytes of a file.
type Extent struct{ Off, Len int64 }

// DataExtents lists the ranges of the first size bytes of a file that are not
// holes (SEEK_DATA in lseek(2)). Seeking would move the offset that the target
// shares with fd, so the file is opened anew; where that is not allowed, or
// the filesystem cannot tell, everything counts as data.
func DataExtents(fd int, size int64) ([]Extent, error) {
	if size <= 0 {
		return nil, nil
	}
	own, err := Reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return []Extent{{0, size}}, nil
	}
	defer own.Close()
	var out []Extent
	for at := int64(0); at < size; {
		e, err := nextData(own.Int(), at)
		if err != nil {
			return nil, err
		}
		if e.Off >= size {
			break
		}
		at = min(e.Off+e.Len, size)
		out = append(out, Extent{e.Off, at - e.Off})
	}
	return out, nil
}

// nextData finds the first data at or after an offset; past the last there is
// an empty extent at the end of the offsets.
func nextData(fd int, at int64) (Extent, error) {
	start, err := unix.Seek(fd, at, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return Extent{Off: math.MaxInt64}, nil
	}
	if err != nil {
		return Extent{}, failed(err, "lseek SEEK_DATA fd", fd, " at ", at)
	}
	end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
	return Extent{start, end - start}, failed(err, "lseek SEEK_HOLE fd", fd, " at ", start)
}

// fileAt reads and writes a descriptor that it does not own, by offset.
type fileAt int

// ReaderAt reads a descriptor by offset, without moving its own.
func ReaderAt(fd int) io.ReaderAt { return fileAt(fd) }

// WriterAt writes a descriptor by offset, without moving its own.
func WriterAt(fd int) io.WriterAt { return fileAt(fd) }

func (f fileAt) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := againFor(func() (int, error) { return unix.Pread(int(f), p[n:], off+int64(n)) })
		if err == nil && k == 0 {
			return n, io.EOF
		}
		if err != nil {
			return n, f.failed(err, "pread", off)
		}
		n += k
	}
	return n, nil
}

func (f fileAt) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := againFor(func() (int, error) { return unix.Pwrite(int(f), p[n:], off+int64(n)) })
		if err == nil && k == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, f.failed(err, "pwrite", off)
		}
		n += k
	}
	return n, nil
}

func (f fileAt) failed(err error, call string, off int64) error {
	return failed(err, call, fmt.Sprintf("fd %d at %d", int(f), off))
}
