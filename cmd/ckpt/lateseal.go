package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
)

// lateSeal signs an image in the spool when the tree is dead that it is of: as
// long as the tree runs there is nothing that could be restored beside it. By
// then the image is whole and on the disk, without a signature and by another
// name, so that no failure, be it of power, loses the state. What is left to do
// is small: a few hundred bytes, and a new name.
type lateSeal struct {
	path     string // that the signed image is to have
	signers  []*sign.Signer
	manifest []byte // of the image that was written
}

// note leaves an image unsigned for now.
func (l *lateSeal) note(manifest []byte) ([][]byte, error) {
	l.manifest = manifest
	return nil, nil
}

// unsigned is the name of the image until then, by which no rstr takes it from
// the spool.
func (l *lateSeal) unsigned() string { return l.path + ".unsigned" }

// sign signs the image where it lies.
func (l *lateSeal) sign() error {
	f, err := os.OpenFile(l.unsigned(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.append(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(l.unsigned(), l.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.path))
}

// append puts the signatures into the image. If that can't be done, it is left
// as it was.
func (l *lateSeal) append(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := image.Open(f, st.Size())
	if err != nil {
		return err
	}
	if !bytes.Equal(r.ManifestBytes(), l.manifest) {
		return errors.New("it is not the image that was written")
	}
	sigs, err := sign.All(l.manifest, l.signers...)
	if err != nil {
		return err
	}
	at, end, err := r.Signed(sigs)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(end, at); err == nil {
		return nil
	}
	if at, end, back := r.Signed(nil); back == nil {
		_, back = f.WriteAt(end, at)
		err = errors.Join(err, back, f.Truncate(st.Size()))
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// explain says what is left where the tree was killed and its image could not be
// signed. Of a tree that goes on nothing is left.
func (l *lateSeal) explain(err error) error {
	var killed *dump.KilledError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &killed):
		if gone := os.Remove(l.unsigned()); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	}
	err = fmt.Errorf("the tree was killed, but its image could not be signed: %w; it is in %s", err, l.unsigned())
	return cli.WithHint(err, "root restores it: rstr --trust-unsigned %s", l.unsigned())
}
