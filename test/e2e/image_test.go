package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// tiny dumps the smallest fixture and returns the image's bytes with the job, which is dead.
func tiny(t *testing.T) (*job, []byte) {
	t.Helper()
	j := fixture(t, "tiny")
	b, err := os.ReadFile(j.dump())
	if err != nil {
		t.Fatal(err)
	}
	return j, b
}

// refused runs rstr --verify on bytes that it must refuse, and returns why it is wrong if it does not.
func (j *job) refused(what string, image []byte) (harness.Result, bool) {
	path := filepath.Join(filepath.Dir(j.status), "bad-"+what)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		j.t.Error(err)
		return harness.Result{}, false
	}
	defer os.Remove(path)
	res, err := lucky(harness.Command{Argv: []string{shared.tool("rstr"), "--verify", "--detach", path}})
	switch {
	case err != nil:
		j.t.Error(err)
	case res.Code() != cli.BadImage && res.Code() != cli.BadSign:
		j.t.Errorf("%s: not refused: %v", what, res)
	case !strings.HasPrefix(res.Stderr, "rstr: "):
		j.t.Errorf("%s: a message without its beginning: %v", what, res)
	case strings.Contains(res.Stderr, "goroutine "):
		j.t.Errorf("%s: a crash: %v", what, res)
	case j.left():
		j.t.Errorf("%s: refused, and yet PID %d is there: %s", what, j.pid, harness.State(j.pid))
	default:
		return res, true
	}
	return res, false
}

// left tells whether something of the job is there: a process with its mark, or one at its PID that a restore has begun, which runs the
// code that rstr builds from.
func (j *job) left() bool {
	if !harness.Exists(j.pid) {
		return false
	}
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", j.pid))
	return strings.HasPrefix(exe, "/memfd:") || len(j.ours()) > 0
}

// TestEveryByte changes each byte of a small signed image, one at a time, and sees it refused with nothing created. A chunk is verified when it is
// used, and by then rstr has the PIDs, which another rstr would find taken: so the chunks, which come first, are changed one after the other;
// from the first byte that the signature covers directly, several are at once. No other test runs beside it, whose processes would have taken
// all PIDs round before it ends.
func TestEveryByte(t *testing.T) {
	j, image := tiny(t)
	codes := map[int]int{}
	var mu sync.Mutex
	change := func(at int) int {
		changed := bytes.Clone(image)
		changed[at] ^= byte(1 << (at % 8))
		res, _ := j.refused("byte-"+strconv.Itoa(at), changed)
		mu.Lock()
		defer mu.Unlock()
		codes[res.Code()]++
		return res.Code()
	}
	at := 0
	for at < len(image) && !t.Failed() && change(at) != cli.BadSign {
		at++
	}
	var next atomic.Int64
	next.Store(int64(at))
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for at := next.Add(1); int(at) < len(image) && !t.Failed(); at = next.Add(1) {
				change(int(at))
			}
		})
	}
	workers.Wait()
	t.Logf("an image of %d bytes; exit codes: %v", len(image), codes)
	if n := len(j.ours()); n > 0 {
		t.Errorf("%d processes of the job", n)
	}
	j.stillGood(image)
}

// stillGood restores the unchanged bytes: what was refused before was refused for its change.
func (j *job) stillGood(image []byte) {
	j.t.Helper()
	path := j.image()
	if err := os.WriteFile(path, image, 0o600); err != nil {
		j.t.Fatal(err)
	}
	j.restore(path)
}

// TestShowData: ckpt show says whether it has read the data, and finds what is wrong with it when it has.
func TestShowData(t *testing.T) {
	t.Parallel()
	_, image := tiny(t)
	path := filepath.Join(t.TempDir(), "image")
	show := func(code int, says string, args ...string) {
		t.Helper()
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if res := ckpt(t, append(append([]string{"show"}, args...), path)...); res.Code() != code || !strings.Contains(res.Stdout, says) {
			t.Errorf("want code %d and %q: %v", code, says, res)
		}
	}
	show(cli.OK, ", not read (--data reads it)\n")
	show(cli.OK, ", read and right\n", "--data")
	image[len(image)/4] ^= 1 // in a chunk
	show(cli.OK, ", not read (--data reads it)\n")
	show(cli.BadImage, "BAD IMAGE  the data: chunk", "--data")
}

// TestMutilated truncates, extends, reorders and repeats.
func TestMutilated(t *testing.T) {
	t.Parallel()
	j, image := tiny(t)
	n := len(image)
	for _, at := range []int{0, 1, 15, 16, 17, n / 4, n / 2, n - 100, n - 17, n - 16, n - 1} {
		j.refused("truncated-"+strconv.Itoa(at), image[:at])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		at := random.IntN(n)
		j.refused("truncated-"+strconv.Itoa(at), image[:at])
	}
	j.refused("longer", append(bytes.Clone(image), 0))
	j.refused("twice", append(bytes.Clone(image), image...))
	j.refused("junk before", append([]byte("x"), image...))
	for _, cut := range []int{16, n / 3, n / 2} {
		j.refused("halves exchanged at "+strconv.Itoa(cut), append(bytes.Clone(image[cut:]), image[:cut]...))
	}
	j.refused("zeros", make([]byte, n))
	j.refused("empty", nil)
	j.stillGood(image)
}

