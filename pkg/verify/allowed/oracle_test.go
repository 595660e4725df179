package allowed

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// This file compares our verdict with that of ssh-keygen -Y verify over a
// generated matrix of lines, signers and questions. Ours is never looser. Where
// it is stricter, the case says why.

const namespace = "ckpt-image-operator@v1"

// signer is a key, perhaps with a certificate, and its signature over message.
type signer struct {
	public string // as in a .pub file, without a comment
	key    ssh.PublicKey
	sig    string // path of the armored signature
}

type bench struct {
	dir     string
	message []byte
	ca      string // public key of the authority, without a comment
	signers map[string]signer
}

// certs are arguments of ssh-keygen -s for alice's key, by name.
func certs() map[string][]string {
	return map[string][]string{
		"cert":        {"-n", "alice", "-V", "20200101Z:20300101Z"},
		"cert-two":    {"-n", "bob,alice", "-V", "20200101Z:20300101Z"},
		"cert-other":  {"-n", "bob", "-V", "20200101Z:20300101Z"},
		"cert-always": {"-n", "alice"},
		"cert-nobody": {"-V", "20200101Z:20300101Z"},
		"cert-forced": {"-n", "alice", "-O", "force-command=/bin/true"},
		"cert-source": {"-n", "alice", "-O", "source-address=127.0.0.1"},
		"cert-host":   {"-h", "-n", "alice"},
		"cert-old":    {"-n", "alice", "-V", "20200101Z:20210101Z"},
		"cert-future": {"-n", "alice", "-V", "20280101Z:20300101Z"},
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
}

func publicKey(t *testing.T, path string) (string, ssh.PublicKey) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text))[:2], " "), key
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), message: []byte("manifest"), signers: map[string]signer{}}
	path := func(name string) string { return filepath.Join(b.dir, name) }
	if err := os.WriteFile(path("m"), b.message, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{"ca": "ed25519", "alice": "ed25519", "ecdsa": "ecdsa", "rsa": "rsa"} {
		run(t, "-q", "-N", "", "-t", kind, "-f", path(name))
	}
	b.ca, _ = publicKey(t, path("ca.pub"))
	for name := range certs() {
		b.copyKey(t, "alice", name)
		run(t, append(append([]string{"-q", "-s", path("ca"), "-I", name}, certs()[name]...), path(name+".pub"))...)
		b.sign(t, name, name+"-cert.pub")
	}
	for _, name := range []string{"alice", "ecdsa", "rsa"} {
		b.sign(t, name, name+".pub")
	}
	return b
}

func (b *bench) copyKey(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", ".pub"} {
		text, err := os.ReadFile(filepath.Join(b.dir, from+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, to+suffix), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) sign(t *testing.T, name, public string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	line, key := publicKey(t, filepath.Join(b.dir, public))
	if cert, ok := key.(*ssh.Certificate); ok {
		if s, err = ssh.NewCertSigner(cert, s); err != nil {
			t.Fatal(err)
		}
		line, _ = publicKey(t, filepath.Join(b.dir, name+".pub"))
	}
	sig, err := sshsig.Sign(nil, s, namespace, b.message)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.dir, name+".sig")
	if err := os.WriteFile(file, sshsig.Armor(sig.Marshal()), 0o600); err != nil {
		t.Fatal(err)
	}
	b.signers[name] = signer{public: line, key: key, sig: file}
}

// theirs is ssh-keygen's verdict on who's signature by the allowed_signers text.
func (b *bench) theirs(t *testing.T, text, who, principal string, at time.Time) (bool, string) {
	t.Helper()
	file := filepath.Join(b.dir, "allowed")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", file, "-I", principal, "-n", namespace,
		"-s", b.signers[who].sig, "-Overify-time="+at.UTC().Format("20060102150405Z"))
	cmd.Env = append(os.Environ(), "TZ=UTC")
	cmd.Stdin = bytes.NewReader(b.message)
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

func (b *bench) ours(text, who, principal string, at time.Time) error {
	f, err := Parse([]byte(text), time.UTC)
	if err != nil {
		return err
	}
	_, err = f.Find(Query{Key: b.signers[who].key, Principal: principal, Namespace: namespace, Times: []time.Time{at}})
	return err
}

// compare fails the test where we are looser, or stricter without a reason. It
// says whether both accept.
func (b *bench) compare(t *testing.T, text, who, principal string, at time.Time, stricter string) bool {
	t.Helper()
	theirs, out := b.theirs(t, text, who, principal, at)
	ours := b.ours(text, who, principal, at)
	describe := fmt.Sprintf("%s as %q at %s by:\n%s\nours: %v\nssh-keygen: %s", who, principal, at, text, ours, out)
	switch {
	case ours == nil && !theirs:
		t.Errorf("looser than ssh-keygen: %s", describe)
	case ours != nil && theirs && stricter == "":
		t.Errorf("stricter without a reason: %s", describe)
	case ours == nil && stricter != "":
		t.Errorf("%s, but accepted: %s", stricter, describe)
	}
	return ours == nil && theirs
}

