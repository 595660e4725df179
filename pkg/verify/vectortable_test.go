package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// made is one vector.
type made struct {
	name, expect, comment string
	facts                 map[string]string // trust, own, revoked, machine, parent
	image                 []byte
}

// fixed is a person whose key is always the same.
func fixed(t *testing.T, name string) person {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	s, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return person{s}
}

// maker makes vectors: images by alice, with bob and an authority about.
type maker struct {
	t              *testing.T
	alice, bob, ca person
	vectors        []made
}

func vectorTable(t *testing.T) []made {
	m := &maker{t: t, alice: fixed(t, "alice"), bob: fixed(t, "bob"), ca: fixed(t, "ca")}
	m.signatures()
	m.claims()
	m.headers()
	m.trust()
	m.certificates()
	m.splices()
	m.records()
	m.quotes()
	return m.vectors
}

func (m *maker) trusted() map[string]string {
	return map[string]string{"trust": m.alice.line("alice", pinned) +
		m.ca.line("*", `cert-authority,namespaces="ckpt-image-operator@v1" `)}
}

// header is that of an operator's image by alice, changed.
func (m *maker) header(change func(*image.Header)) image.Header {
	h := header()
	h.Signer, h.Class = "alice", "operator"
	if change != nil {
		change(&h)
	}
	return h
}

func (m *maker) image(change func(*image.Header), marks ...mark) []byte {
	if len(marks) == 0 {
		marks = []mark{{m.alice, Operator}}
	}
	return build(m.t, m.header(change), marks...)
}

func (m *maker) add(name, expect, comment string, b []byte) *made {
	m.vectors = append(m.vectors, made{name, expect, comment, m.trusted(), b})
	return &m.vectors[len(m.vectors)-1]
}

func (m *maker) signatures() {
	with := func(sign func([]byte) [][]byte) []byte { return buildWith(m.t, m.header(nil), sign) }
	// one is alice's signature, with its envelope changed.
	one := func(change func(*sshsig.Signature, []byte) []byte) []byte {
		return with(func(manifest []byte) [][]byte {
			blob := m.alice.sign(m.t, Operator.Namespace(), manifest)
			s, err := sshsig.Parse(blob)
			if err != nil {
				m.t.Fatal(err)
			}
			return [][]byte{change(s, blob)}
		})
	}
	m.add("good-operator", "success", "an operator's image, trusted by the system", m.image(nil))
	m.add("blob-junk", "signature", "the signature is no SSHSIG", one(func(_ *sshsig.Signature, _ []byte) []byte { return []byte("junk") }))
	m.add("blob-trailing", "signature", "a byte behind the SSHSIG", one(func(_ *sshsig.Signature, b []byte) []byte { return append(b, 0) }))
	m.add("blob-reserved", "signature", "the reserved field is in use", one(reserved))
	m.add("algorithm-md5", "signature", "the message is hashed with md5", one(func(s *sshsig.Signature, _ []byte) []byte { s.Hash = "md5"; return s.Marshal() }))
	m.add("namespace-git", "namespace", "a good signature for git", with(func(b []byte) [][]byte { return [][]byte{m.alice.sign(m.t, "git", b)} }))
	m.add("namespace-renamed", "signature", "a signature for git, renamed", with(func(b []byte) [][]byte {
		s, _ := sshsig.Parse(m.alice.sign(m.t, "git", b))
		s.Namespace = Operator.Namespace()
		return [][]byte{s.Marshal()}
	}))
	m.add("wrong-bit", "signature", "one bit of the inner signature", one(func(_ *sshsig.Signature, b []byte) []byte { b[len(b)-9] ^= 1; return b }))
	m.add("wrong-beside", "signature", "a good signature and a wrong one beside it", with(func(b []byte) [][]byte {
		blobs := [][]byte{m.alice.sign(m.t, Operator.Namespace(), b), m.bob.sign(m.t, Operator.Namespace(), b[1:])}
		slices.SortFunc(blobs, bytes.Compare)
		return blobs
	}))
	m.several()
}

