// Package device tests what needs a device that hosts rarely have, in a virtual machine: a TPM behind the kernel's resource
// manager, with the commands that people would use.
package device

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/test/vm"
)

// This test is also the program in the machine, and the program that is dumped there.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "inside":
			if err := inside(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Exit(0)
		case "sleep":
			// Not time.Sleep, for which the runtime makes an eventfd that older kernels don't tell enough of.
			_, _ = syscall.Select(0, nil, nil, nil, &syscall.Timeval{Sec: 3600})
		}
	}
	os.Exit(m.Run())
}

// TestTPM: a key and a quote of /dev/tpmrm0 under a real kernel, from keygen to restore.
func TestTPM(t *testing.T) {
	t.Parallel()
	r := vm.Run(t, vm.Machine{
		Files: map[string]string{"/bin/inside": vm.TestProgram(t, "test/device"), "/bin/ckpt": vm.Program(t, "cmd/ckpt"), "/bin/rstr": vm.Program(t, "cmd/rstr")},
		Argv:  []string{"/bin/inside", "inside"}, Env: []string{"HOME=/tmp"}, TPM: true,
	})
	if r.Status != 0 || !strings.Contains(r.Output, "all is well") {
		t.Errorf("status %d:\n%s", r.Status, r.Output)
	}
}

// inside is what happens in the machine. There is no --tpm: the device is the default.
func inside() error {
	busy, err := occupied()
	if err != nil {
		return err
	}
	if _, err := run(cli.OK, "", "ckpt", "keygen", "--tpm", "--pcrs=0,7"); err != nil {
		return err
	}
	line, err := run(cli.OK, "", "ckpt", "keygen", "--attestation-key")
	if err != nil {
		return err
	}
	if err := os.WriteFile("/tmp/machines", []byte(line), 0o600); err != nil {
		return err
	}
	pid, err := cycle()
	if err != nil {
		return err
	}
	if err := extend(7); err != nil {
		return err
	}
	// The machine is another one now: the key does not open, the quote is not believed.
	number := strconv.Itoa(pid)
	if _, err := run(cli.Failure, "PCRs are not what the key wants", "ckpt", "--sign=tpm", "-o", "/tmp/b", number); err != nil {
		return err
	}
	if _, err := run(cli.OK, "", "ckpt", "--sign", "--attest", "-o", "/tmp/b", number); err != nil {
		return err
	}
	if _, err := run(cli.NotAttested, "the machine did not boot as enrolled", "rstr", "--attest=/tmp/machines", "/tmp/b"); err != nil {
		return err
	}
	if err := <-busy; err != nil {
		return err
	}
	fmt.Println("all is well")
	return nil
}

// occupied has ckpt try, meanwhile, the device without a resource manager, which is for one program at a time and taken.
func occupied() (chan error, error) {
	other, err := os.OpenFile("/dev/tpm0", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		defer other.Close()
		_, err := run(cli.Failure, "TPM busy: another program has", "ckpt", "keygen", "--tpm=/dev/tpm0", "-o", "/tmp/key")
		done <- err
	}()
	return done, nil
}

// cycle dumps a process with all that the TPM has to give, ends it, and restores it.
func cycle() (int, error) {
	sleeper := exec.Command("/bin/inside", "sleep")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := sleeper.Start(); err != nil {
		return 0, err
	}
	pid := sleeper.Process.Pid
	go sleeper.Wait()
	time.Sleep(100 * time.Millisecond)
	_, err := run(cli.OK, "", "ckpt", "--sign=tpm", "--attest", "--serial=tpm", "--kill", "-o", "/tmp/a", strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		return 0, errors.New("--kill did not end the process")
	}
	if _, err := run(cli.OK, "", "rstr", "--verify", "--detach", "--attest=/tmp/machines", "/tmp/a"); err != nil {
		return 0, err
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || string(name) != "inside\n" {
		return 0, fmt.Errorf("restored: %q, %w", name, err)
	}
	return pid, nil
}

// run runs a command, which must end with code and say what on stderr, and gives what it printed.
func run(code int, what string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(errs.String(), what) {
		return "", fmt.Errorf("%q ended with %d, want %d and %q: %s", argv, got, code, what, errs.String())
	}
	return string(out), nil
}

func extend(pcr uint32) error {
	tpm, err := linuxtpm.Open("/dev/tpmrm0")
	if err != nil {
		return err
	}
	defer tpm.Close()
	_, err = tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}.Execute(tpm)
	return err
}
