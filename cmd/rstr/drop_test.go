package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
	"github.com/ckptool/ckpt/test/harness"
)

// newWorld is a world with this test program installed as an rstr that spies.
func newWorld(t *testing.T) *harness.World {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("installing set-id programs is for root")
	}
	dir, err := os.MkdirTemp("", "rstr-world")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w, err := harness.NewWorld(filepath.Join(dir, "w"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// spy installs a spying rstr in some manner.
func spy(t *testing.T, w *harness.World, mode os.FileMode, effective bool, caps ...uint) string {
	t.Helper()
	dir := strings.NewReplacer("/", "_", " ", "").Replace(t.Name())
	if err := os.MkdirAll(filepath.Join(w.Bin, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := w.Install(os.Args[0], dir+"/rstr-spying", mode, effective, caps...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// spied is what it tells when somebody runs it.
func spied(w *harness.World, u harness.User, argv ...string) (out, errs string, code int) {
	argv = w.As(u, argv...)
	c := exec.Command(argv[0], argv[1:]...)
	var o, e bytes.Buffer
	c.Stdout, c.Stderr, c.Env = &o, &e, []string{}
	c.Run()
	return o.String(), e.String(), c.ProcessState.ExitCode()
}

// When the first record is decoded, every thread has what the caller has and
// nothing more, whatever the binary was lent: but for the right to PIDs, which
// the administrator gives to all by the file capability, and which is laid by.
func TestDroppedBeforeDecoding(t *testing.T) {
	w := newWorld(t)
	image := filepath.Join(w.Dir, "image")
	wishing(t, image, "uid:0", "cap:sys_admin", "own:0:0", "rlimit:nofile")
	const (
		alice = " Uid=20001,20001,20001,20001 Gid=20001,20001,20001,20001 Groups=20001,20010"
		none  = " CapInh=0000000000000000 CapPrm=0000000000000000 CapEff=0000000000000000 CapAmb=0000000000000000"
		pids  = " CapInh=0000000000000000 CapPrm=0000010000000000 CapEff=0000000000000000 CapAmb=0000000000000000"
	)
	const suid, sgid = 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid
	root := " Uid=65534,65534,65534,65534 Gid=65534,65534,65534,65534 Groups=" + none
	for _, c := range []struct {
		name      string
		user      harness.User
		mode      os.FileMode
		effective bool
		caps      []uint
		want      string
	}{
		{"plain", harness.Alice, 0o755, false, nil, alice + none},
		{"setuid", harness.Alice, suid, false, nil, alice + none},
		{"setgid", harness.Alice, sgid, false, nil, alice + none},
		{"setuid and setgid", harness.Alice, suid | sgid, false, nil, alice + none},
		{"for PIDs", harness.Alice, 0o755, true, []uint{unix.CAP_CHECKPOINT_RESTORE}, alice + pids},
		{"for PIDs, not effective", harness.Alice, 0o755, false, []uint{unix.CAP_CHECKPOINT_RESTORE}, alice + pids},
		{"many capabilities", harness.Alice, 0o755, true, []uint{unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SETUID, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE},
			alice + pids},
		{"other capabilities", harness.Alice, 0o755, true, []uint{unix.CAP_SETUID, unix.CAP_SYS_PTRACE}, alice + none},
		{"setuid and for PIDs", harness.Alice, suid, true, []uint{unix.CAP_CHECKPOINT_RESTORE}, alice + none},
		{"root", harness.Superuser, 0o755, false, nil, root},
		{"root, setuid", harness.Superuser, suid, false, nil, root},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := spied(w, c.user, spy(t, w, c.mode, c.effective, c.caps...), "--pids", image)
			threads := 0
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, "thread") {
					continue
				}
				if threads++; line != "thread"+c.want+"\n" {
					t.Errorf("it has\n%snot\nthread%s", line, c.want)
				}
			}
			if threads < 3 {
				t.Errorf("%d threads: %s%s", threads, out, errs)
			}
			if code != cli.Refused {
				t.Errorf("exit code %d: %s", code, errs)
			}
			for _, field := range []string{"uid:0", "cap:sys_admin", "own:0:0", "rlimit:nofile"} {
				if c.user.ID == 0 && field != "uid:0" {
					continue // root has these
				}
				if !strings.Contains(errs, field) {
					t.Errorf("%s is not named: %s", field, errs)
				}
			}
		})
	}
}

// When the first record of an image is decoded that a trusted operator signed,
// nothing is effective, and no more is permitted than what the signed header
// says can be needed.
func TestCeilingBeforeDecoding(t *testing.T) {
	w := newWorld(t)
	key := filepath.Join(w.Dir, "key")
	if _, err := sign.Keygen(key, "ops", nil); err != nil {
		t.Fatal(err)
	}
	signer, err := sign.Open(key, sign.Options{Class: sshsig.Operator, Principal: "ops@test"})
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.Etc, "ckpt"), 0o755); err != nil {
		t.Fatal(err)
	}
	line := `ops@test namespaces="ckpt-image-operator@v1" ` + string(pub)
	if err := os.WriteFile(filepath.Join(w.Etc, "ckpt/allowed_signers"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	// What setting ids and building tasks that are not dumpable takes is always there.
	const always = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_KILL
	for _, c := range []struct {
		ceiling []string
		want    uint64
	}{
		{nil, always},
		{[]string{"cap:net_admin", "own"}, always | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_CHOWN | 1<<unix.CAP_FOWNER},
		{[]string{"cap:nonsense", "everything"}, always},
	} {
		path := filepath.Join(w.Dir, "image")
		h := image.Header{Class: signer.Class().String(), Signer: signer.Claim(), Created: 1700000000, Arch: "amd64", Ceiling: c.ceiling}
		written(t, path, h, func(m []byte) ([][]byte, error) { return sign.All(m, signer) }, "uid:0", "cap:sys_admin")
		out, errs, code := spied(w, harness.Alice, spy(t, w, 0o755|os.ModeSetuid, false), path)
		want := fmt.Sprintf("thread Uid=20001,20001,0,20001 Gid=20001,20001,20001,20001 Groups=20001,20010 CapInh=%016x CapPrm=%016x CapEff=%016x CapAmb=%016x", 0, c.want, 0, 0)
		if n := strings.Count(out, "thread "); n < 3 || n != strings.Count(out, want+"\n") {
			t.Errorf("with the ceiling %q it tells\n%snot\n%s", c.ceiling, out, want)
		}
		if code != cli.Refused || !strings.Contains(errs, "ceiling") {
			t.Errorf("exit code %d: %s", code, errs)
		}
	}
}
