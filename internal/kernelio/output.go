package kernelio

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// AtomicFile is a file that appears under its name complete or not at all.
// Until Commit it has no name, or on filesystems without O_TMPFILE a hidden
// one; it is readable for its owner only. It is not safe for concurrent use.
type AtomicFile struct {
	path    string
	base    string
	replace bool
	dir     *FD
	file    *FD
	temp    string // its name until Commit, "" if it has none
	size    int64
	flushed int64 // write-back has been started up to here
}

// flushEvery is how much is written before its write-back is started, so that
// Commit does not have to wait for all of an image at once.
const flushEvery = 8 << 20

// CreateAtomic begins the file that will be called path. Without replace it
// is an error, here or at Commit, that the name exists; with it the old file,
// which must be a regular one, is replaced.
func CreateAtomic(path string, replace bool) (*AtomicFile, error) {
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	a := &AtomicFile{path: path, base: filepath.Base(path), replace: replace, dir: dir}
	if err = a.checkName(); err == nil {
		err = a.create()
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return a, nil
}

// openDir opens a directory to be synchronised or, when it may not be read,
// at least to be used.
func openDir(path string) (*FD, error) {
	d, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.EACCES) {
		return openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	}
	return d, err
}

func (a *AtomicFile) checkName() error {
	st, err := StatAt(a.dir.Int(), a.base)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case st.Type() != unix.S_IFREG:
		return fmt.Errorf("create %s: it exists and is not a regular file: %w", a.path, fs.ErrExist)
	case !a.replace:
		return fmt.Errorf("create %s: %w", a.path, fs.ErrExist)
	}
	return nil
}

func (a *AtomicFile) create() (err error) {
	a.file, err = tmpFileAt(a.dir.Int(), ".")
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return a.createNamed()
	}
	return err
}

func (a *AtomicFile) createNamed() error {
	a.temp = a.tempName()
	fd, err := againFor(func() (int, error) {
		return unix.Openat(a.dir.Int(), a.temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return failed(err, "create", a.path)
	}
	a.file = NewFD(fd, a.path)
	return nil
}

func (a *AtomicFile) tempName() string { return "." + a.base + "." + rand.Text()[:10] }

// Write appends to the file.
func (a *AtomicFile) Write(p []byte) (int, error) {
	n, err := writeAll(a.file.Int(), p)
	a.size += int64(n)
	if a.size-a.flushed >= flushEvery {
		// A hint: what cannot be started early is done by Commit.
		unix.SyncFileRange(a.file.Int(), a.flushed, a.size-a.flushed, unix.SYNC_FILE_RANGE_WRITE)
		a.flushed = a.size
	}
	return n, failed(err, "write", a.path)
}

func writeAll(fd int, p []byte) (done int, err error) {
	for done < len(p) {
		n, err := againFor(func() (int, error) { return unix.Write(fd, p[done:]) })
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Commit brings the file to the disk and gives it its name. After an error
// nothing is left but what was there before.
func (a *AtomicFile) Commit() error {
	err := again(func() error { return unix.Fsync(a.file.Int()) })
	if err != nil {
		a.Abort()
		return failed(err, "fsync", a.path)
	}
	if err := a.publish(); err != nil {
		a.Abort()
		return failed(err, "name", a.path)
	}
	a.temp = ""
	err = again(func() error { return unix.Fsync(a.dir.Int()) })
	if err == unix.EBADF { // a directory that may not be read: see openDir
		err = nil
	}
	return errors.Join(failed(err, "fsync the directory of", a.path), a.Abort())
}

// publish links or renames. linkat never replaces, so that replacing goes by
// a second name.
func (a *AtomicFile) publish() error {
	dir := a.dir.Int()
	if a.temp == "" && !a.replace {
		return a.link(a.base)
	}
	if a.temp == "" {
		name := a.tempName()
		if err := a.link(name); err != nil {
			return err
		}
		a.temp = name
	}
	if a.replace {
		return unix.Renameat(dir, a.temp, dir, a.base)
	}
	err := unix.Renameat2(dir, a.temp, dir, a.base, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // the filesystem lacks it
		if err = unix.Linkat(dir, a.temp, dir, a.base, 0); err == nil {
			err = unix.Unlinkat(dir, a.temp, 0)
		}
	}
	return err
}

// link gives the unnamed file a name; by /proc, because AT_EMPTY_PATH wants
// CAP_DAC_READ_SEARCH (open(2), O_TMPFILE).
func (a *AtomicFile) link(name string) error {
	self := fmt.Sprintf("/proc/self/fd/%d", a.file.Int())
	return unix.Linkat(unix.AT_FDCWD, self, a.dir.Int(), name, unix.AT_SYMLINK_FOLLOW)
}

// Abort drops the file; after Commit it does nothing.
func (a *AtomicFile) Abort() error {
	var err error
	if a.temp != "" {
		err = failed(unix.Unlinkat(a.dir.Int(), a.temp, 0), "unlink", a.temp)
		a.temp = ""
	}
	return errors.Join(err, a.file.Close(), a.dir.Close())
}