func reserved(_ *sshsig.Signature, b []byte) []byte {
	var e struct {
		Magic         [6]byte
		Version       uint32
		Key           []byte
		Namespace     string
		Reserved      []byte
		Hash          string
		InnerAnything []byte
	}
	if err := ssh.Unmarshal(b, &e); err != nil {
		return nil
	}
	e.Reserved = []byte{0}
	return ssh.Marshal(e)
}

func (m *maker) several() {
	var nine []mark
	for i := range 9 {
		nine = append(nine, mark{fixed(m.t, string(rune('0'+i))), Operator})
	}
	m.add("count-nine", "too-many", "nine signatures", m.image(nil, nine...))
	both := func(blobs func(a, b []byte) [][]byte) []byte {
		return buildWith(m.t, m.header(nil), func(manifest []byte) [][]byte {
			two := [][]byte{m.alice.sign(m.t, Operator.Namespace(), manifest), m.bob.sign(m.t, Operator.Namespace(), manifest)}
			slices.SortFunc(two, bytes.Compare)
			return blobs(two[0], two[1])
		})
	}
	m.add("order-good", "success", "two signatures in order", both(func(a, b []byte) [][]byte { return [][]byte{a, b} }))
	m.add("order-reversed", "order", "two signatures, exchanged", both(func(a, b []byte) [][]byte { return [][]byte{b, a} }))
	m.add("order-twice", "order", "one signature twice", both(func(a, _ []byte) [][]byte { return [][]byte{a, a} }))
	m.add("order-certificate", "order", "a key and its certificate", m.image(nil, mark{m.alice, Operator}, mark{m.alice.certify(m.t, m.ca, nil), Operator}))
	m.add("revoked-signer", "revoked", "the signer's key is revoked", m.image(nil)).facts["revoked"] = m.alice.fingerprint()
	m.add("revoked-beside", "revoked", "the key of another signature is revoked",
		m.image(nil, mark{m.alice, Operator}, mark{m.bob, Operator})).facts["revoked"] = m.bob.fingerprint()
	m.add("revoked-authority", "revoked", "the authority is revoked", m.image(nil, mark{m.alice.certify(m.t, m.ca, nil), Operator})).facts["revoked"] = m.ca.fingerprint()
	m.add("revoked-unreadable", "trust-file", "a line of the list is not understood", m.image(nil)).facts["revoked"] = "alice"
}

func (m *maker) claims() {
	byKey := func(h *image.Header) { h.Signer = m.alice.fingerprint() }
	m.add("claim-key", "success", "the header claims a key, not a name", m.image(byKey))
	m.add("claim-nobody", "success", "the header claims nobody: signed later", build(m.t, header(), mark{m.alice, Operator}))
	m.add("claim-stripped", "stripped", "the signature was cut off", buildWith(m.t, m.header(nil), func([]byte) [][]byte { return nil }))
	m.add("claim-self", "stripped", "cut off an image of class self", buildWith(m.t, m.header(func(h *image.Header) { h.Class = "self" }), func([]byte) [][]byte { return nil }))
	m.add("claim-replaced", "stripped", "another key's signature in its place", m.image(byKey, mark{m.bob, Operator}))
	m.add("claim-lower", "stripped", "a signature of class self on an operator's image", m.image(nil, mark{m.alice, Self}))
	m.add("claim-unsigned", "unsigned", "not signed, claims nothing", build(m.t, header()))
	m.add("host-unclaimed", "namespace", "a host's signature on an image of class self", build(m.t, header(), mark{m.alice, Host}))
	m.add("host-good", "success", "a host's image", m.image(func(h *image.Header) { h.Class = "host" }, mark{m.alice, Host}))
}

