package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/test/harness"
)

// forgedImages is how many images TestUnsignedGetsNothing tries. CKPT_FORGED names another number, and CKPT_FORGE_SEED where to begin.
const forgedImages = 1000

// batch is how many of them one sandbox tries.
const batch = 50

// TestUnsignedGetsNothing forges unsigned images that ask for ids, groups, capabilities, files and whatever else a record can say, and has
// alice, or root, restore them with every rstr that is lent authority. Not one process of theirs ends with a right that its caller lacks, as the
// kernel tells it, and no rstr crashes.
func TestUnsignedGetsNothing(t *testing.T) {
	n, seed := forgedImages, uint64(time.Now().UnixNano())
	if s := os.Getenv("CKPT_FORGED"); s != "" {
		n = parsed(t, s, strconv.Atoi)
	}
	if s := os.Getenv("CKPT_FORGE_SEED"); s != "" {
		seed = parsed(t, s, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	}
	o := newOffice(t)
	o.etc("policy.toml", asRoot)
	var originals []*original
	for _, name := range []string{"tiny", "threads", "tree", "pipes", "sock_pair", "file_owner", "file_deleted", "mem_memfd", "timers_posix", "sig_pending"} {
		originals = append(originals, o.original(name))
	}
	ways := []way{
		{harness.Alice, o.suid}, {harness.Alice, o.rstr("rstr-cap", 0o755, unix.CAP_CHECKPOINT_RESTORE)},
		{harness.Alice, o.rstr("rstr-caps", 0o755, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SETUID, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE)},
		{harness.Superuser, o.rstr("rstr", 0o755)},
	}
	codes, mu := map[int]int{}, sync.Mutex{}
	limit := make(chan struct{}, 4)
	var all sync.WaitGroup
	for from := 0; from < n && !t.Failed(); from += batch {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			dir := filepath.Join(o.Dir, fmt.Sprint("forged", from))
			did := forgeAll(t, dir, originals, seed+uint64(from), min(batch, n-from))
			by := ways[from/batch%len(ways)]
			o.tryAll(dir, by, func(name string, code int, said string) {
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
				if by.user.ID == 0 && code == 0 {
					said += " root restored it"
				}
				if said != "" {
					t.Errorf("%s by %s with %s, exit code %d: %s\n%s", name, by.user.Name, filepath.Base(by.rstr), code, did[name], said)
				}
			})
			os.RemoveAll(dir)
		})
	}
	all.Wait()
	t.Logf("%d forged images from seed %d on, by exit code: %v", n, seed, codes)
	if codes[0] == 0 || codes[cli.Refused] == 0 {
		t.Errorf("none was restored, or none refused: nothing was tried")
	}
}

// way is who restores by which rstr.
type way struct {
	user harness.User
	rstr string
}

// original is the unsigned image of a fixture of alice's.
func (o *office) original(name string) *original {
	o.t.Helper()
	j := o.begin(harness.Alice, name)
	data, err := os.ReadFile(o.dump(harness.Superuser, j))
	if err != nil {
		o.t.Fatal(err)
	}
	x := &original{name: name, data: data}
	x.m = x.decode(o.t)
	for _, b := range x.m.Blobs {
		raw, err := x.reader.ReadBlob(b, 1<<30)
		if err != nil {
			o.t.Fatal(err)
		}
		x.blobs = append(x.blobs, raw)
	}
	return x
}

// forgeAll writes forged images into a directory and says what was done to each.
func forgeAll(t *testing.T, dir string, originals []*original, seed uint64, n int) map[string]string {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Error(err)
		return nil
	}
	did := map[string]string{}
	for i := range n {
		f := &forger{Rand: rand.New(rand.NewPCG(seed+uint64(i), 1)), others: originals}
		x := originals[f.IntN(len(originals))]
		name := fmt.Sprintf("%d.ckpt", i)
		b, err := x.forged(f.privileged)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
		did[name] = fmt.Sprintf("seed %d, %s: %s", seed+uint64(i), x.name, strings.Join(f.did, "; "))
	}
	return did
}

// forged writes the image anew, without a signature.
func (o *original) forged(change func(*image.Manifest)) ([]byte, error) {
	r, err := image.Open(bytes.NewReader(o.data), int64(len(o.data)))
	if err != nil {
		return nil, err
	}
	m, err := r.Decode()
	if err != nil {
		return nil, err
	}
	change(m)
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	for i, b := range m.Blobs {
		raw := o.blobs[min(i, len(o.blobs)-1)]
		if _, err := w.Blob(source{raw, b.Extents}, b.Extents); err != nil {
			return nil, err
		}
	}
	err = w.Close(&image.Manifest{Header: m.Header, PIDs: m.PIDs, Tree: m.Tree, Records: m.Records}, nil)
	return out.Bytes(), err
}

// privileged asks for what its caller lacks, in one to four places, and now and then makes another change.
func (f *forger) privileged(m *image.Manifest) {
	for range 1 + f.IntN(4) {
		switch f.IntN(8) {
		case 0:
			f.change(m)
		case 1:
			m.Header.Class = []string{"operator", "host", "self"}[f.IntN(3)]
			m.Header.Signer = []string{"ops@test", "", "root"}[f.IntN(3)]
			m.Header.Audience = []string{"here.test", ""}[f.IntN(2)]
			m.Header.Ceiling = []string{"uid:0", "cap:sys_admin"}
			f.say("header of class %s by %q", m.Header.Class, m.Header.Signer)
		default:
			f.changeIDs(m)
		}
	}
}

