package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// cycles is how often each real program is dumped and restored.
const cycles = 20

// script is the argv that runs a file of testdata/fixtures by an interpreter. The interpreter's own path is asked for, because the one
// in PATH may be a script that looks for it.
func script(t *testing.T, file string, interpreter ...string) []string {
	t.Helper()
	path, err := exec.LookPath(interpreter[0])
	if err != nil {
		t.Fatal(err)
	}
	if interpreter[0] == "python3" {
		res := runs(t, harness.Command{Argv: []string{path, "-c", "import sys; print(sys.executable)"}})
		path = strings.TrimSpace(res.Stdout)
	}
	return append(append([]string{path}, interpreter[1:]...), filepath.Join(shared.Root, "testdata/fixtures", file))
}

// java is the argv of the java fixture. It shares no statistics file in /tmp unless told: another virtual machine that starts
// meanwhile would remove that of a process that it finds dead.
func java(t *testing.T, options ...string) []string {
	t.Helper()
	classes, err := shared.Java()
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("java")
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]string{path, "-Xmx256m"}, options...), "-cp", classes, "Work")
}

func many(t *testing.T, j *job) {
	t.Helper()
	for n := range cycles {
		j.restoreAfterDump()
		if t.Failed() {
			t.Fatalf("in cycle %d", n+1)
		}
	}
	j.goesOn(50)
}

// restoreAfterDump is a cycle of a program whose /proc entries are in motion: it judges itself.
func (j *job) restoreAfterDump() {
	j.t.Helper()
	image := j.dump()
	j.restore(image)
	os.Remove(image)
}

func TestPython(t *testing.T) {
	t.Parallel()
	many(t, begin(t, script(t, "prog_python.py", "python3")))
}

func TestBashPipeline(t *testing.T) {
	t.Parallel()
	many(t, begin(t, script(t, "prog_pipeline.bash", "bash")))
}

// TestJava is not parallel: see java.
func TestJava(t *testing.T) {
	many(t, begin(t, java(t)))
}

func TestNode(t *testing.T) {
	t.Parallel()
	j := begin(t, script(t, "prog_node.js", "node"))
	idle := j.sockets()
	address := "http://127.0.0.1:" + j.ports()[0]
	for range cycles {
		serves(t, address)
		for end := time.Now().Add(patience); j.sockets() > idle && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // until it has closed its end of our connection
		}
		j.restoreAfterDump()
		serves(t, address)
	}
	j.goesOn(50)
}

// sockets counts the sockets that the fixture has open.
func (j *job) sockets() int {
	n := 0
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", j.pid))
	for _, link := range links {
		if target, _ := os.Readlink(link); strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

func serves(t *testing.T, address string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), "count ") {
		t.Fatalf("it serves %q, %v", body, err)
	}
}

func TestGo(t *testing.T) {
	t.Parallel()
	path, err := shared.Go()
	if err != nil {
		t.Fatal(err)
	}
	many(t, begin(t, []string{path}))
}

func TestSqlite(t *testing.T) {
	t.Parallel()
	many(t, begin(t, script(t, "prog_sqlite.py", "python3")))
}

// TestSqliteWAL has the database in write-ahead mode: a second file, and one mapped shared.
func TestSqliteWAL(t *testing.T) {
	t.Parallel()
	many(t, begin(t, script(t, "prog_sqlite.py", "python3"), "wal"))
}

// TestListening connects from outside to each listening socket of a restored process.
func TestListening(t *testing.T) {
	t.Parallel()
	j := fixture(t, "sock_listen")
	ports := j.ports()
	for range 4 {
		greets(t, "tcp", "127.0.0.1:"+ports[0])
		greets(t, "tcp", "[::1]:"+ports[1])
		greets(t, "unix", filepath.Join(j.dir, "socket"))
		greets(t, "unix", fmt.Sprintf("@ckpt-fixture-%d", j.pid))
		time.Sleep(20 * time.Millisecond)
		j.cycle()
	}
}

func greets(t *testing.T, network, address string) {
	t.Helper()
	c, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello\n" {
		t.Fatalf("%s %s says %q, %v", network, address, b, err)
	}
}

// ports reads the numbers that a fixture wrote to its file "ports".
func (j *job) ports() []string {
	j.t.Helper()
	b, err := os.ReadFile(filepath.Join(j.dir, "ports"))
	if err != nil {
		j.t.Fatal(err)
	}
	return strings.Fields(string(b))
}