func noon() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

func TestOracleMatrix(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	principals := []string{"alice", "bob", "*", "al?ce", "alic?e", "bob,alice", "*,!alice", "!alice,*", "!bob,*",
		`"alice"`, `"bob,al*"`, "a*e", "alice,", "ALICE"}
	options := []string{"", `namespaces="` + namespace + `" `, `namespaces="git,file" `, `namespaces="git,ckpt-image-*@v1" `,
		`namespaces="!` + namespace + `,*" `, `NameSpaces="*" `, `valid-after="20260101" `, `valid-after="20270101" `,
		`valid-before="20260101" `, `valid-before="20270101" `, `valid-after="20260101",valid-before="202612311200" `,
		`valid-after="20260601120000Z" `, `valid-before="20260601120000Z" `, `valid-before="20260601115959Z" `}
	accepted, refused := 0, 0
	for i, p := range principals {
		for j, o := range options {
			who := []string{"alice", "ecdsa", "rsa"}[(i+j)%3]
			text := p + " " + o + b.signers[who].public + " a comment\n"
			if b.compare(t, text, who, "alice", noon(), "") {
				accepted++
			} else {
				refused++
			}
			text = p + " cert-authority," + strings.TrimPrefix(o, " ")
			stricter := ""
			if !strings.Contains(strings.ToLower(o), "namespaces") {
				stricter = "an authority's line must say namespaces="
			}
			if o == "" {
				text = strings.TrimSuffix(text, ",") + " "
			}
			if b.compare(t, text+b.ca+"\n", "cert", "alice", noon(), stricter) {
				accepted++
			} else {
				refused++
			}
		}
	}
	if accepted < 50 || refused < 200 {
		t.Errorf("matrix is lopsided: %d accepted, %d refused", accepted, refused)
	}
}

func TestOracleCertificates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stricter := map[string]string{
		"cert-nobody": "a certificate without principals is nobody's",
		"cert-forced": "critical options are not ours to honour",
		"cert-source": "critical options are not ours to honour",
	}
	times := []time.Time{noon(), time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2029, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	accepted := 0
	for who := range certs() {
		for _, principal := range []string{"alice", "bob", "carol"} {
			for _, at := range times {
				pin := `* cert-authority,namespaces="*" `
				if b.compare(t, pin+b.ca+"\n", who, principal, at, stricter[who]) {
					accepted++
				}
			}
			// A key's own line does not help its certificate, nor the authority's as a key.
			for _, text := range []string{"* " + b.ca, "* " + b.signers[who].public, `* cert-authority,namespaces="*" ` + b.signers["ecdsa"].public} {
				b.compare(t, text+"\n", who, principal, noon(), "")
			}
		}
	}
	if accepted < 15 {
		t.Errorf("only %d accepted", accepted)
	}
}

func TestOracleSyntax(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key := b.signers["alice"].public
	const strict = "every line must be well-formed"
	for text, stricter := range map[string]string{
		"alice " + key:                        "",
		"  \talice\t" + key + "\n":            "",
		"# comment\n\nalice " + key + "\n":    "",
		"alice " + key + "\r\n":               "",
		"alice " + key + " comment\r\n":       "",
		"alice  \t " + key + "  comment  ":    "",
		"alice":                               "",
		"alice ":                              "",
		"":                                    "",
		key:                                   "",
		`"alice ` + key:                       "",
		`alice namespaces="* ` + key:          "",
		`alice namespaces=* ` + key:           "",
		`alice namespaces ` + key:             "",
		`alice nonsense ` + key:               "",
		`alice nonsense="x" ` + key:           "",
		`alice valid-after="tomorrow" ` + key: "",
		`alice valid-after="2026" ` + key:     "",
		`alice valid-after="20260101",valid-after="20260102" ` + key:           "",
		`alice namespaces="*",namespaces="*" ` + key:                           "",
		`alice valid-after="20260102",valid-before="20260101" ` + key:          "",
		`alice namespaces="*", ` + key:                                         "",
		`alice namespaces="*",,valid-before="20300101" ` + key:                 strict,
		`alice ,namespaces="*" ` + key:                                         strict,
		`alice namespaces="*" valid-before="20300101" ` + key:                  "",
		`alice valid-before="20300231" ` + key:                                 "days must exist",
		`alice namespaces="a\"b,*" ` + key:                                     "",
		"alice ssh-ed25519":                                                    "",
		"alice ssh-rsa " + strings.Fields(key)[1]:                              "",
		"alice " + key[:len(key)-4]:                                            "",
		"alice " + key + "\nbob nonsense " + key:                               strict,
		"bob nonsense " + key + "\nalice " + key:                               strict,
		"alice nonsense " + key + "\nalice " + key:                             strict,
		"alice " + b.signers["ecdsa"].public + "\nalice " + key:                "",
		`al"i"ce ` + key:                                                       "",
		`alice namespaces="git" ` + key + "\n" + `alice namespaces="*" ` + key: "",
	} {
		b.compare(t, text, "alice", "alice", noon(), stricter)
	}
}
