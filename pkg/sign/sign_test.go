package sign

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

func manifest() []byte { return []byte("a manifest, as far as a signer knows") }

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// verify has ssh-keygen check blob by the file of allowed signers.
func verify(t *testing.T, blob []byte, allowed, principal string, class sshsig.Class) error {
	t.Helper()
	sig := filepath.Join(t.TempDir(), "sig")
	if err := os.WriteFile(sig, sshsig.Armor(blob), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", allowed, "-I", principal, "-n", class.Namespace(), "-s", sig)
	cmd.Stdin = bytes.NewReader(manifest())
	return cmd.Run()
}

func mustSign(t *testing.T, spec string, o Options) []byte {
	t.Helper()
	s, err := Open(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	blob, err := s.Sign(manifest())
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestDefaultKeyFromNothing(t *testing.T) {
	t.Parallel()
	p := Places{Home: t.TempDir()}
	o := Options{Class: sshsig.Operator, Places: p}
	if _, err := Open("", o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key yet: %v", err)
	}
	for i, want := range []bool{true, false} {
		if made, err := MakeDefault(p, "alice@site"); err != nil || made != want {
			t.Fatalf("MakeDefault %d: %v, %v", i, made, err)
		}
	}
	blob := mustSign(t, "", o)
	if err := verify(t, blob, p.Trust(), "alice@site", sshsig.Operator); err != nil {
		t.Errorf("ssh-keygen: %v", err)
	}
	if verify(t, blob, p.Trust(), "bob", sshsig.Operator) == nil || verify(t, blob, p.Trust(), "alice@site", sshsig.Self) == nil {
		t.Error("ssh-keygen accepts another name or class")
	}
	o.Class = sshsig.Host
	if verify(t, mustSign(t, "", o), p.Trust(), "alice@site", sshsig.Host) == nil {
		t.Error("a user's own key is allowed to sign for the host")
	}
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "key")
	pub, err := Keygen(path, "alice@site", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, "ssh-keygen", "-lf", path); !strings.Contains(got, sshsig.Fingerprint(pub)+" alice@site") {
		t.Errorf("ssh-keygen -l: %s", got)
	}
	if got := run(t, "ssh-keygen", "-y", "-P", "secret", "-f", path); !strings.HasPrefix(got, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))) {
		t.Errorf("ssh-keygen -y: %s", got)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, path + ".pub": 0o644, filepath.Dir(path): 0o700} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm()&^want != 0 {
			t.Errorf("%s: mode %v, %v", name, fi.Mode(), err)
		}
	}
	if _, err := Keygen(path, "", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second time: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Keygen(path, "", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a .pub: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a pair stays behind: %v", err)
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pub, err := Keygen(filepath.Join(dir, "key"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "allowed")
	if err := os.WriteFile(path, []byte("# no newline at its end"), 0o644); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			if added, err := Authorize(path, name, []sshsig.Class{sshsig.Self}, pub); err != nil || !added {
				t.Errorf("%s: %v %v", name, added, err)
			}
		})
	}
	wg.Wait()
	if added, err := Authorize(path, "a", []sshsig.Class{sshsig.Self}, pub); err != nil || added {
		t.Errorf("again: %v %v", added, err)
	}
	blob := mustSign(t, filepath.Join(dir, "key"), Options{Class: sshsig.Self})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		if err := verify(t, blob, path, name, sshsig.Self); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "a b", "a,b", "*", "!a", "a\nb", `"a`, "#a"} {
		if _, err := Authorize(path, bad, []sshsig.Class{sshsig.Self}, pub); err == nil {
			t.Errorf("principal %q accepted", bad)
		}
	}
}

// keyTypes are ssh-keygen's arguments for each type that a file can hold.
func keyTypes() map[string][]string {
	return map[string][]string{
		"ed25519": {"-t", "ed25519"}, "ecdsa256": {"-t", "ecdsa", "-b", "256"}, "ecdsa384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa521": {"-t", "ecdsa", "-b", "521"}, "rsa": {"-t", "rsa", "-b", "2048"},
		"pem": {"-t", "rsa", "-b", "2048", "-m", "PEM"}, "sec1": {"-t", "ecdsa", "-m", "PEM"}, "pkcs8": {"-t", "ecdsa", "-m", "PKCS8"},
	}
}

