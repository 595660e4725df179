package harness

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is one that a World has.
type User struct {
	Name   string
	ID     int // of user and group
	Groups []int
}

// Users of every World. Their numbers should be nobody's on a host.
var (
	Alice     = User{Name: "alice", ID: 20001, Groups: []int{20001, 20010}}
	Eve       = User{Name: "eve", ID: 20002, Groups: []int{20002}}
	Superuser = User{Name: "root"}
)

// World is a mount namespace with an /etc and a /var of its own, in which tests make users, install binaries with authority and write
// to system files without touching the host's. What lies elsewhere is the host's.
type World struct {
	Dir  string // its own files; everybody may enter
	Etc  string // what is /etc in there
	Var  string // what is /var
	Bin  string // programs, on a file system that honours set-id bits
	hold int    // a process in it
	keep *os.File
}

// NewWorld makes one below dir, which should be on a disk. It is for root.
func NewWorld(dir string) (*World, error) {
	w := &World{Dir: dir, Etc: filepath.Join(dir, "etc"), Var: filepath.Join(dir, "var"), Bin: filepath.Join(dir, "bin")}
	if err := w.furnish(); err != nil {
		return nil, err
	}
	return w, w.start()
}

func (w *World) furnish() error {
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(w.Etc, os.DirFS("/etc")); err != nil {
		return fmt.Errorf("copying /etc: %w", err)
	}
	for _, name := range []string{"shadow", "gshadow"} { // the copy is everybody's to read
		if err := os.Chmod(filepath.Join(w.Etc, name), 0o600); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for path, mode := range map[string]os.FileMode{w.Bin: 0o755, w.Var: 0o755, w.Var + "/tmp": 0o777 | os.ModeSticky, w.Var + "/lib": 0o755,
		w.Var + "/log": 0o755, w.Var + "/home": 0o755, w.Dir: 0o755, filepath.Dir(w.Dir): 0o755} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	os.RemoveAll(filepath.Join(w.Etc, "ckpt"))
	for _, u := range []User{Alice, Eve} {
		if err := w.add(u); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) add(u User) error {
	home := "/var/home/" + u.Name
	real := filepath.Join(w.Var, "home", u.Name)
	if err := os.Mkdir(real, 0o700); err != nil {
		return err
	}
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", u.Name, u.ID, u.ID, home),
		"group":  fmt.Sprintf("%s:x:%d:\n", u.Name, u.ID),
		"shadow": fmt.Sprintf("%s:$6$test$test:20000:0:99999:7:::\n", u.Name),
	} {
		f, err := os.OpenFile(filepath.Join(w.Etc, file), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(line); err != nil {
			return err
		}
		f.Close()
	}
	return os.Chown(real, u.ID, u.ID)
}

// start makes the namespace and a process that keeps it until Close, or until this program ends.
func (w *World) start() error {
	line := `mount --bind "$1" /etc && mount --bind "$2" /var && echo ready && exec cat`
	in, keep, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	out, ready, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	argv := []string{"/usr/bin/unshare", "--mount", "--propagation", "private", "sh", "-c", line, "sh", w.Etc, w.Var}
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{in, ready, os.Stderr}})
	ready.Close()
	if err != nil {
		return err
	}
	w.hold, w.keep = p.Pid, keep
	p.Release()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("the mount namespace does not stand: %q, %v", line, err)
	}
	return nil
}

// Close lets the namespace go.
func (w *World) Close() { w.keep.Close() }

// As is the command line that runs argv in the world as a user, without any capability.
func (w *World) As(u User, argv ...string) []string {
	enter := []string{"/usr/bin/nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", w.hold), "--wdns=/", "--"}
	if u.ID == 0 {
		return append(enter, argv...)
	}
	var groups []string
	for _, g := range u.Groups {
		groups = append(groups, strconv.Itoa(g))
	}
	id := strconv.Itoa(u.ID)
	return append(append(enter, "/usr/bin/setpriv", "--reuid="+id, "--regid="+id, "--groups="+strings.Join(groups, ","), "--inh-caps=-all", "--"), argv...)
}

// Install copies a program into the world with a mode, as root's, and with file capabilities: their numbers, none if there are none.
func (w *World) Install(program, name string, mode os.FileMode, effective bool, caps ...uint) (string, error) {
	b, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(w.Bin, name)
	// A child that is forked meanwhile would hold the file open for writing, and nobody could execute it.
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, b, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", err
	}
	if err := os.Chmod(path, mode); err != nil {
		return "", err
	}
	if len(caps) == 0 {
		return path, nil
	}
	return path, setCaps(path, effective, caps)
}

// setCaps writes the extended attribute that is a program's capabilities (struct vfs_cap_data, linux/capability.h).
func setCaps(path string, effective bool, caps []uint) error {
	var permitted uint64
	for _, n := range caps {
		permitted |= 1 << n
	}
	magic := uint32(0x02000000) // VFS_CAP_REVISION_2
	if effective {
		magic |= 1
	}
	b := binary.LittleEndian.AppendUint32(nil, magic)
	for _, half := range []uint32{uint32(permitted), uint32(permitted >> 32)} {
		b = binary.LittleEndian.AppendUint32(b, half)
		b = binary.LittleEndian.AppendUint32(b, 0) // inheritable
	}
	return os.NewSyscallError("setxattr", unix.Setxattr(path, "security.capability", b, 0))
}
