package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
)

// writeInitramfs writes an archive with the files, by their paths in the machine; each value is a path on the host
// whose permission bits are kept (Documentation/driver-api/early-userspace/buffer-format.rst, "newc").
func writeInitramfs(w io.Writer, files map[string]string) error {
	buf := bufio.NewWriterSize(w, 1<<20)
	n := 0
	made := map[string]bool{"/": true}
	var dirs func(dir string) error
	dirs = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := dirs(path.Dir(dir)); err != nil {
			return err
		}
		n++
		return writeEntry(buf, n, dir[1:], 0o40755, 0, nil)
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range append(names, "/proc/.", "/sys/.", "/dev/.", "/tmp/.", "/run/.", "/etc/.", "/var/lib/.") {
		if err := dirs(path.Dir(name)); err != nil {
			return err
		}
		if path.Base(name) == "." {
			continue
		}
		n++
		if err := writeFile(buf, n, name, files[name]); err != nil {
			return err
		}
	}
	if err := writeEntry(buf, 0, "TRAILER!!!", 0, 0, nil); err != nil {
		return err
	}
	return buf.Flush()
}

func writeFile(w io.Writer, n int, name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return writeEntry(w, n, name[1:], 0o100000|uint32(st.Mode().Perm()), st.Size(), f)
}

// writeEntry writes a header of 110 bytes, the name, and the content, each padded to 4 bytes.
func writeEntry(w io.Writer, ino int, name string, mode uint32, size int64, content io.Reader) error {
	if size >= 1<<32 {
		return fmt.Errorf("%s: too large for an initramfs", name)
	}
	fields := []any{ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0}
	header := "070701"
	for _, f := range fields {
		header += fmt.Sprintf("%08x", f)
	}
	if _, err := io.WriteString(w, header+name+pad(len(header)+len(name)+1)+"\x00"); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	if _, err := io.CopyN(w, content, size); err != nil {
		return err
	}
	_, err := io.WriteString(w, pad(int(size)))
	return err
}

// pad is what comes after n bytes.
func pad(n int) string { return "\x00\x00\x00"[:(4-n%4)%4] }
