package kernelio

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProcDir(t *testing.T) {
	x := startC(t, `SAY("ready"); pause();`)
	x.read(t, "ready") // Start returns before exec is complete
	p := proc(t, x.pid)
	st, err := p.Stat()
	if err != nil || int(st.Pid) != x.pid || int(st.PPid) != os.Getpid() || !strings.Contains(x.Path, st.Comm[:10]) {
		t.Errorf("%+v %v", st, err)
	}
	if exe, err := p.Link("exe"); err != nil || exe != x.Path {
		t.Errorf("exe %q %v", exe, err)
	}
	if args, err := p.Cmdline(); err != nil || !slices.Equal(args, x.Args) {
		t.Errorf("%q %v", args, err)
	}
	if err := p.Same(); err != nil {
		t.Error(err)
	}
	x.end()
	if err := p.Same(); !IsGone(err) {
		t.Errorf("after its death: %v", err)
	}
	if _, err := p.Read("maps"); !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("after its death: %v", err)
	}
	if _, err := OpenProc(x.pid); !IsGone(err) {
		t.Errorf("after its death: %v", err)
	}
}

// TestNothingUnknown fails on a kernel whose text files say more than this
// tool understands: learn the line, then dump it or ignore it on purpose.
func TestNothingUnknown(t *testing.T) {
	x := startC(t, `
	sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR1);
	int e = eventfd(3, EFD_SEMAPHORE), p = epoll_create1(0), i = inotify_init();
	epoll_ctl(p, EPOLL_CTL_ADD, e, &(struct epoll_event){EPOLLIN, {.u64 = 99}});
	inotify_add_watch(i, "/", IN_OPEN);
	int t = timerfd_create(CLOCK_MONOTONIC, 0); signalfd(-1, &s, 0);
	syscall(SYS_pidfd_open, getpid(), 0); syscall(SYS_memfd_create, "x", 0);
	posix_openpt(O_RDWR|O_NOCTTY); syscall(SYS_userfaultfd, 1);
	SAY("ready"); pause();`)
	x.read(t, "ready")
	p := proc(t, x.pid)
	status, err := p.Status()
	if err != nil || status.Unknown != nil {
		t.Errorf("status: %q %v", status.Unknown, err)
	}
	stat, err := p.Stat()
	if err != nil || stat.Unknown != nil {
		t.Errorf("stat: %q %v", stat.Unknown, err)
	}
	smaps, err := p.Smaps()
	if err != nil || len(smaps) < 5 {
		t.Errorf("smaps: %d %v", len(smaps), err)
	}
	for _, v := range smaps {
		if v.Unknown != nil || v.UnknownFlags != nil {
			t.Errorf("smaps: %q %q", v.Unknown, v.UnknownFlags)
		}
	}
	fds, err := p.FDs()
	if err != nil || len(fds) < 10 {
		t.Errorf("fds: %v %v", fds, err)
	}
	for _, n := range fds {
		if info, err := p.FDInfo(n); err != nil || info.Unknown != nil {
			t.Errorf("fdinfo of %d: %q %v", n, info.Unknown, err)
		}
	}
	if _, err := p.Limits(); err != nil {
		t.Error(err)
	}
	if _, err := p.Mounts(); err != nil {
		t.Error(err)
	}
	if v, err := p.Auxv(); err != nil || len(v) < 10 {
		t.Errorf("auxv: %v %v", v, err)
	}
}

func TestTree(t *testing.T) {
	x := startC(t, `
	void *work(void *a) { if (fork() == 0) { if (fork() == 0) pause(); pause(); } pause(); return 0; }
	pthread_t t; setsid();
	if (fork() == 0) pause();
	pthread_create(&t, 0, work, 0); usleep(100000);
	SAY("%d", getpid()); pause();`)
	var pid int
	x.read(t, "%d", &pid)
	tree, err := Descendants(pid)
	if err != nil || len(tree) != 3 {
		t.Fatalf("%v %v", tree, err)
	}
	defer func() {
		for _, child := range tree {
			unix.Kill(child, unix.SIGKILL)
		}
	}()
	p := proc(t, pid)
	children, err := p.Children()
	if err != nil || len(children) != 2 || !slices.IsSorted(children) {
		t.Errorf("children %v %v", children, err)
	}
	if scan, err := p.childrenByScan(); err != nil || !slices.Equal(scan, children) {
		t.Errorf("children by scan %v %v", scan, err)
	}
	if tids, err := p.Threads(); err != nil || len(tids) != 2 || tids[0] != pid {
		t.Errorf("threads %v %v", tids, err)
	}
	sessions, err := Sessions()
	if all := append([]int{pid}, tree...); err != nil || !sameElements(sessions[pid], all) {
		t.Errorf("session %v is not %v %v", sessions[pid], all, err)
	}
}

func sameElements(a, b []int) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestReadGrows(t *testing.T) {
	x := startC(t, `
	for (int i = 0; i < 3000; i++) mmap(0, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
	SAY("ready"); pause();`)
	x.read(t, "ready")
	vmas, err := proc(t, x.pid).Maps()
	if last := vmas[len(vmas)-1].Path; err != nil || len(vmas) < 3000 || last[0] != '[' {
		t.Errorf("%d areas, %v", len(vmas), err)
	}
}
