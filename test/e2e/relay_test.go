package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/test/harness"
)

// screen is a terminal with somebody before it.
type screen struct {
	t    *testing.T
	ptmx *os.File
	tty  *os.File
	mu   sync.Mutex
	text strings.Builder
}

func newScreen(t *testing.T, rows, columns uint16) *screen {
	t.Helper()
	s := &screen{t: t}
	var err error
	if s.ptmx, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(s.ptmx.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(s.ptmx.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	s.size(rows, columns)
	go io.Copy(s, s.ptmx)
	t.Cleanup(func() { s.tty.Close(); s.ptmx.Close() })
	return s
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) shows() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) size(rows, columns uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.ptmx.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) state() unix.Termios {
	s.t.Helper()
	st, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *st
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestRelay: a tree of somebody else's has none of its caller's terminals, but one of its own, behind which rstr passes everything on: what it
// writes, what she types, the size of her window. Afterwards her terminal is as it was.
func TestRelay(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	from, err := shared.C("stdio")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "stdio", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	eves, alices := newScreen(t, 20, 60), newScreen(t, 33, 77)
	j := newJob(t)
	j.givenTo(harness.Eve)
	j.start(o.As(harness.Eve, "/bin/sh", "-c", `exec "$@" <&1`, "sh", path, j.status, j.dir), eves.tty, eves.tty)
	image := o.signed(j, o.key)
	was, before := j.progress().Seq, alices.state()
	// Her terminal controls the session that rstr is in.
	session, end, err := shared.reaper.Start(o.As(harness.Alice, "/usr/bin/setsid", "--ctty", "--wait", o.suid, "--copy-status", image), os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{alices.tty, alices.tty, alices.tty}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tree runs", func() bool { return harness.Exists(j.pid) || !harness.Exists(session) })
	j.reach(was + 3)

	tty := ""
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", j.pid))
	for _, link := range links {
		to, _ := os.Readlink(link)
		if to == alices.tty.Name() || to == eves.tty.Name() {
			t.Errorf("%s is %s", link, to)
		}
		if strings.HasPrefix(to, "/dev/pts/") {
			tty = to
		}
	}
	if len(links) != 3 || tty == "" {
		t.Fatalf("%d descriptors, terminal %q: %s", len(links), tty, alices.shows())
	}
	if got := mayDo(t, j.pid); len(got) != 1 {
		t.Errorf("it may do %v", got)
	}

	// Its terminal is like hers, and stays so.
	inside, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", j.pid), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	is := func(rows, columns uint16) func() bool {
		return func() bool {
			size, err := unix.IoctlGetWinsize(int(inside.Fd()), unix.TIOCGWINSZ)
			return err == nil && size.Row == rows && size.Col == columns
		}
	}
	eventually(t, "the size of the window", is(33, 77))
	alices.size(44, 99)
	eventually(t, "the new size of the window", is(44, 99))
	if st, err := unix.IoctlGetTermios(int(inside.Fd()), unix.TCGETS); err != nil || st.Lflag != before.Lflag || st.Oflag != before.Oflag {
		t.Errorf("its terminal: %+v, %v", st, err)
	}
	inside.Close()

	// What it says and what it is told.
	eventually(t, "what it says is on the screen", func() bool {
		return strings.Contains(alices.shows(), fmt.Sprintf("out %d\r\nerr %d\r\n", was+3, was+3))
	})
	if alices.state().Lflag&unix.ECHO != 0 {
		t.Error("her terminal echoes, too")
	}
	fmt.Fprint(alices.ptmx, "hello\r")
	eventually(t, "it hears what is typed", func() bool { return strings.Contains(alices.shows(), "heard hello\r\n") })
	if n := strings.Count(alices.shows(), "hello"); n != 2 {
		t.Errorf("hello is on the screen %d times: as echo and as heard", n)
	}

	// Who stops rstr finds her terminal as it was, and who goes on with it gives it to the tree again.
	rstr := harness.Tree(session)[1]
	fmt.Fprint(alices.ptmx, "\x1a")
	eventually(t, "rstr is stopped", func() bool { return strings.Contains(harness.State(rstr), "State T") })
	if stopped := alices.state(); stopped != before {
		t.Errorf("while rstr is stopped her terminal is %+v", stopped)
	}
	if err := harness.Signal(rstr, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "her terminal is the tree's again", func() bool { return alices.state().Lflag&unix.ECHO == 0 })
	if err := harness.Signal(j.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := <-end; !status.Exited() || status.ExitStatus() != 128+9 {
		t.Errorf("rstr ended with %v: %s", status.WaitStatus, alices.shows())
	}
	if after := alices.state(); after != before {
		t.Errorf("her terminal was %+v and is %+v", before, after)
	}
	if eves.state() != before {
		t.Error("so is the other one")
	}
}

// TestNoRelay: a tree of somebody else's that is left to itself has no terminal.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	eves, alices := newScreen(t, 20, 60), newScreen(t, 33, 77)
	from, err := shared.C("stdio")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "stdio", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t)
	j.givenTo(harness.Eve)
	j.start(o.As(harness.Eve, path, j.status, j.dir), eves.tty, eves.tty)
	image := o.signed(j, o.key)
	was := j.progress().Seq
	_, end, err := shared.reaper.Start(o.As(harness.Alice, o.suid, "--detach", image), os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{alices.tty, alices.tty, alices.tty}})
	if err != nil {
		t.Fatal(err)
	}
	if status := <-end; !status.Exited() || status.ExitStatus() != 0 {
		t.Fatalf("rstr ended with %v: %s", status.WaitStatus, alices.shows())
	}
	j.reach(was + 3)
	for n := range 3 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", j.pid, n)); err != nil || to != os.DevNull {
			t.Errorf("descriptor %d leads to %s, %v", n, to, err)
		}
	}
	if text := alices.shows(); text != "" {
		t.Errorf("on her screen is %q", text)
	}
}