// newKey makes a key, a line that allows it, a certificate and a line for that.
func newKey(t *testing.T, passphrase string, args []string) (key, allowed string) {
	t.Helper()
	dir := t.TempDir()
	key, ca, allowed := filepath.Join(dir, "key"), filepath.Join(dir, "ca"), filepath.Join(dir, "allowed")
	run(t, append([]string{"ssh-keygen", "-q", "-N", passphrase, "-C", "comment", "-f", key}, args...)...)
	run(t, "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", ca)
	run(t, "ssh-keygen", "-q", "-s", ca, "-I", "id", "-n", "certified", key+".pub")
	var text []byte
	for prefix, file := range map[string]string{"alice ": key, `certified cert-authority,namespaces="*" `: ca} {
		pub, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, prefix...), pub...)
	}
	if err := os.WriteFile(allowed, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return key, allowed
}

func TestEveryKeyTypeAndItsCertificate(t *testing.T) {
	t.Parallel()
	for name, args := range keyTypes() {
		key, allowed := newKey(t, "", args)
		o := Options{Class: sshsig.Operator}
		if err := verify(t, mustSign(t, key, o), allowed, "alice", sshsig.Operator); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := verify(t, mustSign(t, key+".pub", o), allowed, "alice", sshsig.Operator); err != nil {
			t.Errorf("%s.pub: %v", name, err)
		}
		if err := verify(t, mustSign(t, key+"-cert.pub", o), allowed, "certified", sshsig.Operator); err != nil {
			t.Errorf("%s-cert.pub: %v", name, err)
		}
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t, "", []string{"-t", "ed25519"})
	for _, c := range []struct{ spec, principal, want string }{
		{key, "", "SHA256:"}, {key, "alice", "alice"}, {key + "-cert.pub", "", "certified"},
	} {
		s, err := Open(c.spec, Options{Class: sshsig.Self, Principal: c.principal})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.Claim(), c.want) {
			t.Errorf("%s: claims %q, want %q", c.spec, s.Claim(), c.want)
		}
	}
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	key, allowed := newKey(t, "secret", []string{"-t", "ed25519"})
	answers := func(list ...string) func(string) ([]byte, error) {
		return func(what string) ([]byte, error) {
			if !strings.Contains(what, key) {
				t.Errorf("asked for %q", what)
			}
			if len(list) == 0 {
				return nil, errors.New("cancelled")
			}
			a := list[0]
			list = list[1:]
			return []byte(a), nil
		}
	}
	o := Options{Class: sshsig.Self, Passphrase: answers("wrong", "secret")}
	if err := verify(t, mustSign(t, key, o), allowed, "alice", sshsig.Self); err != nil {
		t.Error(err)
	}
	for name, ask := range map[string]func(string) ([]byte, error){
		"nobody": nil, "cancel": answers(), "wrong": answers("a", "b", "c", "secret"),
	} {
		if _, err := Open(key, Options{Class: sshsig.Self, Passphrase: ask}); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t, "", []string{"-t", "ed25519"})
	dir := filepath.Dir(key)
	path := func(name string) string { return filepath.Join(dir, name) }
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(path(name), content, 0o600), os.Chmod(path(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("open", text, 0o640)
	write("empty", nil, 0o600)
	write("huge", make([]byte, maxKeyFile+1), 0o600)
	run(t, "mkfifo", "-m", "600", path("fifo"))
	run(t, "ssh-keygen", "-q", "-N", "", "-t", "rsa", "-b", "1024", "-f", path("weak"))
	run(t, "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", path("other"))
	write("other.pub", []byte(run(t, "cat", key+".pub")), 0o600)
	write("other-cert.pub", []byte(run(t, "cat", key+"-cert.pub")), 0o600)
	for name, want := range map[string]error{
		"open": ErrExposed, "empty": ErrKey, "huge": ErrKey, "fifo": ErrKey, "weak": ErrKey, "absent": fs.ErrNotExist,
		"other.pub": ErrKey, "other-cert.pub": ErrCertificate, "key.pub": nil,
	} {
		if _, err := Open(path(name), Options{Class: sshsig.Self}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := Open(key, Options{}); err == nil {
		t.Error("no class: accepted")
	}
}

func TestCertificatesNobodyWouldAccept(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"expired": {"-n", "a", "-V", "20200101:20210101"}, "future": {"-n", "a", "-V", "20900101:20910101"},
		"nobody": {}, "host": {"-h", "-n", "a"}, "forced": {"-n", "a", "-O", "force-command=x"},
	} {
		key, _ := newKey(t, "", []string{"-t", "ed25519"})
		ca := filepath.Join(filepath.Dir(key), "ca")
		run(t, append(append([]string{"ssh-keygen", "-q", "-s", ca, "-I", "id"}, args...), key+".pub")...)
		if _, err := Open(key+"-cert.pub", Options{Class: sshsig.Self}); !errors.Is(err, ErrCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// startAgent runs a real ssh-agent for the test and returns its socket.
func startAgent(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return socket
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("ssh-agent does not listen")
	return ""
}

func addKey(t *testing.T, socket, key string) {
	t.Helper()
	cmd := exec.Command("ssh-add", key)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ed25519", "ecdsa256", "ecdsa521", "rsa"} {
		socket := startAgent(t)
		key, allowed := newKey(t, "", keyTypes()[name])
		addKey(t, socket, key) // and its certificate
		o := Options{Class: sshsig.Operator, AgentSocket: socket}
		s, err := Open("agent", o)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{"agent", "agent:comment", "agent:" + s.Fingerprint()} {
			if err := verify(t, mustSign(t, spec, o), allowed, "alice", sshsig.Operator); err != nil {
				t.Errorf("%s %s: %v", name, spec, err)
			}
		}
		_ = s.Close()
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, mustSign(t, key+".pub", o), allowed, "alice", sshsig.Operator); err != nil {
			t.Errorf("%s public key: %v", name, err)
		}
		if err := verify(t, mustSign(t, key+"-cert.pub", o), allowed, "certified", sshsig.Operator); err != nil {
			t.Errorf("%s certificate: %v", name, err)
		}
	}
}

func TestAgentRefusals(t *testing.T) {
	t.Parallel()
	socket := startAgent(t)
	o := Options{Class: sshsig.Self, AgentSocket: socket}
	open := func(spec string, o Options) {
		t.Helper()
		if _, err := Open(spec, o); !errors.Is(err, ErrAgent) {
			t.Errorf("%s: %v", spec, err)
		}
	}
	open("agent", Options{Class: sshsig.Self})
	open("agent", Options{Class: sshsig.Self, AgentSocket: socket + "-absent"})
	open("agent", o)
	for range 2 {
		key, _ := newKey(t, "", []string{"-t", "ed25519"})
		addKey(t, socket, key)
	}
	open("agent", o)         // which of two?
	open("agent:comment", o) // likewise
	open("agent:other", o)
}

func TestSeveralSignersHaveOneOrder(t *testing.T) {
	t.Parallel()
	var signers []*Signer
	for range 4 {
		key, _ := newKey(t, "", []string{"-t", "ed25519"})
		s, err := Open(key, Options{Class: sshsig.Self})
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, s)
	}
	forward, err := All(manifest(), signers...)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(signers)
	backward, err := All(manifest(), signers...)
	if err != nil {
		t.Fatal(err)
	}
	if len(forward) != 4 || !slices.EqualFunc(forward, backward, bytes.Equal) || !slices.IsSortedFunc(forward, bytes.Compare) {
		t.Error("the order depends on who signed first")
	}
	if again := Add(forward, forward[2]); len(again) != 4 {
		t.Errorf("one signature twice: %d", len(again))
	}
}
