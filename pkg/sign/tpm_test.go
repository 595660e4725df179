package sign

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// startTPM runs a software TPM of its own for the test; restart starts it again
// with the same state, as a reboot would.
func startTPM(t *testing.T) (address string, restart func()) {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Fatal("no swtpm; make test installs it")
	}
	dir := t.TempDir()
	address = filepath.Join(dir, "tpm")
	var cmd *exec.Cmd
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	start := func() {
		cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init,startup-clear",
			"--server", "type=unixio,path="+address)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	t.Cleanup(func() { stop() })
	waitFor(t, address)
	return address, func() {
		stop()
		_ = os.Remove(address)
		start()
		waitFor(t, address)
	}
}

// waitFor waits until a server listens on the socket.
func waitFor(t *testing.T, path string) {
	t.Helper()
	for range 500 {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", path)
}

// password answers with each of list in turn.
func password(list ...string) func(string) ([]byte, error) {
	return func(string) ([]byte, error) {
		if len(list) == 0 {
			return nil, errors.New("no more answers")
		}
		a := list[0]
		list = list[1:]
		return []byte(a), nil
	}
}

func TestTPMKeys(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]TPMKeyOptions{
		"plain": {}, "password": {Auth: []byte("secret")}, "pcrs": {PCRs: []uint{7, 0, 7}},
		"both": {PCRs: []uint{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, Auth: []byte("secret")}, "p384": {P384: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var restart func()
			o.TPM, restart = startTPM(t)
			o.Comment = "alice"
			dir := t.TempDir()
			path, allowed := filepath.Join(dir, "new", "tpm.pem"), filepath.Join(dir, "allowed")
			pub, err := KeygenTPM(path, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Authorize(allowed, "alice", []sshsig.Class{sshsig.Host}, pub); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				restart()
				so := Options{Class: sshsig.Host, TPM: o.TPM, Passphrase: password("secret")}
				if err := verify(t, mustSign(t, "tpm:"+path, so), allowed, "alice", sshsig.Host); err != nil {
					t.Errorf("ssh-keygen: %v", err)
				}
			}
		})
	}
}

func TestTPMRefusals(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, o := range map[string]TPMKeyOptions{
		"password": {TPM: address, Auth: []byte("secret")}, "pcrs": {TPM: address, PCRs: []uint{16}}, "plain": {TPM: address},
	} {
		if _, err := KeygenTPM(path(name), o); err != nil {
			t.Fatal(err)
		}
	}
	try := func(what, spec string, ask func(string) ([]byte, error), want error) {
		t.Helper()
		s, err := Open("tpm:"+path(spec), Options{Class: sshsig.Self, TPM: address, Passphrase: ask})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err == nil {
			_ = s.Close()
		}
	}
	try("second password", "password", password("a", "secret"), nil)
	try("nobody to ask", "password", nil, ErrPassphrase)
	try("wrong password", "password", password("b"), ErrPassphrase)
	try("PCRs as they were", "pcrs", nil, nil)
	extend(t, address, 16)
	try("changed PCR", "pcrs", nil, ErrTPMPolicy)
	other, _ := startTPM(t)
	if _, err := Open("tpm:"+path("plain"), Options{Class: sshsig.Self, TPM: other}); !errors.Is(err, ErrTPMKey) {
		t.Errorf("another TPM: %v", err)
	}
	if _, err := Open("tpm:"+path("plain"), Options{Class: sshsig.Self, TPM: path("absent")}); !errors.Is(err, ErrTPMMissing) {
		t.Errorf("no TPM: %v", err)
	}
	if _, err := Open("tpm:"+path("plain"), Options{Class: sshsig.Self, TPM: path("plain")}); !errors.Is(err, ErrTPMMissing) {
		t.Errorf("a file: %v", err)
	}
	if err := os.WriteFile(path("junk"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("tpm:"+path("junk"), Options{Class: sshsig.Self, TPM: address}); !errors.Is(err, ErrTPMKey) {
		t.Errorf("junk: %v", err)
	}
}

// Wrong passwords lock the TPM out, which is another message than a wrong one.
func TestTPMLockout(t *testing.T) {
	t.Parallel()
	address, _ := startTPM(t)
	conn, err := dialTPM(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	key, err := createTPMKey(conn, TPMKeyOptions{Auth: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := loadTPMKey(conn, key, signing)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[error]int{}
	for range 40 {
		err := k.unlock("", true, password("wrong", "wrong", "wrong"))
		for _, class := range []error{ErrTPMAuth, ErrTPMLockout} {
			if errors.Is(err, class) {
				seen[class]++
			}
		}
	}
	if seen[ErrTPMAuth] == 0 || seen[ErrTPMLockout] == 0 || seen[ErrTPMAuth]+seen[ErrTPMLockout] != 40 {
		t.Errorf("%v", seen)
	}
}

// extend changes a PCR, as other firmware would, without a restart after it.
func extend(t *testing.T, address string, pcr uint32) {
	t.Helper()
	conn, err := dialTPM(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	extendBy(t, conn, pcr)
}

func extendBy(t *testing.T, conn *tpmConn, pcr uint32) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)},
		}},
	}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
}