func (m *maker) headers() {
	m.add("expired-second", "expired", "a second past its not-after", m.image(func(h *image.Header) { h.NotAfter = now().Unix() - 1 }))
	m.add("expired-good", "success", "the last second of its not-after", m.image(func(h *image.Header) { h.NotAfter = now().Unix() }))
	m.add("future-created", "future", "made 301 seconds from now", m.image(func(h *image.Header) { h.Created = now().Unix() + 301 }))
	m.add("audience-other", "audience", "for another host", m.image(func(h *image.Header) { h.Audience = "this-hosts" }))
	m.add("audience-good", "success", "for this host", m.image(func(h *image.Header) { h.Audience = "this-host" }))
	parent := m.image(func(h *image.Header) { h.Serial = 4 })
	child := func(name, expect, comment, of string, change func(*image.Header)) {
		m.add(name, expect, comment, m.image(func(h *image.Header) {
			h.Serial, h.Parent = 5, manifestDigest(m.t, parent)
			if change != nil {
				change(h)
			}
		})).facts["parent"] = of
	}
	m.add("parent-first", "success", "an image of serial 4", parent)
	m.add("parent-other", "success", "another image of serial 4 of the lineage", m.image(func(h *image.Header) { h.Serial, h.ID = 4, [16]byte{9} }))
	child("parent-good", "success", "serial 5, of parent-first", "parent-first", nil)
	child("parent-replaced", "parent", "another image given as the parent", "parent-other", nil)
	child("parent-lineage", "parent", "another lineage", "parent-first", func(h *image.Header) { h.Lineage = [16]byte{8} })
	child("parent-serial", "parent", "not after its parent", "parent-first", func(h *image.Header) { h.Serial = 4 })
}

func (m *maker) trust() {
	lists := func(name, expect, comment, trust string) {
		m.add(name, expect, comment, m.image(nil)).facts = map[string]string{"trust": trust}
	}
	lists("signer-unknown", "unknown-signer", "only bob is trusted", m.bob.line("*", pinned))
	lists("signer-principal", "principal", "alice's key, as somebody else", m.alice.line("carol", pinned))
	lists("principal-negated", "principal", "everybody but alice", m.alice.line("*,!alice", pinned))
	lists("class-other", "class", "alice may sign as self only", m.alice.line("alice", `namespaces="ckpt-image-self@v1" `))
	lists("class-git", "class", "alice may sign commits", m.alice.line("alice", `namespaces="git,file" `))
	lists("validity-now", "key-time", "the key ran out after the dump", m.alice.line("alice", `valid-before="20260601113000" `))
	lists("validity-then", "key-time", "the key was not valid yet at the dump", m.alice.line("alice", `valid-after="20260601113000" `))
	lists("file-malformed", "trust-file", "a later line is malformed", m.alice.line("alice", pinned)+"bob\n")
	lists("grant-unpinned", "no-grant", "the line has no namespaces=", m.alice.line("alice", ""))
	m.add("grant-own", "no-grant", "trusted by the caller's own file", m.image(nil)).facts = map[string]string{"own": m.alice.line("alice", pinned)}
	self := m.add("grant-self", "no-grant", "class self", m.image(func(h *image.Header) { h.Class = "self" }, mark{m.alice, Self}))
	self.facts["trust"] = m.alice.line("alice", `namespaces="ckpt-image-*@v1" `)
}

func (m *maker) certificates() {
	by := func(name, expect, comment string, change func(*ssh.Certificate)) {
		m.add(name, expect, comment, m.image(nil, mark{m.bob.certify(m.t, m.ca, change), Operator}))
	}
	by("certificate-good", "success", "by an authority that is trusted", nil)
	by("certificate-host", "certificate", "a host certificate", func(c *ssh.Certificate) { c.CertType = ssh.HostCert })
	by("certificate-nobody", "principal", "without principals", func(c *ssh.Certificate) { c.ValidPrincipals = nil })
	by("certificate-option", "certificate", "with a critical option", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "x"} })
	by("certificate-forged", "certificate", "its authority did not sign it", nil)
	last := &m.vectors[len(m.vectors)-1]
	last.image = m.image(nil, mark{m.forged(), Operator})
	by("validity-certificate", "key-time", "expired since the dump", func(c *ssh.Certificate) { c.ValidBefore = uint64(now().Unix()) - 60 })
	m.add("class-authority", "class", "the authority's line has no namespaces=", m.image(nil, mark{m.bob.certify(m.t, m.ca, nil), Operator})).facts["trust"] = m.ca.line("*", "cert-authority ")
}

