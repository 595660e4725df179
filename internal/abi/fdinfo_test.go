package abi

import (
	"testing"

	"golang.org/x/sys/unix"
)

var vda = unix.Mkdev(0xfe, 0)

func num(v uint64) *uint64 { return &v }

func set(s SigSet) *SigSet { return &s }

// handle is the file handle of a directory of ext4.
var handle = []byte{0x73, 0x42, 0x98, 0x00, 0xc7, 0x86, 0x9d, 0x25}

// fdinfos say how the recorded files differ from a descriptor of the
// anonymous inode that is open for reading and writing.
var fdinfos = map[string]func(*FDInfo){
	"eventfd": func(f *FDInfo) {
		f.Eventfd = &EventfdInfo{Count: 7, ID: 1, Semaphore: true, HasSemaphore: true}
	},
	"epoll": func(f *FDInfo) {
		f.Flags |= unix.O_CLOEXEC
		f.Epoll = []EpollTarget{
			{15, 0x1c, 0x7fd70000000f, 0, 0xa44f, unix.Mkdev(0, 15)},
			{12, 0x80000019, 0x7fd70000000c, 0, 1039, unix.Mkdev(0, 16)},
			{14, 0x19, 0x7fd70000000e, 0, 0xa44f, unix.Mkdev(0, 15)},
		}
	},
	"signalfd": func(f *FDInfo) { f.Signalfd = set(SigSetOf(10, 12)) },
	"inotify": func(f *FDInfo) {
		f.Flags = 0
		f.Inotify = []InotifyWatch{
			{2, 1, unix.Mkdev(0, 21), 2, 0, 0x81, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
			{1, 0x984273, vda, 0x300, 0, 1, handle},
		}
	},
	"timerfd":     func(f *FDInfo) { f.Timerfd = &TimerfdInfo{7, 0, 0, Timespec{3599, 999980338}, Timespec{1, 500}} },
	"timerfd-abs": func(f *FDInfo) { f.Timerfd = &TimerfdInfo{0, 0, 3, Timespec{99, 257587022}, Timespec{}} },
	"pidfd": func(f *FDInfo) {
		*f = FDInfo{Flags: unix.O_RDWR | unix.O_CLOEXEC, MntID: 4, Ino: 14623, Pidfd: &PidfdInfo{14622, []int32{14622}}}
	},
	"pidfd-dead": func(f *FDInfo) {
		*f = FDInfo{Flags: unix.O_RDWR | unix.O_CLOEXEC, MntID: 4, Ino: 14665, Pidfd: &PidfdInfo{-1, []int32{-1}}}
	},
	"userfaultfd": func(f *FDInfo) {
		f.Flags, f.Ino = unix.O_CLOEXEC, 42043
		f.Uffd = &UffdInfo{API: 0xaa, Features: 1 << 31, Available: 0x80000000000001ff}
	},
	"posixlock": func(f *FDInfo) {
		*f = FDInfo{Pos: 100, Flags: unix.O_RDWR | unix.O_CLOEXEC | 0o100000, MntID: 27, Ino: 9978484,
			Locks: []Lock{{1, false, "POSIX", "ADVISORY", "WRITE", 14622, vda, 9978484, 20, 29}}}
	},
	"flock": func(f *FDInfo) {
		*f = FDInfo{Flags: unix.O_CLOEXEC | unix.O_NONBLOCK | 0o100000, MntID: 27, Ino: 9978484,
			Locks: []Lock{{1, false, "FLOCK", "ADVISORY", "READ", 14622, vda, 9978484, 0, MaxOffset}}}
	},
	"ofdlock": func(f *FDInfo) {
		*f = FDInfo{Flags: unix.O_RDWR | unix.O_CLOEXEC | unix.O_APPEND | 0o100000, MntID: 27, Ino: 9978495,
			Locks: []Lock{{1, false, "OFDLCK", "ADVISORY", "WRITE", -1, vda, 9978495, 5, MaxOffset}}}
	},
	"lease": func(f *FDInfo) {
		*f = FDInfo{Flags: 0o2120000, MntID: 27, Ino: 9978496,
			Locks: []Lock{{1, false, "LEASE", "ACTIVE", "READ", 14622, vda, 9978496, 0, MaxOffset}}}
	},
	"ptmx": func(f *FDInfo) { f.Flags, f.MntID, f.Ino, f.TTYIndex = 0o2100002, 24, 95, num(0) },
	"tun":  func(f *FDInfo) { f.Flags, f.MntID, f.Ino, f.TUN = 0o2100002, 24, 109, new(string) },
	"unix": func(f *FDInfo) { f.Flags, f.MntID, f.Ino, f.SCMFds = 0o2000002, 10, 42076, num(2) },
	"perf": func(f *FDInfo) {},
	"memfd": func(f *FDInfo) {
		f.Flags, f.MntID, f.Ino = 0o2100002, 0, 3073
	},
}

func TestParseFDInfo(t *testing.T) {
	for name, want := range fdinfos {
		t.Run(name, func(t *testing.T) {
			expect := FDInfo{Flags: unix.O_RDWR, MntID: 17, Ino: 1039}
			want(&expect)
			got, err := ParseFDInfo(recorded(t, "fdinfo-"+name))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, *got, expect)
		})
	}
}

// TestParseFDInfoKept is about types that are recognised and kept as text.
func TestParseFDInfoKept(t *testing.T) {
	for name, lines := range map[string]func(*FDInfo) int{
		"io_uring": func(f *FDInfo) int { return len(f.IOUring) - 19 },
		"fanotify": func(f *FDInfo) int { return len(f.Fanotify) - 2 },
		"bpfmap":   func(f *FDInfo) int { return len(f.BPF) - 9 },
	} {
		f, err := ParseFDInfo(recorded(t, "fdinfo-"+name))
		if err != nil || lines(f) != 0 || f.Unknown != nil {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
}

func TestParseFDInfoOdd(t *testing.T) {
	f, err := ParseFDInfo([]byte("pos:\t1\nflags:\t02\nmnt_id:\t1\nsurprise\nnew:\t1\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, f.Unknown, []string{"surprise", "new:\t1"})
	for _, bad := range []string{
		"pos:\tx\n", "flags:\t09\n", "tfd: 1 events: 1\n", "eventfd-count: g\n", "sigmask:\t\n", "it_value: (1 2)\n",
		"it_value: (1, 2\n", "inotify wd:1 ino:1 sdev:1 mask:1 ignored_mask:0 fhandle-bytes:2 fhandle-type:1 f_handle:00\n",
		"inotify wd:1 ino:1 sdev:1 mask:1 ignored_mask:0 fhandle-bytes:1 fhandle-type:1 f_handle:0x\n", "API:\taa\n", "lock:\tx\n",
		"tfd: 1 events: 1 data: 1  pos:0 ino:1 sdev:1 more:1\n", "Pid:\t99999999999\n",
	} {
		if f, err := ParseFDInfo([]byte(bad)); err == nil {
			t.Errorf("%q gives %+v", bad, f)
		}
	}
	// Without file handles (CONFIG_EXPORTFS), and a map of many words of 6.1.
	f, err = ParseFDInfo([]byte("inotify wd:a ino:1 sdev:800001 mask:1 ignored_mask:0 \neventfd-count:                0\neventfd-id: 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, f.Inotify, []InotifyWatch{{WD: 10, Ino: 1, Dev: unix.Mkdev(8, 1), Mask: 1}})
	equal(t, f.Eventfd, &EventfdInfo{ID: 3})
}
