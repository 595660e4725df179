package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// trustName is what -only calls the part about signatures.
const trustName = "signatures"

// signRuns are signatures that a median is taken of.
const signRuns = 51

// trustRow is a line of the table: what a key costs.
type trustRow struct {
	name         string
	open, sign   time.Duration
	read, verify time.Duration // an image with nothing checked; its check beyond that
}

// trust measures keys of all sorts, in this process, and the verification of data against plain SHA-256.
func (b *bench) trust(out io.Writer) error {
	keys, stop, err := b.keys()
	defer stop()
	if err != nil {
		return err
	}
	var rows []trustRow
	for _, k := range keys {
		r, err := k.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		rows = append(rows, r)
	}
	printTrust(out, rows)
	return b.data(out)
}

func printTrust(out io.Writer, rows []trustRow) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush()
	fmt.Fprintln(t, "key\topen\tsign\tread image\tverify beyond\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t+%s\t\n", r.name, us(r.open), us(r.sign), us(r.read), us(r.verify))
	}
}

func us(d time.Duration) string { return fmt.Sprintf("%.0f µs", d.Seconds()*1e6) }

// keyCase is a key, and what makes signatures or quotes with it.
type keyCase struct {
	name string
	open func() (signer, ssh.PublicKey, error)
}

// signer signs a manifest and is closed.
type signer struct {
	sign  func([]byte) ([]byte, error)
	close func() error
}

func signerOf(spec string, o sign.Options) func() (signer, ssh.PublicKey, error) {
	return func() (signer, ssh.PublicKey, error) {
		s, err := sign.Open(spec, o)
		if err != nil {
			return signer{}, nil, err
		}
		return signer{s.Sign, s.Close}, s.PublicKey(), nil
	}
}

// keys makes one of each sort, with an agent and a TPM of the bench's own.
func (b *bench) keys() (cases []keyCase, stop func(), err error) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		return nil, func() {}, err
	}
	var daemons []*exec.Cmd
	stop = func() {
		for _, d := range daemons {
			_ = d.Process.Kill()
			_ = d.Wait()
		}
		os.RemoveAll(dir)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	o := sign.Options{Class: sshsig.Operator, AgentSocket: path("agent"), TPM: path("tpm")}
	for _, d := range [][]string{{"ssh-agent", "-D", "-a", o.AgentSocket},
		{"swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + dir, "--flags", "not-need-init,startup-clear", "--server", "type=unixio,path=" + o.TPM}} {
		cmd := exec.Command(d[0], d[1:]...)
		if err := cmd.Start(); err != nil {
			return nil, stop, err
		}
		daemons = append(daemons, cmd)
		if err := listening(d[0], path(map[bool]string{true: "agent", false: "tpm"}[d[0] == "ssh-agent"])); err != nil {
			return nil, stop, err
		}
	}
	for name, kind := range map[string][]string{"ed25519": {"ed25519"}, "ecdsa": {"ecdsa", "-b", "256"}, "rsa": {"rsa", "-b", "3072"}} {
		args := append([]string{"-q", "-N", "", "-f", path(name), "-t"}, kind...)
		if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
			return nil, stop, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	add := exec.Command("ssh-add", "-q", path("ed25519"))
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+o.AgentSocket)
	if out, err := add.CombinedOutput(); err != nil {
		return nil, stop, fmt.Errorf("ssh-add: %w: %s", err, out)
	}
	for name, attest := range map[string]bool{"tpm": false, "ak": true} {
		if _, err := sign.KeygenTPM(path(name+".pem"), sign.TPMKeyOptions{TPM: o.TPM, Attestation: attest}); err != nil {
			return nil, stop, err
		}
	}
	return []keyCase{
		{"file, ed25519", signerOf(path("ed25519"), o)}, {"file, ECDSA P-256", signerOf(path("ecdsa"), o)},
		{"file, RSA 3072", signerOf(path("rsa"), o)}, {"ssh-agent, ed25519", signerOf("agent", o)},
		{"swtpm, ECDSA P-256", signerOf("tpm:"+path("tpm.pem"), o)},
		{"swtpm, quote", func() (signer, ssh.PublicKey, error) {
			a, err := sign.OpenAttestor(path("ak.pem"), []uint{0, 1, 2, 3, 4, 5, 6, 7}, o)
			if err != nil {
				return signer{}, nil, err
			}
			return signer{a.Quote, a.Close}, nil, nil
		}},
	}, stop, nil
}

func listening(what, path string) error {
	for range 500 {
		if c, err := net.Dial("unix", path); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen", what)
}

// measure opens the key, signs images and verifies them. Package sign prepares while ckpt freezes; so it is here.
func (k keyCase) measure() (trustRow, error) {
	r := trustRow{name: k.name}
	sign.Prepare()
	var opens, signs, reads, checks []time.Duration
	for range 5 {
		begin := time.Now()
		s, _, err := k.open()
		if err != nil {
			return r, err
		}
		opens = append(opens, time.Since(begin))
		if err := s.close(); err != nil {
			return r, err
		}
	}
	s, pub, err := k.open()
	if err != nil {
		return r, err
	}
	defer s.close()
	b, err := smallImage(func(m []byte) ([][]byte, error) {
		var blob []byte
		for range signRuns {
			begin := time.Now()
			if blob, err = s.sign(m); err != nil {
				return nil, err
			}
			signs = append(signs, time.Since(begin))
		}
		return [][]byte{blob}, nil
	})
	if err != nil {
		return r, err
	}
	o := verify.Options{Now: time.Now(), Caller: uint32(os.Getuid())}
	if pub != nil {
		line := "alice namespaces=\"ckpt-image-operator@v1\" " + string(ssh.MarshalAuthorizedKey(pub))
		o.Trust, o.RequireTrusted = []verify.TrustFile{{Source: verify.System, Bytes: []byte(line)}}, true
	}
	for range signRuns {
		read, err := timed(func() error { return onlyRead(b) })
		if err != nil {
			return r, err
		}
		check, err := timed(func() error { _, err := verify.Open(bytes.NewReader(b), int64(len(b)), o); return err })
		if err != nil {
			return r, err
		}
		reads, checks = append(reads, read), append(checks, check-read)
	}
	r.open, r.sign, r.read, r.verify = median(opens), median(signs), median(reads), median(checks)
	return r, nil
}

func timed(do func() error) (time.Duration, error) {
	begin := time.Now()
	err := do()
	return time.Since(begin), err
}

// onlyRead opens and decodes an image and believes all of it.
func onlyRead(b []byte) error {
	r, err := image.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	_, err = r.Decode()
	return err
}

// smallImage has a manifest of the size that a small program's has.
func smallImage(sign func([]byte) ([][]byte, error)) ([]byte, error) {
	var out bytes.Buffer
	m := &image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: time.Now().Unix(), Arch: "amd64"}, PIDs: image.PIDs{1}, Tree: []byte{0xa0}}
	for id := range uint32(200) {
		m.Records = append(m.Records, image.Record{ID: id, Kind: "private-memory", Version: 1, Body: bytes.Repeat([]byte{0x18}, 64)})
	}
	err := image.NewWriter(&out, image.Options{}).Close(m, sign)
	return out.Bytes(), err
}

