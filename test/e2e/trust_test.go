package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestAskedBeforeFrozen: while somebody looks for the passphrase the target runs on, untraced; with a wrong one it was never touched.
func TestAskedBeforeFrozen(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	dir := t.TempDir()
	key, saw := filepath.Join(dir, "key"), filepath.Join(dir, "saw")
	if res := runs(t, harness.Command{Argv: []string{"/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key}}); !res.OK() {
		t.Fatal(res)
	}
	pid := strconv.Itoa(j.pid)
	for answer, code := range map[string]int{"secret": cli.OK, "wrong": cli.NotAllowed} {
		ask := filepath.Join(dir, answer)
		script := "#!/bin/sh\nawk '/^(State|TracerPid)/ { print $2 }' /proc/" + pid + "/status >> " + saw + "\necho " + answer + "\n"
		if err := os.WriteFile(ask, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		image := j.image()
		res := runs(t, harness.Command{Argv: []string{shared.tool("ckpt"), "--sign=" + key, "-o", image, pid},
			Env: append(os.Environ(), "HOME="+dir, "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force")})
		if res.Code() != code {
			t.Errorf("answer %q: %v", answer, res)
		}
		if _, err := os.Stat(image); (err == nil) != (code == cli.OK) {
			t.Errorf("answer %q: the image: %v", answer, err)
		}
	}
	// One question was answered rightly, three wrongly.
	b, err := os.ReadFile(saw)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(b))
	if len(lines) != 8 {
		t.Fatalf("the question saw %q", lines)
	}
	for i := 0; i < len(lines); i += 2 {
		if !strings.Contains("RSD", lines[i]) || lines[i+1] != "0" {
			t.Errorf("meanwhile the target was in state %s, traced by %s", lines[i], lines[i+1])
		}
	}
	j.goesOn(2)
}

// TestKeyIsKept: of a ckpt that holds a key the kernel shows its own user nothing; the files in /proc of such a process are root's. It
// dumps all the same.
func TestKeyIsKept(t *testing.T) {
	t.Parallel()
	j := userJob(t, "tiny")
	home := filepath.Dir(j.status)
	key, saw, ask := filepath.Join(home, "key"), filepath.Join(home, "saw"), filepath.Join(home, "ask")
	if res := runs(t, harness.Command{Argv: []string{"/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key}}); !res.OK() {
		t.Fatal(res)
	}
	if err := os.Chown(key, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nstat -c %u /proc/$PPID/environ > " + saw + "\necho secret\n"
	if err := os.WriteFile(ask, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	image, pid := j.image(), strconv.Itoa(j.pid)
	res := runs(t, harness.Command{Argv: asUser([]string{shared.tool("ckpt"), "--sign=" + key, "-o", image, pid}),
		Env: []string{"HOME=" + home, "PATH=/usr/bin:/bin", "SSH_ASKPASS=" + ask, "SSH_ASKPASS_REQUIRE=force"}})
	if !res.OK() {
		t.Fatal(res)
	}
	if b, err := os.ReadFile(saw); err != nil || string(b) != "0\n" {
		t.Errorf("the question saw owner %q, %v", b, err)
	}
	j.goesOn(2)
}

// TestShowAsOrdinaryUser: what an image is, anybody who can read it can see; of a bad one that comes first.
func TestShowAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	image := j.image()
	if res := ckpt(t, "--sign", "--valid-for=1d", "--for=elsewhere", "-o", image, strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(b)
	bad[len(bad)-70] ^= 1
	dir := t.TempDir()
	reachable(t, dir, shared.Bin)
	show := func(name string, b []byte) harness.Result {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return runs(t, harness.Command{Argv: asUser([]string{shared.tool("ckpt"), "show", path}), Env: []string{"HOME=" + dir}})
	}
	res := show("good", b)
	for _, want := range []string{"signed     it says by \"SHA256:", "trusted    no", "expires    ", "for        host \"elsewhere\"", "lineage    ", "process    " + strconv.Itoa(j.pid)} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if res.Code() != cli.WrongHost || !strings.HasPrefix(res.Stdout, "BAD IMAGE  verify image: image for another host") {
		t.Errorf("%v", res)
	}
	if res := show("bad", bad); res.Code() != cli.BadSign || !strings.HasPrefix(res.Stdout, "BAD IMAGE  verify image: signature 1: ") ||
		!strings.Contains(res.Stdout, "process    "+strconv.Itoa(j.pid)) {
		t.Errorf("%v", res)
	}
}

// TestRewrittenWhileRestored: an image file that is rewritten while it is being restored gives what was signed, or nothing.
func TestRewrittenWhileRestored(t *testing.T) {
	t.Parallel()
	j := fixture(t, "load", "memory", "8")
	before := memoryOf(t, j.pid)
	image := j.dump()
	good, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(j.status)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		scribble(f, good, stop)
	}()
	defer func() { close(stop); <-done }()
	right, refused := 0, 0
	for end := time.Now().Add(patience); (right < 3 || refused < 3) && time.Now().Before(end); {
		if err := os.WriteFile(j.status, status, 0o600); err != nil {
			t.Fatal(err)
		}
		res := rstr(t, "--verify", "--detach", image)
		switch res.Code() {
		case cli.OK:
			right++
			if memoryOf(t, j.pid) != before {
				t.Fatal("the memory is not what it was")
			}
			j.goesOn(2)
			tree := harness.Tree(j.pid)
			j.end()
			if err := harness.WaitGone(patience, tree...); err != nil {
				t.Fatal(err)
			}
		case cli.BadImage, cli.BadSign:
			refused++
			if j.left() {
				t.Fatalf("refused, and yet it is there: %v", res)
			}
		default:
			t.Fatal(res)
		}
	}
	if right == 0 || refused == 0 {
		t.Errorf("%d right, %d refused: the writer proves nothing", right, refused)
	}
	t.Logf("%d right, %d refused", right, refused)
}

// memoryOf is a digest of a process's largest mapping, which the load never writes to again.
func memoryOf(t *testing.T, pid int) [32]byte {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var at, size int64
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x rw-p", &from, &to); err == nil && to-from > size {
			at, size = from, to-from
		}
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	b := make([]byte, size)
	if _, err := mem.ReadAt(b, at); err != nil || size < 8<<20 {
		t.Fatalf("%d bytes at %x: %v", size, at, err)
	}
	return sha256.Sum256(b)
}

// scribble writes what nobody signed to random places of an image, and what was signed again, as fast as rstr reads.
func scribble(f *os.File, good []byte, stop chan struct{}) {
	random := rand.New(rand.NewPCG(1, 2))
	junk := make([]byte, 4096)
	for {
		select {
		case <-stop:
			return
		default:
		}
		at := random.IntN(len(good))
		n := min(len(junk), len(good)-at)
		_, _ = f.WriteAt(junk[:n], int64(at))
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		_, _ = f.WriteAt(good[at:at+n], int64(at))
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
	}
}
