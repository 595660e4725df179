package kinds

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// outline shows a plan: each step with its stage, needs and calls, and who
// executes those.
func outline(steps []plan.Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%v: %s", s.Stage, s.Text)
		for _, n := range s.Needs {
			fmt.Fprintf(&b, " [%s]", n.Demand)
		}
		for _, op := range s.Ops {
			switch op := op.(type) {
			case plan.Move:
				fmt.Fprintf(&b, "; blob %d into %v", op.Blob, op.Into)
			case plan.Call:
				fmt.Fprintf(&b, "; %v %s", op.In, abi.SyscallName(op.Nr))
				for _, r := range op.Makes() {
					fmt.Fprintf(&b, " -> %v", r)
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestPlansOfOpenFiles(t *testing.T) {
	stream := socketSort{unix.AF_UNIX, unix.SOCK_STREAM, 0}
	for name, c := range map[string]struct {
		kind   kind.Kind
		record any
		want   string
	}{
		"directory half read": {File(), &fileRecord{Inode: 3, Flags: unix.O_DIRECTORY, Pos: 77, Dir: true}, `
create: open it again (r) [file:inode 3:r]; tool openat -> file 9
settle: go to position 77; tool getdents64; tool lseek
`},
		"path only": {File(), &fileRecord{Inode: 3, Flags: unix.O_PATH}, `
create: open it again (-); tool openat -> file 9
`},
		"one end of a pipe": {PipeEnd(), &pipeEndRecord{Pipe: 4, Flags: unix.O_WRONLY}, `
create: open an end of the pipe (w); tool fcntl -> file 9
settle: set the flags of the pipe's end; tool fcntl
`},
		"expired timer": {Timerfd(), &timerfdRecord{Clock: unix.CLOCK_MONOTONIC, Ticks: 2, Value: 5, Interval: 5}, `
create: make a timerfd; tool timerfd_create -> file 9
fill: mark the timerfd expired; tool ioctl
arm: arm the timerfd; tool timerfd_settime; tool ioctl
`},
		"epoll with a closed number": {Epoll(), &epollRecord{Tables: []epollTable{{2, 5}},
			Watches:  []epollWatch{{FD: 7, Target: 3, Events: unix.EPOLLIN | unix.EPOLLERR, Borrow: 1}, {FD: 8, Target: 3, Events: unix.EPOLLONESHOT}},
			Borrowed: []epollBorrow{{From: -1, InUse: true}}}, `
create: make an epoll instance; tool epoll_create1 -> file 9
settle: watch descriptor 8; task 2 epoll_ctl; task 2 epoll_pwait
settle: watch descriptor 7; task 2 fcntl -> file 9.3; task 2 dup3; task 2 epoll_ctl; task 2 dup3; task 2 close
`},
		"listening at a path": {Listen(), &listenRecord{Task: 2, FD: 5, Backlog: 4, File: socketFile{Mode: 0o600, Owner: &ids{7, 0}}, Peer: &ids{},
			Socket: socketRecord{Sort: stream, Local: sockAddr{Name: []byte("/run/x")}}}, `
create: make a socket; tool socket -> file 9
arm: bind it to "/run/x" [own:7:0]; tool statx; tool socket -> file 9.4; tool connect; tool unlinkat; tool bind; tool openat -> file 9.3; tool statx; tool fchownat; tool fchmodat
arm: listen at "/run/x"; task 2 listen
`},
		"listening for another user": {Listen(), &listenRecord{Task: 2, FD: 5, Peer: &ids{UID: 7},
			Socket: socketRecord{Sort: stream, Local: sockAddr{Name: []byte("x"), Abstract: true}}}, `
create: make a socket; tool socket -> file 9
create: bind it to @"x"; tool bind
seal: listen at @"x" [open-as:7]; task 2 listen
`},
		"reserved port": {Listen(), &listenRecord{Task: 2, FD: 5,
			Socket: socketRecord{Sort: socketSort{unix.AF_INET, unix.SOCK_STREAM, 6}, Local: sockAddr{IP: []byte{1, 2, 3, 4}, Port: 80}}}, `
create: make a socket; tool socket -> file 9
create: bind it to 1.2.3.4:80 [cap:net_bind_service]; tool setsockopt; tool bind; tool setsockopt
arm: listen at 1.2.3.4:80; tool listen
`},
		"pair with a closed end": {Socketpair(), &socketpairRecord{Socket: socketRecord{Sort: stream, UID: 3}, Queue: []kind.BlobRef{6}}, `
create: make a pair of sockets; tool socketpair -> file 9 -> file 9.3
settle: give it to user 3 and group 0 [own:3:0]; tool fchown
fill: send the 1 messages that were waiting; blob 6 into file 9.3
`},
		"watching a path": {Inotify(), &inotifyRecord{Watches: []pathWatch{{WD: 4, Path: []byte("/tmp"), Mask: 2, Type: unix.S_IFDIR}}}, `
create: make an inotify instance; tool inotify_init1 -> file 9
arm: watch "/tmp" [file:/tmp:r] [limit:watches]; tool statx; tool ioctl; tool inotify_add_watch
arm: go on with the next watch descriptor; tool ioctl
`},
		"locks": {Locks(), &locksRecord{Flock: flock{lockRead, 2, 5}, OFD: []rangeLock{{lockWrite, 0, 1}}, POSIX: []taskLocks{{3, 6, []rangeLock{{lockRead, 0, 0}}}}}, `
arm: lock the file; task 2 flock; tool fcntl; task 3 fcntl
`},
		"signals": {FDOwner(), &fdownerRecord{Type: 1, PID: 20, By: &setBy{}, Sig: 44, Async: true, Task: 2, FD: 5}, `
arm: have it signal its owner; tool fcntl; tool fcntl; task 2 ioctl
`},
	} {
		if err := c.kind.Check(c.record); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := outline(c.kind.Plan(c.record, hostOf(9))); got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s:\n%swant%s", name, got, c.want)
		}
	}
}
