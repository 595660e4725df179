package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// TestLentCkpt: a ckpt with the file capability follows the links of map_files for its caller and does nothing else for her; one that is
// set-user-id does nothing for her that a plain one would not.
func TestLentCkpt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		tool, want string
	}{
		"file capability": {w.install("ckpt", "ckpt-cap", 0o755, unix.CAP_CHECKPOINT_RESTORE), "map_files"},
		"set-user-id":     {w.install("ckpt", "ckpt-suid", 0o755|os.ModeSetuid), "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{w.World, t}
			j, eves := w.begin(harness.Alice, "mem_unheld"), w.begin(harness.Eve, "counter")
			image := j.image()
			if res := w.run(harness.Alice, c.tool, "-o", image, strconv.Itoa(j.pid)); !res.OK() {
				t.Fatal(res)
			}
			if got := shown(t, image); got[c.want] < 7 {
				t.Errorf("mapped files were found by %v", got)
			}
			info, err := os.Stat(image)
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(harness.Alice.ID) || info.Mode().Perm() != 0o600 {
				t.Errorf("the image: %v, %v", info, err)
			}
			refusal(t, w.run(harness.Alice, c.tool, "-o", j.image(), strconv.Itoa(eves.pid)), cli.NotAllowed, "CAP_SYS_PTRACE")
			refusal(t, w.run(harness.Alice, c.tool, "-f", "-o", "/etc/motd", strconv.Itoa(j.pid)), cli.NotAllowed, "")
			refusal(t, runs(t, harness.Command{Argv: w.As(harness.Alice, c.tool, "show", image), Env: []string{"GODEBUG=x=1"}}), cli.NotAllowed, "GODEBUG")
			for _, args := range [][]string{{"sign", "--key=" + filepath.Join(w.Etc, "key"), image}, {"show", filepath.Join(w.Etc, "shadow")}} {
				if res := w.run(harness.Alice, append([]string{c.tool}, args...)...); res.OK() {
					t.Errorf("it did: %v", res)
				}
			}
			j.goesOn(2)
			eves.goesOn(2)
		})
	}
	more := w.install("ckpt", "ckpt-more", 0o755, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SYS_PTRACE)
	refusal(t, w.run(harness.Alice, more, "check"), cli.NotAllowed, "more than it has a use for")
}
