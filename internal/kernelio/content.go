package kernelio

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Extent is a range of bytes of a file.
type Extent struct{ Off, Len int64 }

// DataExtents lists the ranges of the first size bytes of a file that are not
// holes (SEEK_DATA in lseek(2)); a filesystem that cannot tell has one. It
// moves the offset of the description of fd and puts it back: nobody else
// may use that description meanwhile.
func DataExtents(fd int, size int64) (out []Extent, err error) {
	was, err := unix.Seek(fd, 0, unix.SEEK_CUR)
	if err != nil {
		return nil, failed(err, "lseek fd", fd)
	}
	defer func() {
		if _, e := unix.Seek(fd, was, unix.SEEK_SET); err == nil {
			err = failed(e, "lseek fd", fd)
		}
	}()
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO { // nothing but a hole up to the end
			break
		}
		if err != nil {
			return nil, failed(err, "lseek SEEK_DATA fd", fd)
		}
		if start >= size {
			break
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, failed(err, "lseek SEEK_HOLE fd", fd)
		}
		at = min(end, size)
		out = append(out, Extent{start, at - start})
	}
	return out, nil
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
