package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/pkg/image"
)

// terminal is a pseudoterminal whose other side a command has as its own.
type terminal struct {
	t     *testing.T
	ptmx  *os.File
	tty   *os.File
	mu    sync.Mutex
	shown strings.Builder
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &terminal{t: t, ptmx: ptmx, tty: tty}
	t.Cleanup(func() { tty.Close(); ptmx.Close() })
	go func() { _, _ = io.Copy(c, ptmx) }()
	return c
}

// Write takes what the terminal shows.
func (c *terminal) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.Write(p)
}

func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.String()
}

func (c *terminal) waitFor(what string) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(c.text(), what); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			c.t.Fatalf("the terminal shows %q, not %q", c.text(), what)
		}
	}
}

func (c *terminal) echoes() bool {
	t, err := unix.IoctlGetTermios(int(c.tty.Fd()), unix.TCGETS)
	return err == nil && t.Lflag&unix.ECHO != 0
}

// start runs ckpt with the terminal as its own.
func (c *terminal) start(args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := &exec.Cmd{Path: os.Args[0], Args: append([]string{"ckpt"}, args...), Stdin: c.tty, Stdout: c.tty, Stderr: c.tty,
		Env: append(os.Environ(), "HOME="+c.t.TempDir(), "SSH_ASKPASS=/bin/false"), SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return cmd
}

// unsigned is the file of an image without a signature.
func unsigned(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	m := &image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: 1700000000, Arch: "amd64"}, PIDs: image.PIDs{1}, Tree: []byte{0xa0}}
	if err := image.NewWriter(&out, image.Options{}).Close(m, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A passphrase is asked for on the terminal, which does not show it, and is as before when that was interrupted.
func TestPassphraseOnTerminal(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path := unsigned(t)
	c := newTerminal(t)
	cmd := c.start("sign", "-k", key, path)
	c.waitFor(`passphrase for key "` + key + `": `)
	fmt.Fprint(c.ptmx, "secret\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %q", err, c.text())
	}
	if strings.Contains(c.text(), "secret") || !c.echoes() {
		t.Errorf("shown: %q, echoes: %v", c.text(), c.echoes())
	}

	c = newTerminal(t)
	cmd = c.start("sign", "-k", key, unsigned(t))
	c.waitFor("passphrase for")
	fmt.Fprint(c.ptmx, "\x03")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("interrupted: %v: %q", err, c.text())
	}
	if !c.echoes() {
		t.Error("the terminal does not show any more what is typed")
	}
}
