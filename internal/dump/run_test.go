package dump

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

type nothing struct{}

// claim is a kind that is responsible for every site of S, or says why not.
func claim[S any](name string, at plan.Site, claims bool, why func(S) error) kind.Kind {
	return kind.New(kind.Spec[S, nothing]{Name: name, At: at, Claims: claims, Dump: func(_ kind.Dump, s S, _ []plan.Result) (nothing, error) {
		if why == nil {
			return nothing{}, nil
		}
		return nothing{}, why(s)
	}})
}

// toys claim all that there is.
func toys() kind.Table {
	return kind.Table{
		claim[*kind.TaskSite]("task", plan.Task, true, nil), claim[*kind.ThreadSite]("thread", plan.Thread, true, nil),
		claim[*kind.MMSite]("mm", plan.MM, true, nil), claim[*kind.FSSite]("fs", plan.FS, true, nil),
		claim[*kind.SigHandSite]("sighand", plan.SigHand, true, nil), claim[*kind.MappingSite]("mapping", plan.Mapping, true, nil),
		claim[*kind.FileSite]("file", plan.OpenFile, true, nil), claim[*kind.InodeSite]("inode", plan.Inode, true, nil),
		claim[*kind.NamespaceSite]("namespace", plan.Namespace, true, nil),
	}
}

// but is toys with one kind in the place of that of its name.
func but(k kind.Kind) kind.Table {
	table := toys()
	for i := range table {
		if table[i].Name() == k.Name() {
			table[i] = k
			return table
		}
	}
	return append(table, k)
}

// output is an Output in memory that may fail.
type output struct {
	bytes.Buffer
	fails             error
	opened, committed int
}

func (o *output) open() (Output, error) { o.opened++; return o, nil }
func (o *output) Commit() error         { o.committed++; return o.fails }
func (o *output) Close() error          { return nil }

// ticks is a process that wakes up again and again, and another one below it.
const ticks = "sleep 1000 & exec tail -s 0.01 -f ---disable-inotify /dev/null"

// victim runs a script of the shell.
func victim(t *testing.T, script string) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root")
	}
	c := exec.Command("sh", "-c", script)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		below, _ := kernelio.Descendants(c.Process.Pid)
		for _, pid := range append([]int{c.Process.Pid}, below...) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		c.Wait()
	})
	time.Sleep(100 * time.Millisecond)
	return c.Process.Pid
}

// try dumps and insists that the victim goes on, whatever became of it.
func try(t *testing.T, table kind.Table, o *output) (*image.Manifest, *Report, error) {
	t.Helper()
	pid := victim(t, ticks)
	r, err := Run(Options{PID: pid, Table: table, Header: image.Header{Class: image.ClassSelf}, Output: o.open})
	goesOn(t, pid)
	if err != nil {
		return nil, r, err
	}
	img, err := image.Open(bytes.NewReader(o.Bytes()), int64(o.Len()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return m, r, nil
}

func goesOn(t *testing.T, pid int) {
	t.Helper()
	before := turns(t, pid)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if turns(t, pid) > before {
			return
		}
	}
	t.Error("the victim does not go on")
}

// turns counts how often a process gave up its CPU.
func turns(t *testing.T, pid int) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "TracerPid:\t0\n") {
		_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		fmt.Sscan(rest, &n)
	}
	return n
}

func TestEverythingIsRecorded(t *testing.T) {
	var o output
	m, r, err := try(t, toys(), &o)
	if err != nil {
		t.Fatal(err)
	}
	var tree kind.Tree
	if err := image.Unmarshal(m.Tree, &tree); err != nil {
		t.Fatal(err)
	}
	if len(tree.Tasks) != 2 || len(tree.Tasks) != r.Tasks || len(m.PIDs) != r.Threads || o.committed != 1 {
		t.Errorf("%d tasks, reported %d, %d PIDs, %d commits", len(tree.Tasks), r.Tasks, len(m.PIDs), o.committed)
	}
	sorts := map[plan.Site]int{}
	for _, r := range m.Records {
		sorts[plan.Site(r.Site)]++
	}
	for _, at := range []plan.Site{plan.Task, plan.Thread, plan.MM, plan.FS, plan.SigHand, plan.Mapping, plan.OpenFile, plan.Inode} {
		if sorts[at] == 0 {
			t.Errorf("no record of any %v", at)
		}
	}
}

