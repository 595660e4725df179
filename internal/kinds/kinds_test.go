package kinds

import (
	"testing"

	"github.com/ckptool/ckpt/internal/kind/kindtest"
)

// known are the fields of records whose looks are against them.
var known = kindtest.Known{
	Bytes: map[string]string{
		"thread.Comm":                  "a name may hold any byte but NUL",
		"special.Build":                "a build id is a hash",
		"madvise.Advice":               "a list of small numbers, checked against those that are known",
		"regfile.Path":                 aPath,
		"directory.Path":               aPath,
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
