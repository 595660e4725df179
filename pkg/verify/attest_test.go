package verify

import (
	"errors"
	"testing"

	"github.com/ckptool/ckpt/pkg/verify/quote"
)

// Only the administrator's list says which machine it was: one that the caller names can refuse, and no more.
func TestAttestedBy(t *testing.T) {
	m := &maker{t: t, alice: fixed(t, "alice")}
	ak := tpm(t, "ak")
	img := m.quoted(nil, func(b []byte) [][]byte { return [][]byte{entryBy(t, ak, stated(nonceOf(b)))} })
	q, err := quote.Parse(entryBy(t, ak, stated([32]byte{})))
	if err != nil {
		t.Fatal(err)
	}
	line, nobody := q.Line("node1"), "# nobody\n"
	writable := system(line)
	writable.Mode = 0o666
	for name, c := range map[string]struct {
		lists []TrustFile
		want  string
		err   error
	}{
		"no list":              {nil, "", nil},
		"system":               {[]TrustFile{system(line)}, "node1", nil},
		"named":                {[]TrustFile{extra(line)}, "", nil},
		"system and named":     {[]TrustFile{system(line), extra(line)}, "node1", nil},
		"system, others named": {[]TrustFile{system(line), extra(nobody)}, "", ErrAttest},
		"others":               {[]TrustFile{system(nobody)}, "", nil},
		"others' to write":     {[]TrustFile{writable}, "", nil},
		"malformed":            {[]TrustFile{system("node1\n")}, "", nil},
		"malformed and named":  {[]TrustFile{extra("node1\n")}, "", ErrAttest},
	} {
		o := options(system(m.alice.line("alice", pinned)))
		o.Attest = c.lists
		i, err := open(img, o)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if err != nil {
			continue
		}
		v := i.Verdict()
		if v.Attested != c.want || v.Quote == nil || (v.NotAttested == nil) != (c.want != "" || len(c.lists) == 0 || c.lists[0].Source == Extra) {
			t.Errorf("%s: attested %q, not attested %v", name, v.Attested, v.NotAttested)
		}
		if !v.Grants {
			t.Errorf("%s: the signature grants nothing any more", name)
		}
	}
	unsigned, err := open(buildWith(t, header(), func(b []byte) [][]byte { return [][]byte{entryBy(t, ak, stated(nonceOf(b)))} }),
		Options{Now: now(), Caller: callerUID, Attest: []TrustFile{system(line)}})
	if err != nil {
		t.Fatal(err)
	}
	if v := unsigned.Verdict(); v.Signed || v.Trusted || v.Grants || v.Attested != "node1" {
		t.Errorf("a quote alone: %+v", v)
	}
}

// A host is known to privilege only by the names that root gave it; by another of its own, an image is accepted.
func TestForThisHost(t *testing.T) {
	alice := newPerson(t)
	o := options(system(alice.line("alice", pinned)))
	o.Audience, o.Given = []string{"node1", "machine-id"}, []string{"node1"}
	for audience, want := range map[string]bool{"node1": true, "machine-id": false, "": false} {
		h := header()
		h.Signer, h.Class, h.Audience = "alice", "operator", audience
		i, err := open(build(t, h, mark{alice, Operator}), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Verdict().ForThisHost; got != want {
			t.Errorf("for %q: %v", audience, got)
		}
	}
}
