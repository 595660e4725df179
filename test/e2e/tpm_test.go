package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify/quote"
	"github.com/ckptool/ckpt/test/harness"
)

// softTPM runs a software TPM and gives an environment whose ckpt uses it, with a home of its own in it.
func softTPM(t *testing.T) (env []string, home string) {
	t.Helper()
	home = t.TempDir()
	address := filepath.Join(home, "tpm")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+home, "--flags", "not-need-init,startup-clear", "--server", "type=unixio,path="+address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", address); err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the software TPM does not answer")
		}
	}
	return append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_STATE_HOME="+home, "CKPT_TPM="+address), home
}

// attested is a job with a TPM about.
type attested struct {
	*job
	env  []string
	home string
}

func (a *attested) run(want int, tool string, args ...string) harness.Result {
	a.t.Helper()
	res := runs(a.t, harness.Command{Argv: append([]string{shared.tool(tool)}, args...), Env: a.env})
	if res.Code() != want {
		a.t.Fatalf("want code %d: %v", want, res)
	}
	return res
}

// list writes a list of machines.
func (a *attested) list(text string) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "machines")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// entries replaces what stands beside the manifest of an image.
func (a *attested) entries(from string, change func(entries [][]byte) [][]byte) string {
	a.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := image.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		a.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteSigned(&out, change(slices.Clone(r.Signatures()))); err != nil {
		a.t.Fatal(err)
	}
	path := a.image()
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *attested) refused(code int, what, machines, image string) {
	a.t.Helper()
	res := a.run(code, "rstr", "--verify", "--detach", "--attest="+machines, image)
	if !strings.Contains(res.Stderr, what) || a.left() {
		a.t.Errorf("want %q and nothing created: %v", what, res)
	}
}

// TestAttest: an image signed by a key in the TPM, with the TPM's word on how the machine booted and its count as the serial.
func TestAttest(t *testing.T) {
	t.Parallel()
	a := &attested{job: fixture(t, "tiny")}
	a.env, a.home = softTPM(t)
	a.run(cli.OK, "ckpt", "keygen", "--tpm")
	line := a.run(cli.OK, "ckpt", "keygen", "--attestation-key", "--pcrs=0-4,16").Stdout
	if !strings.Contains(line, " pcrs=sha256:0,1,2,3,4,16 digest=") {
		t.Fatalf("keygen says %q", line)
	}
	pid := strconv.Itoa(a.pid)
	earlier, image := a.image(), a.image()
	for _, path := range []string{earlier, image} {
		a.run(cli.OK, "ckpt", "--sign=tpm", "--attest=0-4,16", "--serial=tpm", "-o", path, pid)
	}
	if was, is := made(t, earlier)["serial"].(float64), made(t, image)["serial"].(float64); was < 1 || is <= was {
		t.Errorf("the TPM counts from %v to %v", was, is)
	}
	if res := ckpt(t, "show", "--json", image); !strings.Contains(res.Stdout, `"pcrs": "sha256:0,1,2,3,4,16"`) {
		t.Errorf("%v", res)
	}
	shown := a.run(cli.OK, "ckpt", "show", "--attestation", image).Stdout
	if _, rest, _ := strings.Cut(line, " "); shown != "MACHINE "+rest {
		t.Errorf("ckpt show --attestation prints %q, keygen %q", shown, line)
	}
	other := a.image()
	a.run(cli.OK, "ckpt", "--sign=tpm", "--attest=0", "-o", other, pid)
	plain := a.image()
	a.run(cli.OK, "ckpt", "--sign=tpm", "--kill", "-o", plain, pid)

	machines := a.list("# ours\n" + line)
	quoteOf := func(entries [][]byte) [][]byte {
		return slices.DeleteFunc(entries, func(e []byte) bool { return !quote.Is(e) })
	}
	withOld := a.entries(image, func(e [][]byte) [][]byte {
		var old [][]byte
		a.entries(earlier, func(e [][]byte) [][]byte { old = quoteOf(slices.Clone(e)); return e })
		return append(slices.DeleteFunc(e, quote.Is), old...)
	})
	stripped := a.entries(image, func(e [][]byte) [][]byte { return slices.DeleteFunc(e, quote.Is) })
	a.refused(cli.NotAttested, "the image has no quote", machines, plain)
	a.refused(cli.BadSign, "signature missing that the image claims: the quote by", machines, stripped)
	a.refused(cli.BadSign, "made for another image", machines, withOld)
	a.refused(cli.NotAttested, "vouches for sha256:0, not for sha256:0,1,2,3,4,16", machines, other)
	a.refused(cli.NotAttested, "attestation key not enrolled", a.list("# nobody\n"), image)
	a.refused(cli.NotAttested, "the digest of", a.list(changeDigest(line)), image)
	cut := a.entries(image, func(e [][]byte) [][]byte { e[len(e)-1] = e[len(e)-1][:100]; return e })
	a.refused(cli.BadSign, "malformed quote", machines, cut)

	// Another signature may come beside it.
	a.run(cli.OK, "ckpt", "sign", image)
	was := a.progress().Seq
	a.run(cli.OK, "rstr", "--verify", "--detach", "--attest="+machines, image)
	if !a.left() {
		t.Fatalf("it is not there; it stood at %d", was)
	}
}

// changeDigest is a line for a machine that booted otherwise.
func changeDigest(line string) string {
	at := strings.Index(line, "digest=") + len("digest=")
	digit := byte('0')
	if line[at] == digit {
		digit = '1'
	}
	return line[:at] + string(digit) + line[at+1:]
}
