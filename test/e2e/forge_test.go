package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
	"github.com/ckptool/ckpt/test/harness"
)

// forgeTime is how long forged images are tried. CKPT_FORGE_TIME names another
// time, and CKPT_FORGE_SEED where to begin; a failure says which seed it had.
const forgeTime = 60 * time.Second

// TestForgedImages signs images that no dump wrote with a key that root
// trusts, and has root restore them: fields of records changed, records
// exchanged, references led elsewhere. Whatever they say, rstr ends in time,
// with an exit code that it documents, and leaves nothing behind if it fails.
//
// Each runs in namespaces of its own on a copy of the file system, so that
// what such an image might do reaches nobody.
func TestForgedImages(t *testing.T) {
	budget, seed := forgeTime, uint64(time.Now().UnixNano())
	if s := os.Getenv("CKPT_FORGE_TIME"); s != "" {
		budget = parsed(t, s, time.ParseDuration)
	}
	if s := os.Getenv("CKPT_FORGE_SEED"); s != "" {
		seed = parsed(t, s, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	}
	var originals []*original
	for _, name := range []string{"tiny", "threads", "share", "tree", "pipes", "epoll", "sock_pair", "sock_listen", "file_regular", "file_owner",
		"file_locks", "file_deleted", "mem_memfd", "mem_file", "mem_shared", "timers_posix", "timers_itimer", "sig_pending", "timerfd", "pidfd", "inotify"} {
		if o := newOriginal(t, name); o != nil {
			originals = append(originals, o)
		}
	}
	box := newSandbox(t)
	codes := map[int]int{}
	for _, o := range originals {
		res := box.restore(t, o.rewrite(t, func(*image.Manifest) {}))
		if codes[res.Code()]++; !res.OK() {
			t.Errorf("%s, not changed: %v", o.name, res)
		}
	}
	tried := 0
	for end := time.Now().Add(budget); time.Now().Before(end) && !t.Failed(); tried++ {
		seed++
		f := &forger{Rand: rand.New(rand.NewPCG(seed, 0)), others: originals}
		o := originals[f.IntN(len(originals))]
		img := o.rewrite(t, f.change)
		codes[box.judge(t, img, fmt.Sprintf("seed %d, %s: %s", seed, o.name, strings.Join(f.did, "; ")))]++
	}
	t.Logf("%d forged images, by exit code: %v", tried, codes)
}

func parsed[T any](t *testing.T, s string, parse func(string) (T, error)) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// original is the image of a fixture.
type original struct {
	name   string
	data   []byte
	reader *image.Reader
	blobs  [][]byte
	m      *image.Manifest
	signer *sign.Signer
	dir    string // of the job
}

func newOriginal(t *testing.T, name string) *original {
	t.Helper()
	j := fixture(t, name)
	path := j.image()
	if res := ckpt(t, "--sign", "--kill", "-o", path, strconv.Itoa(j.pid)); !res.OK() {
		t.Logf("without %s: %v", name, res)
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &original{name: name, data: data, dir: j.dir}
	if o.m = o.decode(t); o.m == nil {
		return nil
	}
	for _, b := range o.m.Blobs {
		raw, err := o.reader.ReadBlob(b, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		o.blobs = append(o.blobs, raw)
	}
	class, _ := sshsig.ClassNamed(o.m.Header.Class)
	o.signer, err = sign.Open(filepath.Join(shared.temp, "config/ckpt/id_ed25519"), sign.Options{Class: class, Principal: o.m.Header.Signer})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// decode gives a manifest that may be changed.
func (o *original) decode(t *testing.T) *image.Manifest {
	t.Helper()
	var err error
	if o.reader, err = image.Open(bytes.NewReader(o.data), int64(len(o.data))); err != nil {
		t.Fatal(err)
	}
	m, err := o.reader.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// source is a blob as it was, wherever its extents are now.
type source struct {
	raw     []byte
	extents image.Extents
}

func (s source) ReadAt(p []byte, off int64) (int, error) {
	at := uint64(0)
	for _, e := range s.extents {
		if uint64(off) >= e.Off && uint64(off) < e.End() {
			n := copy(p, s.raw[min(at+uint64(off)-e.Off, uint64(len(s.raw))):])
			clear(p[n:])
			return len(p), nil
		}
		at += e.Len
	}
	return 0, io.EOF
}

// rewrite changes the manifest and writes and signs the image anew.
func (o *original) rewrite(t *testing.T, change func(*image.Manifest)) string {
	t.Helper()
	m := o.decode(t)
	change(m)
	path := filepath.Join(t.TempDir(), "forged.ckpt")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := image.NewWriter(out, image.Options{})
	for i, b := range m.Blobs {
		raw := o.blobs[min(i, len(o.blobs)-1)]
		if _, err := w.Blob(source{raw, b.Extents}, b.Extents); err != nil {
			t.Fatal(err)
		}
	}
	fresh := &image.Manifest{Header: m.Header, PIDs: m.PIDs, Tree: m.Tree, Records: m.Records}
	err = w.Close(fresh, func(b []byte) ([][]byte, error) { return sign.All(b, o.signer) })
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sandbox is where images are restored that might do anything.
type sandbox struct{ unshare, shell, script string }

// newSandbox writes the script that is the first process of its namespaces:
// it restores an image and lists what is left of it, processes and files. A
// file that was just opened for writing is the copy of the one below; and the
// dead file of a socket may be another one by now. The log is there to stay.
func newSandbox(t *testing.T) sandbox {
	t.Helper()
	s := sandbox{script: filepath.Join(t.TempDir(), "sandbox")}
	var err error
	if s.unshare, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	if s.shell, err = exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	text := `set -e
mount -t tmpfs box "$2"
mkdir "$2/up" "$2/work" "$2/root"
mount -t overlay box -o "lowerdir=/,upperdir=$2/up,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
set +e
timeout -s KILL 25 chroot "$2/root" "$1" --verify --detach "$3"
code=$?
if [ $code != 0 ]; then
	for i in 1 2 3 4 5 6 7 8 9 10; do
		left=
		for p in "$2"/root/proc/[0-9]*; do
			case ${p##*/} in 1|$$) ;; *) read -r name < "$p/comm" && left="$left ${p##*/}($name)" ;; esac
		done
		[ -z "$left" ] && break
		sleep 0.1
	done
	[ -z "$left" ] || echo "left behind: processes$left"
	cd "$2/up"
	find . -mindepth 1 ! -type d ! -path ./var/log/ckpt.log | while read -r f; do [ -S "$f" -a -S "/$f" ] || cmp -s "$f" "/$f" || ls -ld "$f" | sed 's/^/left behind: /'; done
	cd /
fi
echo "code $code"
exit $code
`
	if err := os.WriteFile(s.script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s sandbox) restore(t *testing.T, img string) harness.Result {
	t.Helper()
	return runs(t, harness.Command{Limit: 40 * time.Second, Argv: []string{s.unshare, "--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts",
		"--propagation", "private", s.shell, s.script, shared.tool("rstr"), t.TempDir(), img}})
}

// judge restores a forged image and gives the exit code.
func (s sandbox) judge(t *testing.T, img, what string) int {
	t.Helper()
	defer os.Remove(img)
	res := s.restore(t, img)
	code := res.Code()
	documented := slices.ContainsFunc(cli.Codes(), func(c cli.CodeText) bool { return c.Code == code })
	switch {
	case res.TimedOut, code == 124, code == 137:
		t.Errorf("%s: hangs: %v", what, res)
	case strings.Contains(res.Stderr, "goroutine "), strings.Contains(res.Stderr, "panic"), code == cli.Usage, !documented:
		t.Errorf("%s: crashes: %v", what, res)
	case strings.Contains(res.Stdout, "left behind"):
		t.Errorf("%s: %v", what, res)
	case res.MaxRSS > 1<<30:
		t.Errorf("%s: %d MiB: %v", what, res.MaxRSS>>20, res)
	}
	if testing.Verbose() && os.Getenv("CKPT_FORGE_SEED") != "" {
		t.Logf("%s: %v", what, res)
	}
	return code
}

// forger changes manifests.
type forger struct {
	*rand.Rand
	others []*original
	did    []string
}

func (f *forger) say(format string, a ...any) { f.did = append(f.did, fmt.Sprintf(format, a...)) }

// change makes one to three changes that are likely to be seen late.
func (f *forger) change(m *image.Manifest) {
	for range 1 + f.IntN(3) {
		switch f.IntN(10) {
		case 0:
			f.changeTree(m)
		case 1:
			f.exchange(m)
		case 2:
			f.transplant(m)
		case 3:
			f.changeBlobs(m)
		default:
			f.changeRecord(m)
		}
	}
}

func (f *forger) record(m *image.Manifest) *image.Record { return &m.Records[f.IntN(len(m.Records))] }

// changeRecord changes fields of a record so that it still passes its check,
// if that can be had by trying.
func (f *forger) changeRecord(m *image.Manifest) {
	r := f.record(m)
	k := kinds.All().Named(r.Kind)
	for range 20 {
		body, err := k.Decode(r.Version, r.Body)
		if err != nil {
			return
		}
		what := f.mutate(body)
		b, err := image.Marshal(body)
		if err != nil {
			continue
		}
		if _, err := k.Decode(r.Version, b); err != nil && f.IntN(10) != 0 {
			continue
		}
		f.say("%s of %d/%d: %s", r.Kind, r.Site, r.ID, what)
		r.Body = b
		return
	}
}

// exchange swaps, doubles or drops records.
func (f *forger) exchange(m *image.Manifest) {
	a, b := f.record(m), f.record(m)
	switch f.IntN(4) {
	case 0:
		for range 50 {
			if b = f.record(m); b.Site == a.Site && b.ID != a.ID {
				break
			}
		}
		f.say("%s of %d/%d and %s of %d/%d exchanged", a.Kind, a.Site, a.ID, b.Kind, b.Site, b.ID)
		a.Kind, b.Kind, a.Body, b.Body, a.Version, b.Version = b.Kind, a.Kind, b.Body, a.Body, b.Version, a.Version
	case 1:
		f.say("%s of %d/%d renumbered", a.Kind, a.Site, a.ID)
		a.ID = b.ID
	case 2:
		f.say("%s of %d/%d doubled", a.Kind, a.Site, a.ID)
		m.Records = append(m.Records, *a)
	case 3:
		f.say("%s of %d/%d dropped", a.Kind, a.Site, a.ID)
		i := slices.IndexFunc(m.Records, func(r image.Record) bool { return r.Site == a.Site && r.ID == a.ID && r.Kind == a.Kind })
		m.Records = slices.Delete(m.Records, i, i+1)
	}
}

// transplant puts a record of another image in the place of one at the same
// sort of site, or beside it.
func (f *forger) transplant(m *image.Manifest) {
	from := f.others[f.IntN(len(f.others))].m
	for range 50 {
		a, b := f.record(m), f.record(from)
		if a.Site != b.Site || a.Kind == b.Kind {
			continue
		}
		f.say("%s of %d/%d becomes %s", a.Kind, a.Site, a.ID, b.Kind)
		if kinds.All().Named(a.Kind).Claims() == kinds.All().Named(b.Kind).Claims() {
			a.Kind, a.Version, a.Body = b.Kind, b.Version, b.Body
			return
		}
		m.Records = append(m.Records, image.Record{Site: a.Site, ID: a.ID, Kind: b.Kind, Version: b.Version, Body: b.Body})
		return
	}
}

func (f *forger) changeTree(m *image.Manifest) {
	var tree kind.Tree
	if image.Unmarshal(m.Tree, &tree) != nil {
		return
	}
	what := f.mutate(&tree)
	if b, err := image.Marshal(&tree); err == nil {
		m.Tree = b
		f.say("tree: %s", what)
	}
}

func (f *forger) changeBlobs(m *image.Manifest) {
	if len(m.Blobs) == 0 {
		return
	}
	b := &m.Blobs[f.IntN(len(m.Blobs))]
	if len(b.Extents) == 0 {
		return
	}
	x := slices.Clone(b.Extents)
	e := &x[f.IntN(len(x))]
	switch f.IntN(3) {
	case 0:
		e.Off += f.Uint64N(1<<f.IntN(46)) &^ 4095
	case 1:
		e.Off = f.Uint64N(1<<f.IntN(48)) &^ 4095
	case 2:
		e.Len = 1 + f.Uint64N(1<<20)
	}
	if x.Check() != nil || x.Size() > 64<<20 {
		return
	}
	f.say("extents %v become %v", b.Extents[:min(3, len(x))], x[:min(3, len(x))])
	b.Extents = x
}
