package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

func imageWith(t *testing.T, options map[string]string) *verify.Image {
	t.Helper()
	var out bytes.Buffer
	m := &image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: 1, Arch: "amd64", Options: options}, PIDs: image.PIDs{1}, Tree: []byte{0xa0}}
	if err := image.NewWriter(&out, image.Options{}).Close(m, nil); err != nil {
		t.Fatal(err)
	}
	img, err := verify.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), verify.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// An image that asks for it is restored once; one that doesn't leaves no trace.
func TestConsume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ckpt")
	once := imageWith(t, map[string]string{verify.OptionOnce: "1"})
	e := once.Entry(uint32(os.Getuid()), time.Now())
	var said strings.Builder
	s := &cli.Speaker{Program: "rstr", To: &said}
	if err := consumeIn(dir, e.Caller, e, once.Rule(), s); err != nil {
		t.Fatal(err)
	}
	err := consumeIn(dir, e.Caller, e, once.Rule(), s)
	if !errors.Is(err, verify.ErrConsumed) || exitCode(err) != cli.Consumed {
		t.Errorf("again: %v, code %d", err, exitCode(err))
	}
	if said.Len() != 0 {
		t.Errorf("said %q", said.String())
	}
	e.Override = true
	if err := consumeIn(dir, e.Caller, e, once.Rule(), s); err != nil || !strings.Contains(said.String(), "--again") {
		t.Errorf("overridden: %v, said %q", err, said.String())
	}
	if err := new(options).consume(imageWith(t, nil), time.Now(), s); err != nil {
		t.Error(err)
	}
}