// forged is bob with a certificate that names the authority but is not by it.
func (m *maker) forged() person {
	p := m.bob.certify(m.t, m.ca, nil)
	cert := *p.PublicKey().(*ssh.Certificate)
	cert.ValidPrincipals = []string{"alice", "root"}
	s, err := ssh.NewCertSigner(&cert, m.bob.Signer)
	if err != nil {
		m.t.Fatal(err)
	}
	return person{s}
}

// parts are the regions of an image, by its footer (../image/SPEC.md).
type parts struct{ head, table, manifest, signatures []byte }

func split(b []byte) parts {
	foot := b[len(b)-64:]
	table, manifest := binary.LittleEndian.Uint64(foot), binary.LittleEndian.Uint64(foot[8:])
	end := manifest + uint64(binary.LittleEndian.Uint32(foot[16:]))
	return parts{b[:table], b[table:manifest], b[manifest:end], b[end : len(b)-64]}
}

func (p parts) join() []byte {
	b := slices.Concat(p.head, p.table, p.manifest, p.signatures)
	foot := binary.LittleEndian.AppendUint64(nil, uint64(len(p.head)))
	foot = binary.LittleEndian.AppendUint64(foot, uint64(len(p.head)+len(p.table)))
	foot = binary.LittleEndian.AppendUint32(foot, uint32(len(p.manifest)))
	foot = binary.LittleEndian.AppendUint32(foot, uint32(len(p.signatures)))
	foot = binary.LittleEndian.AppendUint64(foot, uint64(len(b)+64))
	return slices.Concat(b, foot, make([]byte, 16), []byte("\x89ckpt-end\r\n\x1a\n\x00\x00\x00"))
}

func manifestDigest(t *testing.T, b []byte) Digest {
	t.Helper()
	return image.ManifestDigest(split(b).manifest)
}

// splices mix two images by the same key.
func (m *maker) splices() {
	one, two := m.image(nil), m.image(func(h *image.Header) { h.ID = [16]byte{7} })
	other := m.otherContent()
	from := func(name, expect, comment string, change func(p *parts, one, two, other parts)) {
		p := split(one)
		change(&p, split(one), split(two), split(other))
		m.add(name, expect, comment, p.join())
	}
	from("splice-nothing", "success", "taken apart and put together", func(*parts, parts, parts, parts) {})
	from("splice-signature", "signature", "the signature of another image by the same key", func(p *parts, _, two, _ parts) { p.signatures = two.signatures })
	from("splice-manifest", "signature", "the manifest of another image by the same key", func(p *parts, _, two, _ parts) { p.manifest = two.manifest })
	from("splice-table", "digest", "the table of another image by the same key", func(p *parts, _, _, other parts) { p.table = other.table })
	from("splice-chunks", "digest", "the chunks of another image by the same key", func(p *parts, _, _, other parts) { p.head = other.head })
	from("splice-both", "digest", "chunks and table of another image", func(p *parts, _, _, other parts) { p.head, p.table = other.head, other.table })
	from("splice-rows", "digest", "two rows of the table exchanged", func(p *parts, one, _, _ parts) {
		p.table = slices.Concat(one.table[64:128], one.table[:64], one.table[128:])
	})
	m.add("splice-appended", "truncated", "a byte behind the end", append(bytes.Clone(one), 0))
	m.add("splice-image", "format", "a second image behind the first", slices.Concat(one, two))
}

// otherContent is an image like the first whose chunks are as long and differ.
func (m *maker) otherContent() []byte {
	return buildFrom(m.t, m.header(nil), bytes.ReplaceAll(content(), []byte("content"), []byte("CONTENT")),
		func(manifest []byte) [][]byte { return [][]byte{m.alice.sign(m.t, Operator.Namespace(), manifest)} })
}
