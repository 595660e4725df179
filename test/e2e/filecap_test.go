package e2e

import (
	"maps"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// alone is what a process of alice's may do: nothing but what she is.
const alone = "Uid 20001 20001 20001 20001; Gid 20001 20001 20001 20001; Groups 20001 20010; CapInh 0000000000000000; " +
	"CapPrm 0000000000000000; CapEff 0000000000000000; CapAmb 0000000000000000; "

// TestFileCapability: rstr with cap_checkpoint_restore as a file capability gives an ordinary user her own processes back, whoever dumped
// them, at their PIDs; nothing of the capability reaches them.
func TestFileCapability(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rstr := w.rstr("rstr", 0o755, unix.CAP_CHECKPOINT_RESTORE)
	for _, name := range []string{"tiny", "threads", "tree", "pipes", "mem_shared", "share"} {
		for _, by := range []harness.User{harness.Superuser, harness.Alice} {
			if by.ID != 0 && (name == "tree" || name == "share" || name == "mem_shared") {
				continue // their shared memory has no name, and only root's ckpt gets at it
			}
			t.Run(name+" dumped by "+by.Name, func(t *testing.T) {
				w := &world{w.World, t}
				j := w.begin(harness.Alice, name)
				image := w.dump(by, j)
				was := j.progress().Seq
				if res := w.run(harness.Alice, rstr, "--detach", image); !res.OK() {
					t.Fatal(res)
				}
				j.reach(was + 2)
				if got := slices.Collect(maps.Keys(mayDo(t, j.pid))); len(got) != 1 || got[0] != alone {
					t.Errorf("it may do %q", got)
				}
			})
		}
	}
}

// TestNotHers: what is not the user's own is refused, by whichever rstr she has.
func TestNotHers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.begin(harness.Eve, "tiny")
	image := w.dump(harness.Superuser, j)
	for name, path := range map[string]string{
		"plain":  w.rstr("rstr", 0o755),
		"setuid": w.rstr("rstr-suid", 0o755|os.ModeSetuid),
		"caps":   w.rstr("rstr-cap", 0o755, unix.CAP_CHECKPOINT_RESTORE),
		"more":   w.rstr("rstr-more", 0o755, unix.CAP_CHECKPOINT_RESTORE, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_ADMIN),
	} {
		res := w.run(harness.Alice, path, "--detach", image)
		refusal(t, res, cli.Refused, "uid:20002", "gid:20002", "group+20002", "group-20010")
		if j.left() {
			t.Errorf("%s: something is left", name)
		}
	}
}
