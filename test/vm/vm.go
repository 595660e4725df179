package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Machine is a virtual machine and what it is for.
type Machine struct {
	// Files are put into the machine: path there -> path here. The permission bits stay, the owner is root.
	Files map[string]string
	// Argv is what runs as root, its path first; Env its environment beside PATH and HOME.
	Argv []string
	Env  []string
	// TPM gives the machine a TPM 2.0 of its own, /dev/tpmrm0.
	TPM bool
	// Memory is in MiB; 0: 512. CPUs; 0: 1.
	Memory, CPUs int
	// Release is the series of kernels, such as "6.12"; empty: what Debian's stable release has, 6.1.
	Release string
	// Kernel is more for the kernel's command line.
	Kernel string
	// Limit is how long all of it may take; 0: five minutes, for a machine that is busy with other tests as well.
	Limit time.Duration
}

// Result is how the program in the machine ended.
type Result struct {
	Output string // what it wrote to stdout and stderr
	Status int    // its exit status, 128+N where signal N killed it
}

// status begins the last line of output, which the machine's init writes (see init/main.go).
const status = "vm: status "

// Run boots the machine, runs its program and gives back how that ended. A machine that does not boot, or does not end,
// fails the test, with the kernel's messages.
func Run(t testing.TB, m Machine) Result {
	t.Helper()
	r, err := m.run(t.TempDir())
	if err != nil {
		t.Fatalf("virtual machine: %v", err)
	}
	return r
}

func (m Machine) run(dir string) (Result, error) {
	kernel, err := kernel(m.Release)
	if err != nil {
		return Result{}, err
	}
	if err := m.initramfs(dir); err != nil {
		return Result{}, err
	}
	limit := 5 * time.Minute
	if m.Limit > 0 {
		limit = m.Limit
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args := m.arguments(dir, kernel)
	if m.TPM {
		stop, err := startTPM(ctx, dir)
		if err != nil {
			return Result{}, err
		}
		defer stop()
		args = append(args, "-chardev", "socket,id=tpm,path="+filepath.Join(dir, "tpm.ctrl"),
			"-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0")
	}
	qemu, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
	output, e := os.ReadFile(filepath.Join(dir, "output"))
	if r, ok := parse(output); ok && err == nil && e == nil {
		return r, nil
	}
	console, _ := os.ReadFile(filepath.Join(dir, "console"))
	return Result{}, fmt.Errorf("%v, %v: %s\n%s\n%s", err, ctx.Err(), qemu, tail(console), tail(output))
}

// parse takes the last line off the output.
func parse(output []byte) (Result, bool) {
	at := bytes.LastIndex(output, []byte(status))
	if at < 0 {
		return Result{}, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(output[at+len(status):])))
	return Result{Output: string(output[:at]), Status: n}, err == nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-4<<10):] }

// arguments of qemu: a machine without anything but two serial ports, one for the kernel's messages and one for the
// program's output.
func (m Machine) arguments(dir, kernel string) []string {
	memory, cpus := 512, 1
	if m.Memory > 0 {
		memory = m.Memory
	}
	if m.CPUs > 0 {
		cpus = m.CPUs
	}
	return []string{
		"-accel", "tcg", "-cpu", "max", "-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", kernel, "-initrd", filepath.Join(dir, "initramfs"),
		"-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable " + m.Kernel,
		"-serial", "file:" + filepath.Join(dir, "console"), "-serial", "file:" + filepath.Join(dir, "output"),
	}
}

func (m Machine) initramfs(dir string) error {
	files := map[string]string{}
	for there, here := range m.Files {
		files[there] = here
	}
	files["/init"] = filepath.Join(dir, "init")
	if err := static(files["/init"], "test/vm/init", "build"); err != nil {
		return err
	}
	files["/init.argv"], files["/init.env"] = filepath.Join(dir, "argv"), filepath.Join(dir, "env")
	for path, list := range map[string][]string{files["/init.argv"]: m.Argv, files["/init.env"]: m.Env} {
		if err := os.WriteFile(path, []byte(strings.Join(list, "\x00")), 0o600); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		return err
	}
	defer f.Close()
	return writeInitramfs(f, files)
}
