package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// unsignedTime is how long TestUnsigned goes on, unless CKPT_FORGE_TIME says otherwise.
const unsignedTime = 15 * time.Second

// TestUnsigned: of images that nobody signed, whose fields of authority were forged, only those pass the judge that would give the
// caller what she has anyway: every process hers, with her groups and no capability, and all that is made hers.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	budget, seed := unsignedTime, uint64(time.Now().UnixNano())
	if s := os.Getenv("CKPT_FORGE_TIME"); s != "" {
		budget = parsed(t, s, time.ParseDuration)
	}
	if s := os.Getenv("CKPT_FORGE_SEED"); s != "" {
		seed = parsed(t, s, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	}
	var originals []*original
	for _, name := range []string{"tiny", "threads", "pipes", "mem_memfd", "file_deleted", "sock_listen", "timers_posix"} {
		originals = append(originals, hers(t, name))
	}
	opts := restore.Options{Table: kinds.All(), Caller: ordinaryCaller(t), Kernel: "6.18.0", Route: restore.Renumbered}
	for _, o := range originals {
		if err := o.preview(t, o.decode(t), opts); err != nil {
			t.Fatalf("%s, not changed: %v", o.name, err)
		}
	}
	tried, passed := 0, 0
	for end := time.Now().Add(budget); time.Now().Before(end) && !t.Failed(); tried++ {
		seed++
		f := &forger{Rand: rand.New(rand.NewPCG(seed, 0)), others: originals}
		o := originals[f.IntN(len(originals))]
		m := o.decode(t)
		for range 1 + f.IntN(3) {
			f.covet(m)
		}
		if o.preview(t, m, opts) != nil {
			continue
		}
		passed++
		if bad := beyond(m, opts.Caller.Creds); bad != "" {
			t.Errorf("seed %d, %s: it passes with %s after %v", seed, o.name, bad, f.did)
		}
	}
	if t.Logf("%d forged images, %d of them harmless", tried, passed); passed == 0 || passed == tried {
		t.Error("that was no test")
	}
}

// hers is the image of a fixture of the ordinary user's, from which nobody's signature is left.
func hers(t *testing.T, name string) *original {
	t.Helper()
	j := userJob(t, name)
	data, err := os.ReadFile(j.userDump())
	if err != nil {
		t.Fatal(err)
	}
	o := &original{name: name, data: data, dir: j.dir}
	for _, b := range o.decode(t).Blobs {
		raw, err := o.reader.ReadBlob(b, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		o.blobs = append(o.blobs, raw)
	}
	return o
}

// ordinaryCaller has no right, and the same limits as the test.
func ordinaryCaller(t *testing.T) kind.Caller {
	t.Helper()
	c, err := restore.FactsOfCaller()
	if err != nil {
		t.Fatal(err)
	}
	c.Creds = kind.Creds{UID: kind.UIDs{Real: ordinary, Effective: ordinary, Saved: ordinary, FS: ordinary},
		GID: kind.GIDs{Real: ordinary, Effective: ordinary, Saved: ordinary, FS: ordinary}, Caps: kind.CapSets{Bounding: c.Caps.Bounding}}
	c.Born.Creds = c.Creds
	return c
}

// preview writes the image anew, without a signature, and has it judged.
func (o *original) preview(t *testing.T, m *image.Manifest, opts restore.Options) error {
	t.Helper()
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	for i, b := range m.Blobs {
		if _, err := w.Blob(source{o.blobs[i], b.Extents}, b.Extents); err != nil {
			t.Fatal(err)
		}
	}
	fresh := &image.Manifest{Header: m.Header, PIDs: m.PIDs, Tree: m.Tree, Records: m.Records}
	fresh.Header.Signer, fresh.Header.Class = "", image.ClassSelf
	if err := w.Close(fresh, nil); err != nil {
		t.Fatal(err)
	}
	img, err := verify.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), verify.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	look, err := restore.Preview(img, opts)
	if err != nil {
		return err
	}
	return look.Err()
}

// covet changes a field of a record, most often one that has to do with authority.
func (f *forger) covet(m *image.Manifest) {
	var greedy []int
	for i, r := range m.Records {
		switch r.Kind {
		case "creds", "rlimits", "sched", "oom", "dumpable", "ioprio", "autogroup", "label", "pipe", "memfd", "ghost", "listen", "posixtimers", "fdowner":
			greedy = append(greedy, i)
		}
	}
	i := f.IntN(len(m.Records))
	if f.IntN(4) > 0 && len(greedy) > 0 {
		i = greedy[f.IntN(len(greedy))]
	}
	rec := &m.Records[i]
	k := kinds.All().Named(rec.Kind)
	body, err := k.Decode(rec.Version, rec.Body)
	if err != nil {
		return // changed before
	}
	what := f.mutate(body)
	b, err := image.Marshal(body)
	if err != nil {
		return
	}
	rec.Body = b
	f.did = append(f.did, fmt.Sprintf("%s %d: %s", rec.Kind, rec.ID, what))
}

// beyond says what in an image is more than a process of the caller's could have.
func beyond(m *image.Manifest, me kind.Creds) string {
	for _, rec := range m.Records {
		body, err := kinds.All().Named(rec.Kind).Decode(rec.Version, rec.Body)
		if err != nil {
			return err.Error()
		}
		if w, ok := body.(kind.Wears); ok {
			c := w.Wears()
			groups := slices.Compact(slices.Clone(c.Groups))
			if c.UID != me.UID || c.GID != me.GID || len(groups) > 0 || c.Caps.Permitted|c.Caps.Ambient|c.Caps.Effective|c.Caps.Inheritable != 0 ||
				!c.Caps.Bounding.Within(me.Caps.Bounding) {
				return fmt.Sprintf("the credentials %+v", c)
			}
		}
		if !slices.Contains([]string{"pipe", "memfd", "ghost", "listen", "socket", "socketpair", "fdowner"}, rec.Kind) {
			continue
		}
		err = kind.Walk(body, func(v reflect.Value) error {
			switch id := v.Interface().(type) {
			case credmap.UID:
				if id != ordinary {
					return fmt.Errorf("%s of user %d", rec.Kind, id)
				}
			case credmap.GID:
				if id != ordinary {
					return fmt.Errorf("%s of group %d", rec.Kind, id)
				}
			}
			return nil
		})
		if err != nil {
			return err.Error()
		}
	}
	return ""
}
