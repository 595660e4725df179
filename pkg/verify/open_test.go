package verify

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/image"
)

const pinned = `namespaces="ckpt-image-operator@v1,ckpt-image-host@v1" `

func TestUnsigned(t *testing.T) {
	t.Parallel()
	b := build(t, header())
	i, err := open(b, options())
	if err != nil {
		t.Fatal(err)
	}
	if v := i.Verdict(); v.Signed || v.Trusted || v.Grants || v.Class != None {
		t.Errorf("%+v", v)
	}
	o := options()
	o.RequireTrusted = true
	if _, err := open(b, o); !errors.Is(err, ErrUnsigned) {
		t.Errorf("--verify: %v", err)
	}
	if _, err := open(b, options(extra(""))); !errors.Is(err, ErrUnsigned) {
		t.Errorf("--verify=FILE: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	alice, bob, ca := newPerson(t), newPerson(t), newPerson(t)
	certified := alice.certify(t, ca, nil)
	named := func(signer, class string) image.Header {
		h := header()
		h.Signer, h.Class = signer, class
		return h
	}
	authority := ca.line("*", `cert-authority,namespaces="ckpt-image-operator@v1" `)
	root := options(TrustFile{Path: "/root/allowed", Source: Own, Bytes: []byte(alice.line("alice", pinned)), Mode: 0o600})
	root.Caller = 0
	for name, c := range map[string]struct {
		h       image.Header
		marks   []mark
		o       Options
		trusted bool
		grants  bool
		signer  string
	}{
		"system":            {named("alice", "operator"), []mark{{alice, Operator}}, options(system(alice.line("alice", pinned))), true, true, "alice"},
		"host":              {named("alice", "host"), []mark{{alice, Host}}, options(system(alice.line("alice", pinned))), true, true, "alice"},
		"own file":          {named("alice", "operator"), []mark{{alice, Operator}}, options(own(alice.line("alice", pinned))), true, false, "alice"},
		"root's own":        {named("alice", "operator"), []mark{{alice, Operator}}, root, true, true, "alice"},
		"not pinned":        {named("alice", "operator"), []mark{{alice, Operator}}, options(system(alice.line("alice", ""))), true, false, "alice"},
		"self":              {named("alice", "self"), []mark{{alice, Self}}, options(system(alice.line("alice", `namespaces="ckpt-image-*@v1" `))), true, false, "alice"},
		"system before own": {named("alice", "operator"), []mark{{alice, Operator}}, options(own(alice.line("alice", pinned)), system(alice.line("alice", pinned))), true, true, "alice"},
		"by fingerprint":    {named(alice.fingerprint(), "operator"), []mark{{alice, Operator}}, options(system(alice.line("al", pinned))), true, true, "al"},
		"signed later":      {header(), []mark{{alice, Operator}}, options(system(alice.line("al", pinned))), true, true, "al"},
		"certificate":       {named("alice", "operator"), []mark{{certified, Operator}}, options(system(authority)), true, true, "alice"},
		"unclaimed cert":    {header(), []mark{{certified, Operator}}, options(system(authority)), true, true, "alice"},
		"countersigned": {named("alice", "operator"), []mark{{alice, Operator}, {bob, Operator}},
			options(system(alice.line("alice", pinned) + bob.line("bob", pinned))), true, true, "alice"},
		"two, one trusted":     {header(), []mark{{alice, Operator}, {bob, Operator}}, options(system(bob.line("bob", pinned))), true, true, "bob"},
		"counter does not":     {named("alice", "self"), []mark{{alice, Self}, {bob, Operator}}, options(system(alice.line("alice", "") + bob.line("bob", pinned))), true, false, "alice"},
		"others' trust":        {named(alice.fingerprint(), "operator"), []mark{{alice, Operator}, {bob, Operator}}, options(system(bob.line("bob", pinned))), false, false, alice.fingerprint()},
		"unknown":              {named("alice", "operator"), []mark{{alice, Operator}}, options(system(bob.line("*", pinned))), false, false, "alice"},
		"other name":           {named("alice", "operator"), []mark{{alice, Operator}}, options(system(alice.line("al", pinned))), false, false, "alice"},
		"extra and system":     {named("alice", "operator"), []mark{{alice, Operator}}, options(extra(alice.line("alice", "")), system(alice.line("alice", pinned))), true, true, "alice"},
		"extra alone":          {named("alice", "operator"), []mark{{alice, Operator}}, options(extra(alice.line("alice", pinned))), true, false, "alice"},
		"system's, not root's": {named("alice", "operator"), []mark{{alice, Operator}}, options(func() TrustFile { f := system(alice.line("alice", pinned)); f.OwnerUID = callerUID; return f }()), false, false, "alice"},
	} {
		i, err := open(build(t, c.h, c.marks...), c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v := i.Verdict()
		if !v.Signed || v.Trusted != c.trusted || v.Grants != c.grants || v.Signer != c.signer || len(v.Others) != len(c.marks)-1 {
			t.Errorf("%s: %+v", name, v)
		}
		if v.Grants == (len(v.Reasons) > 0) {
			t.Errorf("%s: grants %v for reasons %v", name, v.Grants, v.Reasons)
		}
	}
}

// Each refusal has a sentinel of its own, whether or not trust was required.
func TestRefusals(t *testing.T) {
	t.Parallel()
	alice, bob, ca := newPerson(t), newPerson(t), newPerson(t)
	claim := func(change func(*image.Header)) image.Header {
		h := header()
		h.Signer, h.Class = "alice", "operator"
		if change != nil {
			change(&h)
		}
		return h
	}
	same := []mark{{alice, Operator}}
	for name, c := range map[string]struct {
		b    []byte
		o    func(*Options)
		want error
	}{
		"namespace":       {buildWith(t, header(), func(m []byte) [][]byte { return [][]byte{alice.sign(t, "git", m)} }), nil, ErrNamespace},
		"other message":   {buildWith(t, header(), func(m []byte) [][]byte { return [][]byte{alice.sign(t, Self.Namespace(), m[1:])} }), nil, ErrSignature},
		"no SSHSIG":       {buildWith(t, header(), func([]byte) [][]byte { return [][]byte{{1}} }), nil, ErrSignature},
		"stripped":        {build(t, claim(nil)), nil, ErrStripped},
		"replaced":        {build(t, claim(func(h *image.Header) { h.Signer = alice.fingerprint() }), mark{bob, Operator}), nil, ErrStripped},
		"wrong class":     {build(t, claim(nil), mark{alice, Self}), nil, ErrStripped},
		"host, unclaimed": {build(t, header(), mark{alice, Host}), nil, ErrNamespace},
		"stripped name":   {build(t, claim(func(h *image.Header) { h.Class = "self" })), nil, ErrStripped},
		"expired":         {build(t, claim(func(h *image.Header) { h.NotAfter = now().Unix() - 1 }), same...), nil, ErrExpired},
		"not expired":     {build(t, claim(func(h *image.Header) { h.NotAfter = now().Unix() }), same...), nil, nil},
		"future":          {build(t, claim(func(h *image.Header) { h.Created = now().Unix() + 301 }), same...), nil, ErrFuture},
		"skew":            {build(t, claim(func(h *image.Header) { h.Created = now().Unix() + 299 }), same...), nil, nil},
		"audience":        {build(t, claim(func(h *image.Header) { h.Audience = "other" }), same...), nil, ErrAudience},
		"audience, ours":  {build(t, claim(func(h *image.Header) { h.Audience = "this" }), same...), nil, nil},
		"expect":          {build(t, claim(nil), same...), func(o *Options) { o.Expect = &Digest{1} }, ErrExpect},
		"unknown":         {build(t, claim(nil), same...), func(o *Options) { o.RequireTrusted, o.Trust = true, nil }, ErrUnknownSigner},
		"principal":       {build(t, claim(func(h *image.Header) { h.Signer = "bob" }), same...), func(o *Options) { o.RequireTrusted = true }, ErrPrincipal},
		"class":           {build(t, claim(func(h *image.Header) { h.Class = "host" }), mark{alice, Host}), func(o *Options) { o.RequireTrusted = true }, ErrClass},
		"key expired": {build(t, claim(nil), same...), func(o *Options) {
			o.RequireTrusted = true
			o.Trust[0].Bytes = []byte(alice.line("alice", `valid-before="20260601113000" `))
		}, ErrKeyTime},
		"key too new": {build(t, claim(nil), same...), func(o *Options) {
			o.RequireTrusted = true
			o.Trust[0].Bytes = []byte(alice.line("alice", `valid-after="20260601113000" `))
		}, ErrKeyTime},
		"certificate":     {build(t, claim(nil), mark{alice.certify(t, ca, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), Operator}), func(o *Options) { o.RequireTrusted = true }, ErrCertificate},
		"extra refuses":   {build(t, claim(nil), same...), func(o *Options) { o.Trust = append(o.Trust, extra(bob.line("bob", ""))) }, ErrUnknownSigner},
		"extra malformed": {build(t, claim(nil), same...), func(o *Options) { o.Trust = append(o.Trust, extra("x")) }, ErrTrustFile},
		"writable":        {build(t, claim(nil), same...), func(o *Options) { o.RequireTrusted = true; o.Trust[0].Mode = 0o664 }, ErrTrustFile},
		"directory":       {build(t, claim(nil), same...), func(o *Options) { o.RequireTrusted = true; o.Trust[0].WritableByOthers = true }, ErrTrustFile},
		"another's":       {build(t, claim(nil), same...), func(o *Options) { o.RequireTrusted = true; o.Trust[0].OwnerUID = 7 }, ErrTrustFile},
		"revoked":         {build(t, claim(nil), same...), func(o *Options) { o.Revoked = []RevocationFile{revoke(alice.fingerprint())} }, ErrRevoked},
		"revoked other":   {build(t, claim(nil), mark{alice, Operator}, mark{bob, Operator}), func(o *Options) { o.Revoked = []RevocationFile{revoke(bob.line("", ""))} }, ErrRevoked},
		"revoked nobody": {build(t, claim(nil), same...), func(o *Options) {
			o.Revoked = []RevocationFile{revoke(bob.fingerprint() + "\n# " + alice.fingerprint())}
		}, nil},
		"revoked CA":      {build(t, claim(nil), mark{alice.certify(t, ca, nil), Operator}), func(o *Options) { o.Revoked = []RevocationFile{revoke(ca.fingerprint())} }, ErrRevoked},
		"revocation list": {build(t, claim(nil), same...), func(o *Options) { o.Revoked = []RevocationFile{revoke("what")} }, ErrTrustFile},
		"list writable":   {build(t, claim(nil), same...), func(o *Options) { f := revoke(""); f.Mode = 0o666; o.Revoked = []RevocationFile{f} }, ErrTrustFile},
	} {
		o := options(system(alice.line("alice", `namespaces="ckpt-image-operator@v1" `) + ca.line("*", `cert-authority,namespaces="*" `)))
		o.Audience = []string{"this"}
		if c.o != nil {
			c.o(&o)
		}
		if _, err := open(c.b, o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func revoke(text string) RevocationFile {
	return RevocationFile{Path: "/etc/ckpt/revoked_keys", Source: System, Bytes: []byte(text), Mode: 0o644}
}

func TestNumberAndOrderOfSignatures(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	var many []mark
	for range MaxSignatures + 1 {
		many = append(many, mark{newPerson(t), Self})
	}
	if _, err := open(build(t, header(), many[1:]...), options()); err != nil {
		t.Errorf("eight: %v", err)
	}
	if _, err := open(build(t, header(), many...), options()); !errors.Is(err, ErrTooMany) {
		t.Errorf("nine: %v", err)
	}
	if _, err := open(build(t, header(), mark{alice, Self}, mark{alice, Operator}), options()); err != nil {
		t.Errorf("one key in two classes: %v", err)
	}
	for name, sign := range map[string]func(a, b []byte) [][]byte{
		"reversed": func(a, b []byte) [][]byte {
			if bytes.Compare(a, b) < 0 {
				return [][]byte{b, a}
			}
			return [][]byte{a, b}
		},
		"twice": func(a, _ []byte) [][]byte { return [][]byte{a, a} },
	} {
		b := buildWith(t, header(), func(m []byte) [][]byte {
			return sign(alice.sign(t, Self.Namespace(), m), bob.sign(t, Self.Namespace(), m))
		})
		if _, err := open(b, options()); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert := alice.certify(t, bob, nil)
	if _, err := open(build(t, header(), mark{alice, Self}, mark{cert, Self}), options()); !errors.Is(err, ErrOrder) {
		t.Errorf("key and its certificate: %v", err)
	}
}

func TestMayGrant(t *testing.T) {
	t.Parallel()
	alice, ca := newPerson(t), newPerson(t)
	for name, c := range map[string]struct {
		by   person
		o    Options
		want bool
	}{
		"system":    {alice, options(system(alice.line("x", ""))), true},
		"authority": {alice.certify(t, ca, nil), options(system(ca.line("x", "cert-authority "))), true},
		"own":       {alice, options(own(alice.line("x", ""))), false},
		"nobody":    {alice, options(system(ca.line("x", ""))), false},
	} {
		b := build(t, header(), mark{c.by, Operator})
		checked, err := Check(bytes.NewReader(b), int64(len(b)), c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := checked.MayGrant(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Every byte of a signed image counts: changed, it is refused when the image is
// opened or when the chunk is read.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	alice := newPerson(t)
	h := header()
	h.Signer, h.Class = "alice", "operator"
	good := build(t, h, mark{alice, Operator})
	o := options(system(alice.line("alice", pinned)))
	o.RequireTrusted = true
	if err := readAll(good, o); err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	step := max(1, len(good)/20_000)
	for i := 0; i < len(good); i += step {
		bad[i] ^= 0x10
		if readAll(bad, o) == nil {
			t.Errorf("byte %d of %d changed: accepted", i, len(good))
		}
		bad[i] = good[i]
	}
	for n := range 200 {
		if readAll(good[:len(good)-1-n], o) == nil {
			t.Errorf("cut by %d: accepted", n+1)
		}
		if readAll(append(bytes.Clone(good), make([]byte, n+1)...), o) == nil {
			t.Errorf("%d bytes behind it: accepted", n+1)
		}
	}
}

func readAll(b []byte, o Options) error {
	i, err := open(b, o)
	if err != nil {
		return err
	}
	for _, blob := range i.Manifest().Blobs {
		got, err := i.ReadBlob(blob, 1<<30)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, content()) {
			return errors.New("other content")
		}
	}
	return nil
}

func TestZeroImage(t *testing.T) {
	t.Parallel()
	var i Image
	err := i.EachRun(image.Blob{}, 1, nil)
	_, err2 := i.ReadBlob(image.Blob{}, 1)
	if err == nil || err2 == nil || i.EachChunk(image.Blob{}, 1, nil) == nil || i.Manifest() != nil || i.Verdict().Grants {
		t.Error("the zero image is of use")
	}
	if _, err := open(build(t, header()), Options{Now: time.Time{}}); err == nil {
		t.Error("no clock: accepted")
	}
}
