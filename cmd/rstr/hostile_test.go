package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/harness"
)

// Whatever surroundings a caller gives to an rstr that has more authority than
// she: when the first record is decoded, it is as if she had given it none.
func TestCallersSurroundings(t *testing.T) {
	w := newWorld(t)
	image := filepath.Join(w.Dir, "image")
	wishing(t, image, "uid:0")
	hers := filepath.Join(w.Var, "home/alice")
	if err := unix.Mkfifo(filepath.Join(hers, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	const zone = "/var/home/alice/fifo"
	for name, path := range map[string]string{
		"setuid":    spy(t, w, 0o755|os.ModeSetuid, false),
		"file caps": filepath.Join(w.Bin, "for-pids", "rstr-spying"),
	} {
		if name == "file caps" {
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Install(os.Args[0], "for-pids/rstr-spying", 0o755, true, unix.CAP_CHECKPOINT_RESTORE); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			want, code := told(w, path, "--pids", image)
			if code != cli.Refused || len(want) < 5 {
				t.Fatalf("exit code %d: %q", code, want)
			}
			for what, do := range map[string]string{
				"time zone":        `os.environ["TZ"] = "` + zone + `"`,
				"other zone":       `os.environ["TZ"] = "Asia/Tokyo"`,
				"home":             `os.environ.update(HOME="/nonexistent", XDG_CONFIG_HOME="/nonexistent", XDG_STATE_HOME="/nonexistent")`,
				"temporary files":  `os.environ["TMPDIR"] = "/nonexistent"`,
				"linker":           `os.environ.update(LD_PRELOAD="/nonexistent.so", LD_LIBRARY_PATH="/nonexistent")`,
				"directory":        `os.chdir("/var/home/alice")`,
				"deleted place":    `os.mkdir("/var/tmp/gone"); os.chdir("/var/tmp/gone"); os.rmdir("/var/tmp/gone")`,
				"mask":             `os.umask(0)`,
				"closed mask":      `os.umask(0o777)`,
				"descriptors":      `[os.set_inheritable(os.dup2(1, n), True) for n in range(3, 60)]`,
				"a directory open": `os.set_inheritable(os.open("/var/home/alice", os.O_RDONLY), True)`,
				"no input":         `os.close(0)`,
				"no messages":      `os.close(2)`,
				"ignored signals":  `[signal.signal(n, signal.SIG_IGN) for n in range(1, 65) if n not in (9, 19, 32, 33)]`,
				"blocked signals":  `signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())`,
				"a timer":          `signal.setitimer(signal.ITIMER_REAL, 100)`,
				"a busy timer":     `signal.setitimer(signal.ITIMER_PROF, 100); signal.setitimer(signal.ITIMER_VIRTUAL, 100)`,
				"no core":          `resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))`,
				"nice":             `os.nice(19)`,
			} {
				script := "import os, resource, signal, sys\n" + do + "\nos.execv(sys.argv[1], sys.argv[1:])"
				got, code := told(w, "/usr/bin/python3", "-c", script, path, "--pids", image)
				if code != cli.Refused || !slices.Equal(got, want) {
					t.Errorf("%s: exit code %d, and it tells\n%s\nnot\n%s", what, code, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			for _, variable := range []string{"GODEBUG=madvdontneed=1", "GOMAXPROCS=1", "GOGC=1", "GOMEMLIMIT=1MiB", "GOTRACEBACK=crash", "GOCOVERDIR=/tmp", "GOFUTURE=1"} {
				out, errs, code := spied(w, harness.Alice, "/usr/bin/env", variable, path, image)
				refused := code == cli.NotAllowed && strings.Contains(errs, variable[:strings.Index(variable, "=")]) && out == ""
				// The runtime itself overrules the one that it knows to be dangerous.
				if strings.HasPrefix(variable, "GOTRACEBACK") != !refused {
					t.Errorf("%s: exit code %d: %s%s", variable, code, out, errs)
				}
			}
		})
	}
}

// told are the different lines that a spying rstr tells, sorted, without its messages.
func told(w *harness.World, argv ...string) ([]string, int) {
	out, errs, code := spied(w, harness.Alice, argv...)
	if strings.Contains(errs, "goroutine ") {
		out += errs
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return slices.Compact(lines), code
}
