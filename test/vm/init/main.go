// Command init is PID 1 of a test's virtual machine: it mounts what programs expect, runs one, tells its exit status on the
// second serial port and switches the machine off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	port, err := os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		// /dev is empty until it is mounted; without a port nobody hears of an error, but of silence.
		if err = setUp(); err == nil {
			port, err = os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
		}
	}
	if err == nil {
		err = raw(port)
	}
	if err != nil {
		fmt.Println("init:", err)
	} else {
		fmt.Fprintf(port, "vm: status %d\n", run(port))
		drain(port)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func setUp() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for _, m := range []struct{ kind, dir string }{{"devpts", "/dev/pts"}, {"tmpfs", "/dev/shm"}} {
		if err := os.Mkdir(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for name, target := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		if err := os.Symlink("/proc/self/fd"+target, "/dev/"+name); err != nil {
			return err
		}
	}
	return loopback()
}

// loopback brings lo up (netdevice(7)).
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// raw keeps the port from writing "\r\n" for "\n".
func raw(port *os.File) error {
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON
	return unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t)
}

// drain waits until the port has sent everything (tcdrain(3)).
func drain(port *os.File) { _ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) }

// run is the program's exit status as a shell has it. Orphans of the program are reaped as they come.
func run(port *os.File) int {
	argv, env := list("/init.argv"), list("/init.env")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/"}, env...)
	cmd.Stdout, cmd.Stderr = port, port
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(port, "init:", err)
		return 127
	}
	for {
		var s unix.WaitStatus
		pid, err := unix.Wait4(-1, &s, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && pid != cmd.Process.Pid:
		case err != nil:
			fmt.Fprintln(port, "init: wait:", err)
			return 127
		case s.Signaled():
			return 128 + int(s.Signal())
		default:
			return s.ExitStatus()
		}
	}
}

// list reads strings with zero bytes between them.
func list(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}
