package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ckpt": main}) }

// The scripts run the program itself. Whole dumps are tested in test/e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", "")
			e.Setenv("SSH_AUTH_SOCK", "")
			examples, err := filepath.Abs("../../docs/policies")
			e.Setenv("EXAMPLES", examples)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ends": ends, "target": target, "image": newImage, "flip": flip,
			"tpm": softTPM, "extend": extend},
	})
}

// softTPM starts a TPM, whose address goes into CKPT_TPM.
func softTPM(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := os.MkdirTemp("", "tpm")
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	address := filepath.Join(dir, "tpm")
	child(ts, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init,startup-clear", "--server", "type=unixio,path="+address)
	for range 500 {
		if c, err := net.Dial("unix", address); err == nil {
			ts.Check(c.Close())
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Setenv("CKPT_TPM", address)
	for _, script := range []string{"right", "wrong"} {
		ts.Check(os.Chmod(ts.MkAbs(script), 0o755))
	}
	for _, file := range []string{"file"} {
		ts.Check(os.Chmod(ts.MkAbs(file), 0o600))
	}
}

// extend changes a PCR, as other firmware would.
func extend(ts *testscript.TestScript, _ bool, args []string) {
	pcr, err := strconv.Atoi(args[0])
	ts.Check(err)
	conn, err := net.Dial("unix", ts.Getenv("CKPT_TPM"))
	ts.Check(err)
	defer conn.Close()
	_, err = tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}.Execute(transport.FromReadWriter(conn))
	ts.Check(err)
}

// ends runs a command that must end with a code: ends CODE COMMAND..., or, without
// the terminal that a passphrase could be asked on, ends CODE detached COMMAND...
func ends(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if args[1] == "detached" {
		args[1] = "setsid"
		args = slices.Insert(args, 2, "--wait")
	}
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("it ended with %d, not %d", code, want)
	}
}

// target makes a process, or finds a task, whose number goes into PID:
// target sleeper|zombie|traced|thread|ancestor
func target(ts *testscript.TestScript, _ bool, args []string) {
	pid := map[string]func(*testscript.TestScript) int{
		"sleeper":  func(ts *testscript.TestScript) int { return child(ts, "sleep", "100").Process.Pid },
		"zombie":   zombie,
		"traced":   traced,
		"ancestor": func(*testscript.TestScript) int { return os.Getpid() },
		"thread":   func(*testscript.TestScript) int { return thread() },
	}[args[0]]
	ts.Setenv("PID", strconv.Itoa(pid(ts)))
	ts.Setenv("TEST", strconv.Itoa(os.Getpid()))
}

func child(ts *testscript.TestScript, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func zombie(ts *testscript.TestScript) int {
	pid := child(ts, "true").Process.Pid
	for {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		ts.Check(err)
		if strings.Contains(string(b), ") Z ") {
			return pid
		}
		runtime.Gosched()
	}
}

// traced is a child that a thread of the test traces until the script ends.
func traced(ts *testscript.TestScript) int {
	pid, over := make(chan int), make(chan bool)
	go func() {
		runtime.LockOSThread() // the tracer is a thread, and not unlocked: it ends with this function
		cmd := exec.Command("sleep", "100")
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		if cmd.Start() != nil {
			close(pid)
			return
		}
		var ws syscall.WaitStatus
		syscall.Wait4(cmd.Process.Pid, &ws, 0, nil)
		pid <- cmd.Process.Pid
		<-over
		cmd.Process.Kill()
		cmd.Wait()
	}()
	ts.Defer(func() { close(over) })
	return <-pid
}

// thread is a thread of this program that is not its first.
func thread() int {
	tids, _ := os.ReadDir("/proc/self/task")
	for _, e := range tids {
		if tid, _ := strconv.Atoi(e.Name()); tid != os.Getpid() {
			return tid
		}
	}
	return 0
}

// newImage writes an unsigned image, whose strings are an attack on terminals.
func newImage(ts *testscript.TestScript, _ bool, args []string) {
	tree, err := image.Marshal(&kind.Tree{
		Tasks: []kind.TaskNode{
			{ID: 1, PID: 4001, Comm: []byte("parent\x1b[2J"), MM: 1, Threads: []kind.ThreadNode{{ID: 1, TID: 4001}, {ID: 2, TID: 4002}}},
			{ID: 2, PID: 4003, Parent: 1, Comm: []byte("child\u009b"), State: kind.Zombie, Exit: 256},
		},
		MMs: []kind.MMNode{{ID: 1, Pages: 1, Used: image.Extents{{Off: 0x1000, Len: 0x100000}}}},
	})
	ts.Check(err)
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	data := bytes.Repeat([]byte("page"), 4096)
	w.Start(bytes.NewReader(append(make([]byte, 0x1000), data...)), []image.Extent{{Off: 0x1000, Len: uint64(len(data))}})
	ts.Check(w.Close(&image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: 1700000000, Host: "host\x1b]0;owned\a", Arch: "amd64",
		Kernel: "6.18"}, PIDs: image.PIDs{4001, 4002, 4003}, Tree: tree}, nil))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

// flip changes a byte of a file: flip FILE OFFSET, from its end if negative
func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}
