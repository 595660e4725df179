package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Lineage is where a running tree stands in a row of images of the same job.
type Lineage struct {
	ID     [16]byte      // shared by all of them
	Serial uint64        // of the last image that was made of the tree, or that it came from
	Last   verify.Digest // that image's manifest
}

const (
	maxLineage  = 256 // bytes of what is remembered
	lineageWait = time.Second
)

// Lineages remembers the lineage of running trees in a directory of the caller's,
// by their root's PID and start time, which together name a process until the
// next boot. It is a help, not a proof: what it forgets begins a new lineage.
type Lineages struct{ dir string }

// OwnLineages is the caller's own, beside the ledger of package host.
func OwnLineages(home, stateHome string) Lineages {
	return Lineages{filepath.Join(UserLedger(home, stateHome), "lineages")}
}

// Of finds the lineage of the tree whose root is pid; nil where none is known.
func (l Lineages) Of(pid int) (*Lineage, error) {
	name, err := lineageName(pid)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := private(f, uint32(os.Geteuid())); err != nil {
		return nil, err
	}
	if err := lock(f, time.Now().Add(lineageWait)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLineage))
	if err != nil {
		return nil, err
	}
	return parseLineage(string(b))
}

func parseLineage(text string) (*Lineage, error) {
	var out Lineage
	var id, last []byte
	if _, err := fmt.Sscanf(text, "%x %d %x\n", &id, &out.Serial, &last); err != nil || len(id) != 16 || len(last) != 32 {
		return nil, fmt.Errorf("%.100q is no lineage", text)
	}
	out.ID, out.Last = [16]byte(id), verify.Digest(last)
	return &out, nil
}

// Remember writes down that the tree whose root is pid stands at now. With a tree
// that is new it forgets those that are gone. It is not synced: after a crash of the machine there are no
// trees to remember. An entry always has the same size, so that it can be written over as a whole: to rename
// a new file over it would have ext4 write that to the disk at once (ext4(5), auto_da_alloc).
func (l Lineages) Remember(pid int, now Lineage) error {
	name, err := lineageName(pid)
	if err != nil {
		return err
	}
	f, err := l.entry(name)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%x %020d %x\n", now.ID, now.Serial, now.Last)
	if err = lock(f, time.Now().Add(lineageWait)); err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	return errors.Join(err, f.Close())
}

// entry opens that of a process, or makes it.
func (l Lineages) entry(name string) (*os.File, error) {
	path, flags := filepath.Join(l.dir, name), os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	l.forget() // with each new tree is soon enough
	return os.OpenFile(path, flags|os.O_CREATE, 0o600)
}

// forget removes the entries of processes that are gone. Those of other PID
// namespaces can't be looked at and stay until the next boot.
func (l Lineages) forget() {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return
	}
	space, err := lineageSpace()
	if err != nil {
		return
	}
	boot, _, _ := strings.Cut(space, ".")
	for _, e := range entries {
		if gone(strings.TrimSuffix(e.Name(), ".new"), boot, space) {
			_ = os.Remove(filepath.Join(l.dir, e.Name()))
		}
	}
}

func gone(name, boot, space string) bool {
	if !strings.HasPrefix(name, boot+".") {
		return true // of another boot, or none of ours
	}
	rest, ok := strings.CutPrefix(name, space+".")
	if !ok {
		return false
	}
	var pid int
	if _, err := fmt.Sscanf(rest, "%d.", &pid); err != nil {
		return true
	}
	now, err := lineageIn(space, pid)
	return err != nil || now != name
}

// lineageName names a process: boot, PID namespace, PID, start time in ticks.
func lineageName(pid int) (string, error) {
	space, err := lineageSpace()
	if err != nil {
		return "", err
	}
	return lineageIn(space, pid)
}

func lineageIn(space string, pid int) (string, error) {
	dir, err := kernelio.OpenProc(pid)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s.%d.%d", space, pid, st.StartTime), nil
}

func lineageSpace() (string, error) {
	boot, err := kernelio.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	ns, err := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "." + strings.Trim(ns, "pid:[]"), nil
}
