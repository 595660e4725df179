package kernelio

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// inRole runs the test program again as another process, which may throw its
// own privilege away, and wants it to be content.
func inRole(t *testing.T, role string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "KERNELIO_TEST_ROLE="+role, "GOMAXPROCS=4")
	out, err := c.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// play is main of the other process.
func play(role string) int {
	threads(8)
	f := map[string]func() error{"drop": playDrop, "keep": playKeep, "self": playSelf, "split": playSplit, "down": playStepDown}[role]
	if err := f(); err != nil {
		fmt.Println(role+":", err)
		return 1
	}
	return 0
}

// threads makes n threads that block in a system call.
func threads(n int) {
	for range n {
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(started)
			var p [2]int
			unix.Pipe(p[:])
			unix.Read(p[0], make([]byte, 1))
		}()
		<-started
	}
	time.Sleep(10 * time.Millisecond)
}

const nobody = 65534

func playDrop() error {
	if err := Drop(nobody, nobody-1, []uint32{7, 5}, 0); err != nil {
		return err
	}
	all, err := ownThreads()
	if err != nil || len(all) < 9 {
		return fmt.Errorf("%d threads %v", len(all), err)
	}
	for tid, c := range all {
		if !c.UID.All(nobody) || !c.GID.All(nobody-1) || !slices.Equal(c.Groups, []uint32{5, 7}) || c.Permitted|c.Effective|c.Ambient != 0 {
			return fmt.Errorf("thread %d: %+v", tid, c)
		}
	}
	if err := unix.Setuid(0); err != unix.EPERM {
		return fmt.Errorf("it can go back: %v", err)
	}
	if _, err := os.Open("/etc/shadow"); !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("it can read secrets: %v", err)
	}
	return nil
}

func playKeep() error {
	const keep = abi.CapSet(1 << unix.CAP_CHECKPOINT_RESTORE)
	if err := Drop(nobody, nobody, nil, keep); err != nil {
		return err
	}
	c, err := OwnCredentials()
	if err != nil || c.Permitted != keep || c.Effective != keep {
		return fmt.Errorf("%+v %v", c, err)
	}
	if err := Drop(nobody, nobody, nil, 0); err != nil {
		return err
	}
	return playSelf()
}

// playSelf drops to what it is, which needs no privilege.
func playSelf() error {
	c, err := OwnCredentials()
	if err != nil {
		return err
	}
	return Drop(c.UID.Real, c.GID.Real, c.Groups, 0)
}

// playStepDown begins as a set-id program does, and goes down, up in one
// place, and down for good.
func playStepDown() error {
	lent := Credentials{UID: abi.IDs{Real: nobody}, GID: abi.IDs{Real: nobody, Effective: 7, Saved: 7, FS: 7}, Groups: []uint32{5}}
	was, err := OwnCredentials()
	if err != nil {
		return err
	}
	lent.Permitted, lent.Effective, lent.Bounding = was.Permitted, was.Permitted, was.Bounding
	if err := becomeAll(&was, &lent); err != nil {
		return err
	}
	if err := StepDown(); err != nil {
		return err
	}
	down := lent
	down.UID.Effective, down.UID.FS = nobody, nobody
	down.GID.Effective, down.GID.FS, down.Effective = nobody, nobody, 0
	if now, err := OwnCredentials(); err != nil || !now.Equal(&down) {
		return fmt.Errorf("it stepped down to %+v, not %+v: %v", now, down, err)
	}
	if _, err := os.Open("/etc/shadow"); !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("stepped down, it can read secrets: %v", err)
	}
	if bits, err := Prctl(unix.PR_GET_SECUREBITS); bits != 0 || err != nil {
		return fmt.Errorf("securebits %#x, %v", bits, err)
	}
	root := Credentials{Permitted: was.Permitted, Effective: was.Permitted}
	if err := WithCredentials(root, func() error { return readable("/etc/shadow") }); err != nil {
		return err
	}
	if err := withOverride(); err != nil {
		return err
	}
	return Drop(nobody, nobody, lent.Groups, 0)
}

// withOverride uses one capability in one thread for one moment.
func withOverride() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := WithEffective(1<<unix.CAP_DAC_OVERRIDE, func() error { return readable("/etc/shadow") })
	if err == nil && readable("/etc/shadow") == nil {
		err = errors.New("the capability stayed effective")
	}
	return err
}

func readable(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return err
}

// playSplit changes one thread behind the package's back.
func playSplit() error {
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		Syscall(unix.SYS_CAPSET, Buf(abi.CapHeader(0)), Buf(abi.CapData(0, 0, 0)))
		close(ready)
		select {}
	}()
	<-ready
	if _, err := OwnCredentials(); err == nil {
		return errors.New("a thread of its own opinion was not noticed")
	}
	return nil
}

func TestDropEverywhere(t *testing.T)    { inRole(t, "drop") }
func TestDropKeepsCaps(t *testing.T)     { inRole(t, "keep") }
func TestDropToOneself(t *testing.T)     { inRole(t, "self") }
func TestStepDown(t *testing.T)          { inRole(t, "down") }
func TestThreadsThatDiffer(t *testing.T) { inRole(t, "split") }

func TestWithCredentials(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	before, err := OwnCredentials()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "") // t.TempDir lies in one for root only
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o777)
	path := filepath.Join(dir, "f")
	c := Credentials{UID: abi.IDs{Real: 1, Effective: 2, Saved: 3, FS: 4}, GID: abi.IDs{Real: 5, Effective: 6, Saved: 7, FS: 7}, Groups: []uint32{9},
		Permitted: 1 << unix.CAP_KILL, Inheritable: 1 << unix.CAP_KILL, Ambient: 1 << unix.CAP_KILL}
	err = WithCredentials(c, func() error {
		got, err := ThreadCredentials()
		if err != nil {
			return err
		}
		got.Bounding = 0
		if !got.Equal(&c) {
			return fmt.Errorf("it wears %+v", got)
		}
		if _, err := Syscall(unix.SYS_MKNODAT, Int(unix.AT_FDCWD), Str(path), Int(unix.S_IFREG|0o600), Int(0)); err != nil {
			return err
		}
		return unix.ENOTTY
	})
	if err != unix.ENOTTY {
		t.Error(err)
	}
	st, err := StatAt(unix.AT_FDCWD, path)
	if err != nil || st.UID != 4 || st.GID != 7 {
		t.Errorf("%+v %v", st, err)
	}
	if after, err := OwnCredentials(); err != nil || !after.Equal(&before) {
		t.Errorf("%+v %v", after, err)
	}
}

func TestThrowawayThreads(t *testing.T) {
	for range 200 {
		tid := 0
		onThrowawayThread(func() error { tid = unix.Gettid(); return nil })
		if tid == unix.Getpid() || unix.Tgkill(unix.Getpid(), tid, 0) != unix.ESRCH {
			t.Fatal("the thread lives on")
		}
	}
}

func TestDumpable(t *testing.T) {
	was, err := Dumpable()
	if err != nil {
		t.Fatal(err)
	}
	defer SetDumpable(was)
	for _, v := range []int{0, 1} {
		if err := SetDumpable(v); err != nil {
			t.Error(err)
		}
		if got, err := Dumpable(); got != v || err != nil {
			t.Error(got, err)
		}
	}
	if e, err := Elevated(); e || err != nil {
		t.Error(e, err)
	}
}