// TestNobodysTTY: what a program had opened as /dev/tty is never its restorer's terminal, if the program is somebody else's; nor does that terminal
// control it, though it ran in the session of its shell: root's least of all.
func TestNobodysTTY(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.etc("policy.toml", grants)
	from, err := shared.C("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path, err := o.Install(from, "tiny", 0o755, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		who   harness.User
		rstr  string
		leads bool // the program leads its session
	}{
		"by a policy":                   {harness.Alice, o.suid, true},
		"by root":                       {harness.Superuser, o.rstr("rstr", 0o755), true},
		"by root, into her own session": {harness.Superuser, o.rstr("rstr", 0o755), false},
	} {
		t.Run(name, func(t *testing.T) {
			o := &office{&world{o.World, t}, o.key, o.suid}
			eves, hers := newScreen(t, 20, 60), newScreen(t, 33, 77)
			j := newJob(t)
			j.givenTo(harness.Eve)
			as := o.As(harness.Eve, path, j.status, j.dir)
			as = as[slices.IndexFunc(as, func(word string) bool { return strings.HasSuffix(word, "/setpriv") }):]
			// The first terminal that the leader of a session opens controls it.
			run := `exec 3<>"$1"; exec 7<>/dev/tty; exec 3>&-; shift; exec "$@"`
			if !c.leads {
				run = strings.Replace(run, "exec \"$@\"", "exec >/dev/null 2>&1; \"$@\"; exit 0", 1) // it says something when the program is killed
			}
			j.start(o.As(harness.Superuser, append([]string{"/bin/sh", "-c", run, "sh", eves.tty.Name()}, as...)...), nil, nil)
			if !c.leads {
				j.pid = harness.Tree(j.pid)[1]
			}
			image := o.signed(j, o.key)
			was := j.progress().Seq
			session, end, err := shared.reaper.Start(o.As(c.who, "/usr/bin/setsid", "--ctty", "--wait", c.rstr, "--copy-status", image),
				os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{hers.tty, hers.tty, hers.tty}})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the tree runs", func() bool { return harness.Exists(j.pid) || !harness.Exists(session) })
			if !harness.Exists(j.pid) {
				t.Fatalf("%v: %s", (<-end).WaitStatus, hers.shows())
			}
			j.reach(was + 3)
			var st unix.Stat_t
			if err := unix.Stat(fmt.Sprintf("/proc/%d/fd/7", j.pid), &st); err != nil || st.Rdev != unix.Mkdev(1, 3) {
				t.Errorf("descriptor 7 is device %d:%d, %v", unix.Major(st.Rdev), unix.Minor(st.Rdev), err)
			}
			links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", j.pid))
			for _, link := range links {
				if to, _ := os.Readlink(link); to == hers.tty.Name() {
					t.Errorf("%s is %s", link, to)
				}
			}
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", j.pid)); err != nil || strings.Fields(string(b))[6] != "0" {
				t.Errorf("a terminal controls it: %s, %v", b, err)
			}
			if err := harness.KillTree(j.pid); err != nil {
				t.Fatal(err)
			}
			<-end
		})
	}
}
