package allowed

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestNameWithoutAClaim(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key, ca := b.signers["alice"].public, ` cert-authority,namespaces="*" `+b.ca
	for _, c := range []struct{ text, who, want string }{
		{"alice " + key, "alice", "alice"},
		{"*@site,alice@site,bob " + key, "alice", "alice@site"},
		{"*,!alice " + key, "alice", ""},
		{"*,!bob " + key, "alice", ""},
		{"*@site " + key, "alice", ""},
		{"* " + key, "alice", ssh.FingerprintSHA256(b.signers["alice"].key)},
		{"alice,!al* " + key, "alice", ""},
		{"*" + ca, "cert", "alice"},
		{"alice" + ca, "cert-two", "alice"},
		{"carol" + ca, "cert", ""},
		{"*" + ca, "cert-nobody", ""},
	} {
		f, err := Parse([]byte(c.text), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Find(Query{Key: b.signers[c.who].key, Namespace: namespace, Times: []time.Time{noon()}})
		switch {
		case c.want == "" && !errors.Is(err, ErrPrincipal):
			t.Errorf("%s: %v, want ErrPrincipal", c.text, err)
		case c.want != "" && (err != nil || m.Principal != c.want):
			t.Errorf("%s: %v %v, want %q", c.text, m, err, c.want)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key, ca := b.signers["alice"].public, ` cert-authority,namespaces="*" `+b.ca
	for _, c := range []struct {
		text, who string
		want      error
	}{
		{"", "alice", ErrUnknown},
		{"alice " + b.signers["rsa"].public, "alice", ErrUnknown},
		{"bob " + key, "alice", ErrPrincipal},
		{`alice namespaces="git" ` + key, "alice", ErrNamespace},
		{`alice valid-before="20260101" ` + key, "alice", ErrTime},
		{`alice valid-after="20270101" ` + key, "alice", ErrTime},
		{"alice" + ca, "cert-old", ErrTime},
		{"alice" + ca, "cert-host", ErrCertificate},
		{"alice" + ca, "cert-forced", ErrCertificate},
		{"alice" + ca, "cert-other", ErrPrincipal},
		{"alice cert-authority " + b.ca, "cert", ErrNamespace},
	} {
		f, err := Parse([]byte(c.text), nil)
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Key: b.signers[c.who].key, Principal: "alice", Namespace: namespace, Times: []time.Time{noon()}}
		if _, err := f.Find(q); !errors.Is(err, c.want) {
			t.Errorf("%s by %s: %v, want %v", c.who, c.text, err, c.want)
		}
	}
}

// A validity has to hold at every time asked for: at the dump and now.
func TestAllTimesCount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f, err := Parse([]byte(`alice valid-after="20260101",valid-before="20261231" `+b.signers["alice"].public), nil)
	if err != nil {
		t.Fatal(err)
	}
	year := 365 * 24 * time.Hour
	for _, times := range [][]time.Time{{noon(), noon().Add(year)}, {noon().Add(-year), noon()}, {noon().Add(year), noon()}} {
		q := Query{Key: b.signers["alice"].key, Namespace: namespace, Times: times}
		if _, err := f.Find(q); !errors.Is(err, ErrTime) {
			t.Errorf("%v: %v", times, err)
		}
	}
}

// ssh-keygen takes a certificate that its authority signed with SHA-1.
func TestAuthoritySigningWithSHA1(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for algorithm, want := range map[string]error{"ssh-rsa": ErrCertificate, "rsa-sha2-512": nil} {
		b.copyKey(t, "alice", algorithm)
		path := filepath.Join(b.dir, algorithm)
		run(t, "-q", "-t", algorithm, "-s", filepath.Join(b.dir, "rsa"), "-I", "id", "-n", "alice", path+".pub")
		b.sign(t, algorithm, algorithm+"-cert.pub")
		text := `alice cert-authority,namespaces="*" ` + b.signers["rsa"].public
		if err := b.ours(text, algorithm, "alice", noon()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", algorithm, err, want)
		}
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	east := time.FixedZone("east", 3600)
	for text, want := range map[string]time.Time{
		"20260101":        time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC),
		"202601011530":    time.Date(2026, 1, 1, 14, 30, 0, 0, time.UTC),
		"20260101153000Z": time.Date(2026, 1, 1, 15, 30, 0, 0, time.UTC),
	} {
		f, err := Parse([]byte(`a valid-after="`+text+`" `+b.signers["alice"].public), east)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Lines[0].ValidAfter; !got.Equal(want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nul":      "# \x00",
		"oversize": strings.Repeat("#", MaxSize+1),
		"cert":     "alice ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t",
		"dss":      "alice ssh-dss AAAAB3NzaC1kc3M=",
	} {
		if _, err := Parse([]byte(text), nil); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPatternIsNotExponential(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if matchPattern(strings.Repeat("a", 10000), strings.Repeat("*a", 1000)+"b") {
		t.Error("it matches")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzParse(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKc6KU/+koBWkspX235q1LuhyRJ4IznJUq+hj/TIF6I"
	for _, s := range []string{"alice " + key, `"a b",* cert-authority,namespaces="x\"y",valid-after="20260101Z" ` + key + " c", "# x\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse([]byte(text), nil)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, l := range file.Lines {
			if l.Key == nil || l.Principals == "" || l.Number == 0 {
				t.Errorf("line without a key or principals: %+v", l)
			}
			_, _ = file.Find(Query{Key: l.Key, Principal: "alice", Namespace: "x", Times: []time.Time{noon()}})
		}
	})
}