const dataSize = 256 << 20

// data compares the verification of data that is not compressed with SHA-256 over the same chunks and nothing else, by turns, on one CPU.
func (b *bench) data(out io.Writer) error {
	memory := make([]byte, dataSize)
	rand.NewChaCha8([32]byte{}).Read(memory)
	var whole bytes.Buffer
	w := image.NewWriter(&whole, image.Options{Codec: image.CodecNone})
	blob, err := w.Start(bytes.NewReader(memory), []image.Extent{{Len: dataSize}}).Wait()
	if err != nil {
		return err
	}
	m := &image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: time.Now().Unix(), Arch: "amd64"}, PIDs: image.PIDs{1}, Tree: []byte{0xa0}}
	if err := w.Close(m, nil); err != nil {
		return err
	}
	img, err := verify.Open(bytes.NewReader(whole.Bytes()), int64(whole.Len()), verify.Options{Now: time.Now()})
	if err != nil {
		return err
	}
	var floors, checks []time.Duration
	buf := make([]byte, chunk)
	for range max(b.runs, 9) {
		// Both copy each chunk before they hash it: what could change meanwhile is no use.
		floor, err := timed(func() error { return hashAll(memory, buf) })
		if err != nil {
			return err
		}
		check, err := timed(func() error { return img.EachRun(blob, 1, func([]byte, []image.Extent) error { return nil }) })
		if err != nil {
			return err
		}
		floors, checks = append(floors, floor), append(checks, check)
	}
	floor, check := median(floors), median(checks)
	fmt.Fprintf(out, "data verified at %s, SHA-256 alone at %s: %+.1f %%\n", rate(check), rate(floor), 100*(check.Seconds()/floor.Seconds()-1))
	return nil
}

func hashAll(memory, buf []byte) error {
	for off := 0; off < len(memory); off += len(buf) {
		copy(buf, memory[off:])
		if sha256.Sum256(buf) == [32]byte{} {
			return errors.New("a digest of zeros")
		}
	}
	return nil
}

func rate(d time.Duration) string { return fmt.Sprintf("%.2f GB/s", dataSize/d.Seconds()/1e9) }
