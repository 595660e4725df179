package kinds

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

func TestStdioIsReconnected(t *testing.T) {
	w := newWorld(t)
	rfd, _ := makePipe(t, unix.O_NONBLOCK)
	f := w.add(rfd)
	f.Holders = []kind.Holder{{Table: w.task.FDTable, Num: 0}, {Table: w.task.FDTable, Num: 2}, {Table: w.task.FDTable, Num: 10}}
	if k := claimer(t, plan.OpenFile, f); k.Name() != "stdio" {
		t.Fatalf("claimed by %s", k.Name())
	}
	r := w.record(Stdio(), f).(*streamsRecord)
	if r.Streams != 0b101 || !r.NonBlock {
		t.Errorf("recorded %+v", r)
	}
	claimer(t, plan.Inode, f.Inode)

	steps := planStreams(streamsRecord{Streams: 0b110}, &kind.Host{Self: f.Ref().Main()})
	w.fds = map[plan.Ref]int{}
	w.run(planned{Stdio(), steps}, steps[0].Stage)
	for name, want := range map[plan.Ref]int{f.Ref().Main(): 1, f.Ref().Stream(1): 1, f.Ref().Stream(2): 2} {
		if got := w.fd(name); !sameDescription(got, want) {
			t.Errorf("%v is not the test's own descriptor %d", name, want)
		}
		unix.Close(w.fd(name))
	}
}

// sameDescription asks kcmp(2).
func sameDescription(a, b int) bool {
	pid := uintptr(unix.Getpid())
	r, _, _ := unix.Syscall6(unix.SYS_KCMP, pid, pid, 0, uintptr(a), uintptr(b), 0)
	return r == 0
}

func TestStreamsCheck(t *testing.T) {
	for _, r := range []streamsRecord{{}, {Streams: 8}} {
		if checkStreams(r) == nil {
			t.Errorf("%+v accepted", r)
		}
	}
	for _, r := range []ttyRecord{{}, {Controlling: true, Flags: unix.O_CREAT}, {Streams: streamsRecord{Streams: 1}, Flags: 1},
		{Controlling: true, Streams: streamsRecord{Streams: 1}}} {
		if checkTTY(r) == nil {
			t.Errorf("%+v accepted", r)
		}
	}
}

func TestTTY(t *testing.T) {
	w := newWorld(t)
	master := openFor(t, "/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	if why := w.refused(w.add(master)); !strings.Contains(why, "master") {
		t.Error(why)
	}
	must(0, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))(t)
	n := must(unix.IoctlGetInt(master, unix.TIOCGPTN))(t)
	slave := w.add(openFor(t, "/dev/pts/"+itoa(n), unix.O_RDWR|unix.O_NOCTTY))
	if why := w.refused(slave); !strings.Contains(why, "a terminal") {
		t.Error(why)
	}
	claimer(t, plan.Inode, slave.Inode)
	slave.Holders[0].Num = 1
	if r := w.record(claimer(t, plan.OpenFile, slave), slave).(*ttyRecord); r.Streams.Streams != 2 {
		t.Errorf("%+v", r)
	}
}

func TestUnsupportedIsNamed(t *testing.T) {
	for link, word := range map[string]string{
		"anon_inode:[io_uring]": "io_uring", "anon_inode:bpf-prog": "BPF", "net:[4026531833]": "namespace",
		"anon_inode:[perf_event]": "performance", "anon_inode:[something new]": "does not know",
	} {
		w := newWorld(t)
		f := w.add(must(unix.Eventfd(0, 0))(t))
		unix.Close(f.Num)
		f.Link, f.Stat.FSType = link, unix.NSFS_MAGIC
		if strings.HasPrefix(link, "net:") {
			f.Stat.Mode = unix.S_IFREG
		}
		if why := w.refused(f); !strings.Contains(why, word) {
			t.Errorf("%s: %s", link, why)
		}
	}
	w := newWorld(t)
	f := w.add(openFor(t, "/dev/null", unix.O_RDONLY))
	f.Stat.Rdev = unix.Mkdev(195, 0)
	if why := w.refused(f); !strings.Contains(why, "195:0") {
		t.Error(why)
	}
}
