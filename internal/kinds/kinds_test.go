package kinds

import (
	"os"
	"testing"

	"github.com/ckptool/ckpt/internal/kind/kindtest"
	"github.com/ckptool/ckpt/pkg/image"
)

// known are the fields of records whose looks are against them.
var known = kindtest.Known{
	Texts: map[string]string{
		"label.Label":                          "checked",
		"samens.Type":                          "one of the kernel's names of types",
		"special.Name":                         "one of three",
		"special.Kernel":                       "the kernel's release, which is ASCII",
		"vmaname.Name":                         "printable ASCII, by the kernel's rule and by Check",
		"listen.Socket.Options.Device":         "checked",
		"listen.Socket.Options.Congestion":     "checked",
		"socketpair.Socket.Options.Device":     "checked",
		"socketpair.Socket.Options.Congestion": "checked",
		"socket.Options.Device":                "checked",
		"socket.Options.Congestion":            "checked",
	},
	Bytes: map[string]string{
		"thread.Comm":                  "a name may hold any byte but NUL",
		"special.Build":                "a build id is a hash",
		"madvise.Advice":               "a list of small numbers, checked against those that are known",
		"regfile.Path":                 aPath,
		"regfile.SHA256":               "a digest",
		"directory.Path":               aPath,
		"fs.Root":                      aPath,
		"symlink.Path":                 aPath,
		"symlink.Target":               aPath,
		"chardev.Path":                 aPath,
		"fifo.Path":                    aPath,
		"ghost.Dir":                    aPath,
		"ghost.Name":                   aPath,
		"inotify.Watches.Path":         aPath,
		"memfd.Name":                   aPath,
		"listen.File.Dir":              aPath,
		"listen.Socket.Local.Name":     aPath,
		"listen.Socket.Local.IP":       anAddress,
		"socketpair.Socket.Local.Name": aPath,
		"socketpair.Socket.Local.IP":   anAddress,
		"socket.Local.Name":            aPath,
		"socket.Local.IP":              anAddress,
	},
}

const (
	aPath     = "names in file systems are bytes, not text"
	anAddress = "4 or 16 bytes, checked"
)

func TestAllKinds(t *testing.T) { kindtest.Table(t, All(), known) }

// programs are fixtures whose records are examples of most kinds.
var programs = []string{"threads", "share", "pipes", "epoll", "eventfd", "timerfd", "signalfd", "pidfd", "file_regular", "file_deleted", "file_dir", "file_link", "file_locks",
	"file_owner", "file_dev", "mem_anon", "mem_file", "mem_guard", "mem_lock", "mem_madvise", "mem_memfd", "mem_shared", "sig_pending", "sock_listen",
	"sock_pair", "timers_posix", "timers_itimer", "rseq", "robust", "attrs", "cleartid"}

func TestDumpedRecords(t *testing.T) {
	kindtest.Records(t, All(), kindtest.Dumped(t, All(), programs...))
}

func FuzzDecode(f *testing.F) {
	var records []image.Record
	if os.Geteuid() == 0 {
		records = kindtest.Dumped(f, All(), "threads", "pipes", "epoll", "file_locks", "sock_listen", "timers_posix", "mem_memfd", "sig_pending")
	}
	kindtest.Fuzz(f, All(), records)
}

// TestPrepare: the record that says nothing can be encoded, or refused, of
// every kind: a dump tries it in the background.
func TestPrepare(t *testing.T) {
	for _, k := range All() {
		k.Prepare()
	}
}
