package verify

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var errOther = errors.New("content that nobody signed")

// An image that somebody rewrites while it is read gives what was verified, or an
// error: never anything else.
func TestRewrittenWhileRead(t *testing.T) {
	t.Parallel()
	alice := newPerson(t)
	h := header()
	h.Signer, h.Class = "alice", "operator"
	good := build(t, h, mark{alice, Operator})
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rewrite(f, good, stop)
	}()
	defer func() { close(stop); <-done }()
	o := options(system(alice.line("alice", pinned)))
	o.RequireTrusted = true
	right, refused := 0, 0
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		switch err := readFile(f, int64(len(good)), o); {
		case err == nil:
			right++
		case errors.Is(err, errOther):
			t.Fatal(err)
		default:
			refused++
		}
	}
	if right == 0 || refused == 0 {
		t.Errorf("%d right, %d refused: the writer proves nothing", right, refused)
	}
}

// rewrite writes random bytes at random places, and the right ones again.
func rewrite(f *os.File, good []byte, stop chan struct{}) {
	var r [4]byte
	for {
		select {
		case <-stop:
			return
		default:
		}
		_, _ = rand.Read(r[:])
		at := (int(r[0])<<16 | int(r[1])<<8 | int(r[2])) % len(good)
		_, _ = f.WriteAt(r[3:], int64(at))
		time.Sleep(100 * time.Microsecond)
		_, _ = f.WriteAt(good, 0)
		time.Sleep(300 * time.Microsecond)
	}
}

func readFile(f *os.File, size int64, o Options) error {
	i, err := Open(f, size, o)
	if err != nil {
		return err
	}
	got, err := i.ReadBlob(i.Manifest().Blobs[0], 1<<30)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, content()) || i.Manifest().Header.Signer != "alice" {
		return errOther
	}
	return nil
}

func BenchmarkOpen(b *testing.B) {
	alice := newPerson(b)
	h := header()
	h.Signer, h.Class = "alice", "operator"
	img := build(b, h, mark{alice, Operator})
	o := options(system(alice.line("alice", pinned)))
	for b.Loop() {
		if _, err := open(img, o); err != nil {
			b.Fatal(err)
		}
	}
}
