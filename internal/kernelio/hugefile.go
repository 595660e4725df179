package kernelio

import (
	"bytes"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ContentWriter is WriterAt, also for files of huge pages, which write(2) does
// not write (hugetlbfs_file_operations). There, bytes that are 0 anyway take
// no page: the file must be fresh.
func ContentWriter(fd int) (io.WriterAt, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return nil, failed(err, "fstatfs fd", fd)
	}
	if st.Type != unix.HUGETLBFS_MAGIC {
		return WriterAt(fd), nil
	}
	return hugeFile{fd, st.Bsize}, nil
}

// hugeFile is a file of huge pages.
type hugeFile struct {
	fd   int
	page int64
}

// WriteAt maps one page after another.
func (f hugeFile) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		from := (off + int64(n)) % f.page
		part := p[n:min(len(p), n+int(f.page-from))]
		if err := f.writePage(part, off+int64(n)-from, from); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (f hugeFile) writePage(p []byte, page, from int64) error {
	if len(bytes.TrimLeft(p, "\x00")) == 0 {
		return nil
	}
	m, err := unix.Mmap(f.fd, page, int(f.page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return failed(err, "mmap", fmt.Sprintf("fd %d at %d", f.fd, page))
	}
	copy(m[from:], p)
	return failed(unix.Munmap(m), "munmap fd", f.fd)
}
