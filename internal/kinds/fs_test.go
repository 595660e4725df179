package kinds

import (
	"testing"

	"github.com/ckptool/ckpt/internal/kind"
)

func TestFS(t *testing.T) {
	site := &kind.FSSite{ID: 7, Task: sampleTask(), Cwd: &kind.InodeSite{ID: 3}, Root: &kind.InodeSite{ID: 4, Path: "/"}}
	_, steps := through(t, FS(), site)
	golden(t, steps, `connect: !file:inode 3:x fchdir@fs 7({inode 3})`, `arm: umask@fs 7(18)`)

	site.Root.Path = "/srv/jail"
	_, steps = through(t, FS(), site)
	golden(t, steps, `connect: !file:inode 3:x fchdir@fs 7({inode 3})`, `arm: umask@fs 7(18)`, `creds: !root-dir chroot@fs 7(2f7372762f6a61696c00)`)
	site.Root = nil
	site.Cwd = nil
	refused(t, FS(), site, "working directory")
	checks(t, FS(),
		[]fsRecord{{Cwd: 1}, {Umask: 0o777, Cwd: 1}},
		map[string]fsRecord{"a umask with more bits": {Umask: 0o1000, Cwd: 1}, "no directory": {}, "a relative root": {Cwd: 1, Root: []byte("srv")}})
}