func unsupported[S any](S) error { return kind.Unsupportedf("toys can't save it") }

// TestAllRefusalsAreCollected has several reasons to refuse, and nothing is
// opened for writing.
func TestAllRefusalsAreCollected(t *testing.T) {
	table := but(claim("task", plan.Task, true, unsupported[*kind.TaskSite]))
	table = append(table, claim("more", plan.Thread, false, unsupported[*kind.ThreadSite]), // a contributor
		claim("second", plan.FS, true, (func(*kind.FSSite) error)(nil))) // a second claimer
	table = append(table[:5:5], table[6:]...) // and nobody for mappings
	var o output
	_, _, err := try(t, table, &o)
	var no *Refused
	if !errors.As(err, &no) {
		t.Fatalf("got %v", err)
	}
	said := no.Error()
	for _, want := range []string{"process ", "toys can't save it", "thread ", "2 kinds claim it", "mapping ", "nothing here knows how to save it", "[stack]"} {
		if !strings.Contains(said, want) {
			t.Errorf("not named: %q", want)
		}
	}
	if strings.Count(said, "toys can't save it") < 4 || o.opened != 0 {
		t.Errorf("%d outputs opened; %s", o.opened, said)
	}
}

var errToy = errors.New("a defect of the toy")

func TestFailuresLeaveTheTreeAlone(t *testing.T) {
	fails := func(*kind.InodeSite) error { return errToy }
	for name, c := range map[string]struct {
		table  kind.Table
		output output
		opened int
	}{
		"a kind":     {table: but(claim("inode", plan.Inode, true, fails))},
		"the output": {table: toys(), output: output{fails: errToy}, opened: 1},
	} {
		o := c.output
		if _, _, err := try(t, c.table, &o); !errors.Is(err, errToy) || o.opened != c.opened {
			t.Errorf("%s: %v, %d outputs opened", name, err, o.opened)
		}
	}
}

// TestDeadIsDead: who wants to know of a tree's death is told when all of it is dead and its image is whole, and what fails then says that there is
// no tree any more.
func TestDeadIsDead(t *testing.T) {
	pid := victim(t, ticks)
	below, err := kernelio.Descendants(pid)
	if err != nil || len(below) == 0 {
		t.Fatal(below, err)
	}
	var o output
	told := 0
	_, err = Run(Options{PID: pid, Table: toys(), After: Kill, Header: image.Header{Class: image.ClassSelf}, Output: o.open, Dead: func() error {
		told++
		for _, p := range append([]int{pid}, below...) {
			// Nothing is left of a process that nobody waits for but this.
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p)); err == nil && !strings.Contains(string(text), "State:\tZ") {
				t.Errorf("process %d is alive: %s", p, text)
			}
		}
		if _, err := image.Open(bytes.NewReader(o.Bytes()), int64(o.Len())); err != nil || o.committed != 1 {
			t.Errorf("its image: %v, %d commits", err, o.committed)
		}
		return errToy
	}})
	if !errors.As(err, new(*KilledError)) || !errors.Is(err, errToy) || told != 1 {
		t.Errorf("told %d times: %v", told, err)
	}
}

// TestAnyNameIsRecorded has a process whose name is no text.
func TestAnyNameIsRecorded(t *testing.T) {
	pid := victim(t, `printf '\377\033\n' > /proc/self/comm; sleep 1000 & wait`)
	var o output
	if _, err := Run(Options{PID: pid, Table: toys(), Header: image.Header{Class: image.ClassSelf}, Output: o.open}); err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(bytes.NewReader(o.Bytes()), int64(o.Len()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Decode()
	if err != nil {
		t.Fatal(err)
	}
	var tree kind.Tree
	if err := image.Unmarshal(m.Tree, &tree); err != nil {
		t.Errorf("the tree that was written is refused: %v", err)
	}
}
