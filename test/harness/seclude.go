package harness

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// secluded marks a program that Seclude has started anew.
const secluded = "CKPT_TEST_SECLUDED"

// Seclude starts this program anew in a mount namespace of its own whose /var/log is empty, so that what rstr writes down when tests run it
// as root is not in the machine's log. It returns where that has happened, or where it makes no sense: nobody else than root writes to the
// log, and a test program under another name is a command under test. It must come first in TestMain.
func Seclude() error {
	if os.Getenv(secluded) != "" || os.Geteuid() != 0 || !strings.HasSuffix(os.Args[0], ".test") {
		return os.Unsetenv(secluded)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("log", "/var/log", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("an empty /var/log: %w", err)
	}
	return unix.Exec(self, os.Args, append(os.Environ(), secluded+"=1"))
}