// TestSpliced puts parts of one signed image into another that the same key signed.
func TestSpliced(t *testing.T) {
	t.Parallel()
	j, a := tiny(t)
	_, b := tiny(t)
	n := min(len(a), len(b))
	for at := 64; at < n; at += max(1, n/40) {
		if spliced := append(bytes.Clone(a[:at]), b[at:]...); !bytes.Equal(spliced, a) && !bytes.Equal(spliced, b) {
			j.refused("spliced-"+strconv.Itoa(at), spliced)
		}
		if spliced := append(bytes.Clone(b[:len(b)-n+at]), a[len(a)-n+at:]...); !bytes.Equal(spliced, a) && !bytes.Equal(spliced, b) {
			j.refused("spliced-tail-"+strconv.Itoa(at), spliced)
		}
	}
	j.stillGood(a)
}

// TestForeignKey: a signature by a key that nobody here trusts is refused under --verify, and so is none.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	stranger := append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	signed, unsigned := j.image(), j.image()
	dump := []string{shared.tool("ckpt"), "--sign", "-o", signed, strconv.Itoa(j.pid)}
	res := runs(t, harness.Command{Argv: dump, Env: stranger})
	if !res.OK() {
		t.Fatal(res)
	}
	// The first use of a key makes it and says where.
	if !strings.Contains(res.Stderr, strings.TrimPrefix(stranger[len(stranger)-1], "XDG_CONFIG_HOME=")) {
		t.Errorf("a key was made and its place not named: %v", res)
	}
	if res := ckpt(t, "--kill", "-o", unsigned, strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	if err := harness.WaitGone(patience, j.pid); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{signed, unsigned} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		j.refused(filepath.Base(path), b)
	}
}

// TestPipes: ckpt PID | cat | rstr, without a file in between.
func TestPipes(t *testing.T) {
	t.Parallel()
	j := fixture(t, "threads")
	for range 3 {
		was := j.progress().Seq
		line := shared.tool("ckpt") + " --sign --kill " + strconv.Itoa(j.pid) + " | cat | " + shared.tool("rstr") + " --verify --detach"
		if res := runs(t, harness.Command{Argv: []string{"/bin/bash", "-o", "pipefail", "-c", line}}); !res.OK() {
			t.Fatal(res)
		}
		j.reach(was + 3)
	}
}

// TestStockVerifier: ssh-keygen -Y verify accepts what ckpt show --manifest and --signature print.
func TestStockVerifier(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	image := j.image()
	if res := ckpt(t, "--sign", "-o", image, strconv.Itoa(j.pid)); !res.OK() {
		t.Fatal(res)
	}
	dir := t.TempDir()
	for _, part := range []string{"manifest", "signature"} {
		res := ckpt(t, "show", "--"+part, image)
		if !res.OK() {
			t.Fatal(res)
		}
		if err := os.WriteFile(filepath.Join(dir, part), []byte(res.Stdout), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	signers, err := filepath.Glob(filepath.Join(shared.temp, "config", "*", "allowed_signers"))
	if err != nil || len(signers) != 1 {
		t.Fatalf("allowed_signers of the tests' home: %v, %v", signers, err)
	}
	line, err := os.ReadFile(signers[0])
	if err != nil {
		t.Fatal(err)
	}
	principal, _, _ := strings.Cut(string(line), " ")
	_, namespaces, _ := strings.Cut(string(line), `namespaces="`)
	namespaces, _, _ = strings.Cut(namespaces, `"`)
	// Which of the classes that the key may sign for it is, the signature says; each is a namespace of its own.
	accepted := func() (by []string) {
		for _, namespace := range strings.Split(namespaces, ",") {
			check := fmt.Sprintf("ssh-keygen -Y verify -f %s -I %s -n %s -s signature <manifest", signers[0], principal, namespace)
			if runs(t, harness.Command{Argv: []string{"/bin/bash", "-c", check}, Dir: dir}).OK() {
				by = append(by, namespace)
			}
		}
		return by
	}
	if by := accepted(); len(by) != 1 {
		t.Errorf("ssh-keygen accepts the manifest in the namespaces %v of %q", by, namespaces)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest"), append(manifest(t, dir), 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if by := accepted(); len(by) > 0 {
		t.Errorf("ssh-keygen accepts a changed manifest in %v", by)
	}
}

func manifest(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOutputFile: an image appears whole, private, and never over another file unless asked.
func TestOutputFile(t *testing.T) {
	t.Parallel()
	j := fixture(t, "tiny")
	pid, image := strconv.Itoa(j.pid), j.image()
	if err := os.WriteFile(image, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if res := ckpt(t, "--sign", "-o", image, pid); res.OK() {
		t.Errorf("it wrote over a file: %v", res)
	}
	if b, _ := os.ReadFile(image); string(b) != "precious" {
		t.Error("the file that was there has changed")
	}
	if res := ckpt(t, "--sign", "-f", "-o", image, pid); !res.OK() {
		t.Errorf("with -f: %v", res)
	}
	if fi, err := os.Stat(image); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(image), "*")); len(left) != 4 { // status, dir, log, the image
		t.Errorf("files left: %v", left)
	}
	j.goesOn(2)
}
