package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/verify"
)

// SystemLedger is the directory of the ledger that privileged restores answer to.
const SystemLedger = "/var/lib/ckpt"

const (
	ledgerName = "restored" // in its directory
	ledgerWait = 5 * time.Second
)

// errBusy: another restore holds the ledger for longer than a restore may.
var errBusy = errors.New("held by another restore")

// UserLedger is the directory of the caller's own ledger: $XDG_STATE_HOME/ckpt, or
// ~/.local/state/ckpt. stateHome is to be empty where the environment is not the
// caller's to choose.
func UserLedger(home, stateHome string) string {
	if filepath.IsAbs(stateHome) {
		return filepath.Join(stateHome, "ckpt")
	}
	return filepath.Join(home, ".local", "state", "ckpt")
}

// LedgerFile is the ledger in a directory, locked against other restores from
// OpenLedger to Close.
type LedgerFile struct {
	ledger *verify.Ledger
	file   *os.File
	dir    *os.File
	good   int // bytes of it that are whole
}

// OpenLedger opens the ledger in dir, making both at need. The directory must be
// owner's and closed to everybody else (0700); so must the file in it (0600).
// Errors wrap verify.ErrLedger or are the file system's.
func OpenLedger(dir string, owner uint32) (*LedgerFile, error) {
	l, err := openLedger(dir, owner)
	if err != nil {
		return nil, fmt.Errorf("ledger in %q: %w", dir, err)
	}
	return l, nil
}

func openLedger(dir string, owner uint32) (l *LedgerFile, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l = new(LedgerFile)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.dir, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
		return l, err
	}
	if err := private(l.dir, owner); err != nil {
		return l, err
	}
	const flags = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW | unix.O_NONBLOCK
	if l.file, err = os.OpenFile(filepath.Join(dir, ledgerName), flags, 0o600); err != nil {
		return l, err
	}
	if err := private(l.file, owner); err != nil {
		return l, err
	}
	if err := lock(l.file, time.Now().Add(ledgerWait)); err != nil {
		return l, err
	}
	return l, l.load()
}

// private refuses what is not owner's alone.
func private(f *os.File, owner uint32) error {
	st, err := kernelio.Fstat(int(f.Fd()))
	if err != nil {
		return err
	}
	if st.UID != owner || st.Mode&0o077 != 0 {
		return fmt.Errorf("%w: %q is owned by uid %d with mode %04o; want uid %d and nobody else", verify.ErrLedger,
			f.Name(), st.UID, st.Mode&0o7777, owner)
	}
	return nil
}

// lock takes the whole file for this description; the kernel lets go of it when we
// die. It polls, because a wait in flock(2) has no deadline.
func lock(f *os.File, until time.Time) error {
	for {
		_, err := kernelio.Syscall(unix.SYS_FLOCK, kernelio.Int(f.Fd()), kernelio.Int(unix.LOCK_EX|unix.LOCK_NB))
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			return os.NewSyscallError("flock", err)
		case time.Now().After(until):
			return fmt.Errorf("%w: %w", verify.ErrLedger, errBusy)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (l *LedgerFile) load() error {
	b, err := io.ReadAll(io.LimitReader(l.file, int64(verify.MaxLedger)+1<<10))
	if err != nil {
		return err
	}
	l.ledger, l.good, err = verify.ParseLedger(b)
	return err
}

// PeekLedger is what the ledger in dir says now; empty where there is none. It makes,
// locks and holds nothing.
func PeekLedger(dir string, owner uint32) (*verify.Ledger, error) {
	f, err := os.OpenFile(filepath.Join(dir, ledgerName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return new(verify.Ledger), nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger in %q: %w", dir, err)
	}
	defer f.Close()
	l := &LedgerFile{file: f}
	if err = private(f, owner); err == nil {
		err = l.load()
	}
	if err != nil {
		return nil, fmt.Errorf("ledger in %q: %w", dir, err)
	}
	return l.ledger, nil
}

// Ledger is what the file held when it was opened, and what was consumed since.
func (l *LedgerFile) Ledger() *verify.Ledger { return l.ledger }

// Consume judges e and writes it down. When it returns nil, e is on the disk: the
// restore may create its first object now, and not before. Errors are those of
// verify.Ledger.Judge, or the file system's; a half-written entry is taken back.
func (l *LedgerFile) Consume(e verify.Entry, r verify.Rule) error {
	if err := l.ledger.Judge(e, r); err != nil {
		return err
	}
	if err := l.write(e); err != nil {
		return fmt.Errorf("write ledger %q: %w", l.file.Name(), err)
	}
	return nil
}

// TakeBack writes down that a restore which was consumed came to nothing: none of
// its tree ever ran. Errors are those of verify.Ledger.MayTakeBack, or the file
// system's; the restore counts then.
func (l *LedgerFile) TakeBack(e verify.Entry) error {
	e.Back = true
	if err := l.ledger.MayTakeBack(e); err != nil {
		return err
	}
	if err := l.write(e); err != nil {
		return fmt.Errorf("write ledger %q: %w", l.file.Name(), err)
	}
	return nil
}

func (l *LedgerFile) write(e verify.Entry) error {
	// What a crash left behind the last whole record goes first.
	if err := l.file.Truncate(int64(l.good)); err != nil {
		return err
	}
	b := l.ledger.Append(e, l.good)
	_, err := l.file.WriteAt(b, int64(l.good))
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		// The ledger in memory is ahead of the file now: no use after this.
		return errors.Join(err, l.file.Truncate(int64(l.good)), l.Close())
	}
	if l.good == 0 {
		err = l.dir.Sync() // the name of a new file
	}
	l.good += len(b)
	return err
}

// Close lets other restores have the ledger. It may be called twice.
func (l *LedgerFile) Close() error {
	var err error
	for _, f := range []*os.File{l.file, l.dir} {
		if f == nil {
			continue
		}
		if e := f.Close(); e != nil && !errors.Is(e, fs.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