// fakeTPM answers each command with what answer makes of its number.
func fakeTPM(t *testing.T, answer func(n int) []byte) *tpmConn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close(); _ = ours.Close() })
	go func() {
		b := make([]byte, tpmMax)
		for n := 0; ; n++ {
			if _, err := theirs.Read(b); err != nil {
				return
			}
			if a := answer(n); a != nil {
				_, _ = theirs.Write(a)
			}
		}
	}()
	return &tpmConn{rw: ours, timeout: 300 * time.Millisecond}
}

func response(size, rc uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x80, 0x01}, size)
	return append(binary.BigEndian.AppendUint32(b, rc), body...)
}

func TestTransport(t *testing.T) {
	t.Parallel()
	warn := func(rc tpm2.TPMRC) func(int) []byte {
		return func(n int) []byte {
			if n < 3 {
				return response(10, uint32(rc))
			}
			return response(11, 0, 7)
		}
	}
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate} {
		if b, err := fakeTPM(t, warn(rc)).Send([]byte("command")); err != nil || len(b) != 11 {
			t.Errorf("%v: %x, %v", rc, b, err)
		}
	}
	for name, c := range map[string]struct {
		answer func(int) []byte
		want   error
	}{
		"silent":            {func(int) []byte { return nil }, ErrTPMBusy},
		"always retry":      {func(int) []byte { return response(10, uint32(tpm2.TPMRCRetry)) }, ErrTPMBusy},
		"half":              {func(int) []byte { return response(20, 0) }, ErrTPMBusy},
		"too long":          {func(int) []byte { return response(1<<20, 0) }, ErrTPM},
		"too short":         {func(int) []byte { return response(9, 0) }, ErrTPM},
		"more than it says": {func(int) []byte { return response(10, 0, 1, 2) }, ErrTPM},
	} {
		start := time.Now()
		conn := fakeTPM(t, c.answer)
		if _, err := conn.Send([]byte("command")); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
	// After a timeout the connection is of no use: the late answer is not the next.
	late := fakeTPM(t, func(int) []byte { time.Sleep(400 * time.Millisecond); return response(10, 0) })
	for range 2 {
		if _, err := late.Send([]byte("command")); !errors.Is(err, ErrTPMBusy) {
			t.Errorf("late: %v", err)
		}
	}
	if _, err := (&tpmConn{rw: ended{}, timeout: time.Second}).Send(nil); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("ended: %v", err)
	}
}

// ended is a TPM that is gone.
type ended struct{}

func (ended) Read([]byte) (int, error)    { return 0, io.EOF }
func (ended) Write(b []byte) (int, error) { return len(b), nil }
func (ended) Close() error                { return nil }

// A TPM may also be reached by TCP.
func TestTPMByTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+t.TempDir(), "--flags", "not-need-init,startup-clear", "--server", "type=tcp,port="+port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	path := filepath.Join(t.TempDir(), "key")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := KeygenTPM(path, TPMKeyOptions{TPM: "127.0.0.1:" + port})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	mustSign(t, "tpm:"+path, Options{Class: sshsig.Self, TPM: "127.0.0.1:" + port})
}