// changeIDs makes ids and capabilities of a record others.
func (f *forger) changeIDs(m *image.Manifest) {
	for range 50 {
		r := f.record(m)
		k := kinds.All().Named(r.Kind)
		body, err := k.Decode(r.Version, r.Body)
		if err != nil {
			continue
		}
		changed := 0
		all := f.IntN(3) == 0 // of the record, to the same
		to := []uint64{0, 1, 20002, 20001, 65534}[f.IntN(5)]
		kind.Walk(body, func(v reflect.Value) error {
			if !all && f.IntN(3) != 0 {
				return nil
			}
			switch v.Interface().(type) {
			case credmap.UID, credmap.GID:
				v.SetUint(to)
				changed++
			case credmap.Caps:
				v.SetUint([]uint64{1<<41 - 1, 1 << f.IntN(41), 0}[f.IntN(3)])
				changed++
			}
			return nil
		})
		if b, err := image.Marshal(body); err == nil && changed > 0 {
			r.Body = b
			f.say("%s of %d/%d: %d ids, as %d", r.Kind, r.Site, r.ID, changed, to)
			return
		}
	}
}

// tryAll restores all images of a directory, each in turn, in namespaces of their own, and hears of each its exit code and what was wrong.
func (o *office) tryAll(dir string, by way, tell func(name string, code int, said string)) {
	script := filepath.Join(o.Dir, "try")
	o.once(script, tryScript)
	enter := ""
	want := "Uid: 0 0 0 0" // root's are refused, and nothing is left
	if by.user.ID != 0 {
		as := o.As(by.user)
		for i, word := range as {
			if strings.HasSuffix(word, "setpriv") {
				enter = strings.Join(as[i:], " ")
			}
		}
		want = "Uid: 20001 20001 20001 20001;Gid: 20001 20001 20001 20001;Groups: 20001 20010;CapInh: 0000000000000000;CapPrm: 0000000000000000;" +
			"CapEff: 0000000000000000;CapAmb: 0000000000000000;"
	}
	argv := o.As(harness.Superuser, "/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts", "--propagation", "private",
		"/bin/sh", script, dir, o.t.TempDir(), enter, by.rstr, want)
	res, err := once(harness.Command{Argv: argv, Env: []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}, Limit: 5 * time.Minute})
	if err != nil || !res.OK() || !strings.HasSuffix(res.Stdout, "done\n") {
		o.t.Errorf("the sandbox: %v, %v", res, err)
		return
	}
	for line := range strings.Lines(strings.TrimSuffix(res.Stdout, "done\n")) {
		var name string
		var code int
		if _, err := fmt.Sscan(line, &name, &code); err != nil {
			o.t.Errorf("the sandbox says %q", line)
			continue
		}
		_, said, _ := strings.Cut(strings.TrimSpace(line), fmt.Sprint(" ", code, " "))
		tell(name, code, said)
	}
}

func (o *office) once(path, text string) {
	if _, err := os.Stat(path); err == nil {
		return
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		o.t.Error(err)
	}
	if err := os.Rename(path+".new", path); err != nil && !os.IsNotExist(err) {
		o.t.Error(err)
	}
}

// tryScript is the first process of its PID namespace. /tmp is a copy there, in which nothing that an image does reaches anybody.
const tryScript = `dir=$1 room=$2 enter=$3 rstr=$4 want=$5
[ $$ = 1 ] || exit 9
mount -t proc proc /proc && mount -t tmpfs box "$room" && mkdir "$room/up" "$room/work" && chmod 1777 "$room/up" &&
mount -t overlay box -o "lowerdir=/tmp,upperdir=$room/up,workdir=$room/work" /tmp || exit 9
others() {
	for p in /proc/[0-9]*; do
		case ${p##*/} in 1|$$) ;; *) echo "${p##*/}" ;; esac
	done
}
for image in "$dir"/*.ckpt; do
	said=$(timeout -s KILL 20 $enter "$rstr" --detach "$image" 2>&1 </dev/null)
	code=$?
	wrong=
	case $said in *goroutine\ *|*panic:*) wrong="it crashed: $said" ;; esac
	[ $code = 137 ] && wrong="it hangs: $said"
	for p in $(others); do
		is=$(sed -n 's/[[:space:]]*$//; s/[[:space:]][[:space:]]*/ /g; /^\(Uid\|Gid\|Groups\|CapInh\|CapPrm\|CapEff\|CapAmb\):/p' "/proc/$p/status" 2>/dev/null | tr '\n' ';')
		[ -z "$is" ] || [ "$is" = "$want" ] || wrong="$wrong process $p is $is"
	done
	for p in $(others); do kill -KILL "$p" 2>/dev/null; done
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		[ -z "$(others)" ] && break
		sleep 0.01
	done
	echo "${image##*/} $code $(echo "$wrong" | tr '\n' ' ')"
done
echo done
`
