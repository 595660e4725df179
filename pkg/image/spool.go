package image

import (
	"fmt"
	"io"
	"os"
)

// Spool copies an image from a pipe into an unlinked file in dir, readable by its
// owner only, and returns it with its size; closing it frees the space. What does
// not start as an image is refused at once, what has more than limit bytes when
// they are full (ErrLimit).
func Spool(r io.Reader, dir string, limit int64) (*os.File, int64, error) {
	head := make([]byte, magicSize)
	n, err := io.ReadFull(r, head)
	switch {
	case err == io.EOF:
		return nil, 0, fmt.Errorf("reading the image: no input: %w", ErrTruncated)
	case err == io.ErrUnexpectedEOF:
		return nil, 0, fmt.Errorf("reading the image: %d bytes: %w", n, ErrTruncated)
	case err != nil:
		return nil, 0, fmt.Errorf("reading the image: %w", err)
	}
	if err := checkMagic(head); err != nil {
		return nil, 0, err
	}
	f, err := unlinked(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("spooling the image: %w", err)
	}
	size, err := spool(f, head, r, limit)
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("spooling the image in %s: %w", dir, err)
	}
	return f, size, nil
}

func spool(f *os.File, head []byte, r io.Reader, limit int64) (int64, error) {
	if _, err := f.Write(head); err != nil {
		return 0, err
	}
	n, err := io.Copy(f, io.LimitReader(r, max(limit, magicSize)-magicSize+1))
	size := n + magicSize
	if err == nil && size > limit {
		err = fmt.Errorf("it has more than %d bytes: %w", limit, ErrLimit)
	}
	return size, err
}

// named makes a file and removes its name; CreateTemp uses O_EXCL and mode 0600.
func named(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "ckpt-spool-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
