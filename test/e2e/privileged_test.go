package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
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

// forgedImages is how many images TestForgedRights tries. CKPT_FORGED names another number, and CKPT_FORGE_SEED where to begin.
const forgedImages = 1000

// clerks is a rule by which the clerk's signature gives alice the PIDs of her own programs back, and nothing else.
const clerks = `
[[restore]]
name = "clerks"
signers = ["clerk@test"]
classes = ["operator"]
users = ["alice"]
replay = true
[restore.grant]
pids = ["here"]
also = ["exe-link", "map-files"]
`

// TestForgedRights forges images that ask for ids, groups, capabilities, files and whatever else a record can say, unsigned or signed by
// somebody who may grant PIDs alone, and has alice, or root, restore them with every rstr that is lent authority. Not one process of theirs
// ends with a right that its caller lacks, as the kernel tells it, no file is made that is not hers, what fails leaves nothing, and no rstr
// crashes.
func TestForgedRights(t *testing.T) {
	n, seed := forgedImages, uint64(time.Now().UnixNano())
	if s := os.Getenv("CKPT_FORGED"); s != "" {
		n = parsed(t, s, strconv.Atoi)
	}
	if s := os.Getenv("CKPT_FORGE_SEED"); s != "" {
		seed = parsed(t, s, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	}
	o := newOffice(t)
	o.etc("policy.toml", asRoot+clerks)
	order := cageOrder{Originals: filepath.Join(o.Dir, "originals"), Key: filepath.Join(o.Dir, "clerk"), Seed: seed, End: n, Ways: o.ways()}
	o.clerk(order.Key)
	if err := os.Mkdir(order.Originals, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tiny", "threads", "tree", "pipes", "sock_pair", "file_owner", "file_deleted", "mem_memfd", "timers_posix", "sig_pending"} {
		o.original(order.Originals, name)
	}
	order.Step = min(4, runtime.NumCPU())
	results := make([][]trial, order.Step)
	var all sync.WaitGroup
	for k := range order.Step {
		mine := order
		mine.First = k
		all.Go(func() { results[k] = o.cage(mine) })
	}
	all.Wait()
	counts, codes := map[string]int{}, map[int]int{}
	for _, r := range slices.Concat(results...) {
		codes[r.Code]++
		counts[r.Way+": "+r.Reason]++
		if r.Wrong == "" && r.Code == cli.OK && strings.HasPrefix(r.Way, "root") {
			r.Wrong = "root restored it"
		}
		if r.Wrong != "" {
			t.Errorf("seed %d, %s, %s\nexit code %d: %s", r.Seed, r.Way, r.Did, r.Code, r.Wrong)
		}
	}
	t.Logf("%d forged images from seed %d on, by exit code: %v", n, seed, codes)
	if n > forgedImages {
		t.Log(table(counts))
	}
	if n >= forgedImages && (codes[cli.OK] == 0 || codes[cli.Refused] == 0) {
		t.Errorf("none was restored, or none refused: nothing was tried")
	}
}

// table lists counts, the highest first.
func table(counts map[string]int) string {
	var out strings.Builder
	for _, what := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) }) {
		fmt.Fprintf(&out, "\n%7d %s", counts[what], what)
	}
	return out.String()
}

// ways are all who restore, by all that can be lent to rstr.
func (o *office) ways() []way {
	alice := []uint32{20001, 20010}
	pids := o.rstr("rstr-cap", 0o755, unix.CAP_CHECKPOINT_RESTORE)
	much := o.rstr("rstr-caps", 0o755, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SETUID, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE)
	return []way{
		{"alice, set-user-id", uint32(harness.Alice.ID), alice, o.suid, false},
		{"alice, with a capability", uint32(harness.Alice.ID), alice, pids, false},
		{"alice, with many capabilities", uint32(harness.Alice.ID), alice, much, false},
		{"root", 0, nil, o.rstr("rstr", 0o755), false},
		{"alice, set-user-id, signed", uint32(harness.Alice.ID), alice, o.suid, true},
	}
}

// clerk makes a key that the administrator trusts beside the operator's.
func (o *office) clerk(key string) {
	o.t.Helper()
	o.keygen(key)
	trusted, err := os.ReadFile(filepath.Join(o.Etc, "ckpt/allowed_signers"))
	if err != nil {
		o.t.Fatal(err)
	}
	o.trust("clerk@test", key)
	more, err := os.ReadFile(filepath.Join(o.Etc, "ckpt/allowed_signers"))
	if err != nil {
		o.t.Fatal(err)
	}
	o.etc("allowed_signers", string(trusted)+string(more))
}

// cage has a cage try its images.
func (o *office) cage(order cageOrder) (out []trial) {
	self, err := os.Executable()
	if err != nil {
		o.t.Error(err)
		return nil
	}
	orders := filepath.Join(o.Dir, fmt.Sprint("orders", order.First))
	b, err := json.Marshal(order)
	if err == nil {
		err = os.WriteFile(orders, b, 0o600)
	}
	if err != nil {
		o.t.Error(err)
		return nil
	}
	argv := o.As(harness.Superuser, "/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts", "--propagation", "private",
		self, cageWord, orders)
	in, keep, err := os.Pipe()
	if err != nil {
		o.t.Error(err)
		return nil
	}
	defer in.Close()
	defer keep.Close()
	res, err := once(harness.Command{Argv: argv, Stdin: in, Env: []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}, Limit: 2 * time.Hour})
	if err != nil || !res.OK() || !strings.HasSuffix(res.Stdout, "done\n") {
		o.t.Errorf("the cage: %v, %v", res, err)
	}
	for line := range strings.Lines(res.Stdout) {
		var r trial
		if json.Unmarshal([]byte(line), &r) == nil {
			out = append(out, r)
		}
	}
	return out
}

// original writes the unsigned image of a fixture of alice's into a directory.
func (o *office) original(dir, name string) {
	o.t.Helper()
	image := o.dump(harness.Superuser, o.begin(harness.Alice, name))
	data, err := os.ReadFile(image)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".ckpt"), data, 0o644)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// loaded reads an image that is to be forged.
func loaded(path string) (*original, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o := &original{name: strings.TrimSuffix(filepath.Base(path), ".ckpt"), data: data}
	if o.reader, err = image.Open(bytes.NewReader(data), int64(len(data))); err != nil {
		return nil, err
	}
	if o.m, err = o.reader.Decode(); err != nil {
		return nil, err
	}
	for _, b := range o.m.Blobs {
		raw, err := o.reader.ReadBlob(b, 1<<30)
		if err != nil {
			return nil, err
		}
		o.blobs = append(o.blobs, raw)
	}
	return o, nil
}

// forged writes the image anew, without a signature where sign is nil.
func (o *original) forged(change func(*image.Manifest), sign func([]byte) ([][]byte, error)) ([]byte, error) {
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
	w := image.NewWriter(&out, image.Options{Codec: image.CodecNone, Workers: 1})
	for i, b := range m.Blobs {
		raw := o.blobs[min(i, len(o.blobs)-1)]
		if _, err := w.Blob(source{raw, b.Extents}, b.Extents); err != nil {
			return nil, err
		}
	}
	err = w.Close(&image.Manifest{Header: m.Header, PIDs: m.PIDs, Tree: m.Tree, Records: m.Records}, sign)
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
