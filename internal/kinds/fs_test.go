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
	refused(t, FS(), site, "/srv/jail")
	site.Root = nil
	site.Cwd = nil
	refused(t, FS(), site, "working directory")
	checks(t, FS(),
		[]fsRecord{{Cwd: 1}, {Umask: 0o777, Cwd: 1}},
		map[string]fsRecord{"a umask with more bits": {Umask: 0o1000, Cwd: 1}, "no directory": {}})
}
