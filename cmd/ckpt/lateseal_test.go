package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// late is an image in a spool that waits for its signature.
func late(t *testing.T) (*lateSeal, []byte) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if _, err := sign.Keygen(key, "here", nil); err != nil {
		t.Fatal(err)
	}
	s, err := sign.Open(key, sign.Options{Class: sshsig.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := &lateSeal{path: filepath.Join(dir, "image"), signers: []*sign.Signer{s}}
	var out bytes.Buffer
	m := &image.Manifest{Header: image.Header{Class: image.ClassHost, Signer: s.Claim(), Created: 1, Arch: "amd64"}, PIDs: image.PIDs{7}, Tree: []byte{0xa0}}
	if err := image.NewWriter(&out, image.Options{}).Close(m, l.note); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.unsigned(), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return l, out.Bytes()
}

// An image that is signed where it lies has a signature then, and its name.
func TestLateSeal(t *testing.T) {
	l, _ := late(t)
	if err := l.sign(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := image.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if sigs := r.Signatures(); len(sigs) != 1 || !bytes.Equal(r.ManifestBytes(), l.manifest) {
		t.Errorf("%d signatures", len(sigs))
	}
	if _, err := os.Stat(l.unsigned()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unsigned one: %v", err)
	}
}

// What can't be signed any more is whole all the same, and there; a tree that lives leaves nothing.
func TestLateSealFails(t *testing.T) {
	for name, spoil := range map[string]func(*lateSeal){
		"another manifest": func(l *lateSeal) { l.manifest = []byte("another") },
		"no name": func(l *lateSeal) { // is to be had
			if err := os.MkdirAll(filepath.Join(l.path, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		l, whole := late(t)
		spoil(l)
		err := l.sign()
		if err == nil {
			t.Errorf("%s: it was signed", name)
			continue
		}
		b, gone := os.ReadFile(l.unsigned())
		if gone != nil || name != "no name" && !bytes.Equal(b, whole) {
			t.Errorf("%s: %d bytes of %d are there, %v", name, len(b), len(whole), gone)
		}
		if said := l.explain(&dump.KilledError{Err: err}).Error(); !strings.Contains(said, "was killed") || !strings.Contains(said, l.unsigned()) {
			t.Errorf("%s: %s", name, said)
		}
		if said := l.explain(err); said != err {
			t.Errorf("%s: of a tree that lives: %v", name, said)
		}
		if _, err := os.Stat(l.unsigned()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a tree that lives leaves an image: %v", name, err)
		}
	}
}
