package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Result is how a command ended and what it said.
type Result struct {
	Argv           []string
	Status         syscall.WaitStatus
	MaxRSS         int64 // bytes
	Stdout, Stderr string
	Took           time.Duration
	TimedOut       bool
}

// OK tells whether the command exited with 0.
func (r Result) OK() bool { return !r.TimedOut && r.Status.Exited() && r.Status.ExitStatus() == 0 }

// Code is the exit code, or -1 for a command that a signal ended.
func (r Result) Code() int {
	if !r.Status.Exited() {
		return -1
	}
	return r.Status.ExitStatus()
}

// String is the command with all that matters for a report.
func (r Result) String() string {
	end := fmt.Sprintf("exit %d", r.Code())
	if r.Status.Signaled() {
		end = r.Status.Signal().String()
	}
	if r.TimedOut {
		end = "killed by the test, it had not ended"
	}
	return fmt.Sprintf("$ %s\n%.1500s%.1500s\n[%s after %v]", strings.Join(r.Argv, " "), r.Stdout, r.Stderr, end, r.Took.Round(100*time.Microsecond))
}

// Command is one run of a program.
type Command struct {
	Argv   []string
	Dir    string
	Stdin  *os.File      // nil: /dev/null
	Stdout string        // a file that exists; "": it is in the result
	Stderr *os.File      // nil: it is in the result
	Env    []string      // nil: the test's own
	Limit  time.Duration // 0: a minute
	Kill   time.Duration // if set, SIGKILL that long after the start; a longer run is no error then
}

// Run runs c to its end. Output goes through files, so that a tree that inherits it holds nobody up.
func (r *Reaper) Run(c Command) (Result, error) {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	files, err := stdio(c, dir)
	if err != nil {
		return Result{}, err
	}
	begin := time.Now()
	pid, done, err := r.Start(c.Argv, os.ProcAttr{Dir: c.Dir, Env: c.Env, Files: files})
	closeAll(files, c.Stdin, c.Stderr)
	if err != nil {
		return Result{}, err
	}
	res := Result{Argv: c.Argv}
	end, timedOut := await(pid, done, c)
	res.Status, res.TimedOut, res.MaxRSS = end.WaitStatus, timedOut, end.Usage.Maxrss<<10
	res.Took = time.Since(begin)
	res.Stdout, res.Stderr = text(dir, "stdout"), text(dir, "stderr")
	return res, nil
}

func await(pid int, done <-chan End, c Command) (end End, timedOut bool) {
	limit := c.Limit
	if limit == 0 {
		limit = time.Minute
	}
	if c.Kill > 0 {
		limit = c.Kill
	}
	select {
	case end = <-done:
		return end, false
	case <-time.After(limit):
		// The process cannot have been reaped and its PID taken over: reaping delivers to done, which is empty or about to be filled
		// in this instant; a kill of a zombie does nothing.
		_ = Signal(pid, syscall.SIGKILL)
		return <-done, c.Kill == 0
	}
}

func stdio(c Command, dir string) ([]*os.File, error) {
	var err error
	stdin := c.Stdin
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
	}
	stdout, err := output(c.Stdout, dir, "stdout")
	if err != nil {
		return nil, err
	}
	if c.Stderr != nil {
		return []*os.File{stdin, stdout, c.Stderr}, nil
	}
	stderr, err := output("", dir, "stderr")
	return []*os.File{stdin, stdout, stderr}, err
}

// output opens path, or a new file of that name in dir.
func output(path, dir, name string) (*os.File, error) {
	if path == "" {
		path = filepath.Join(dir, name)
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func closeAll(files []*os.File, keep ...*os.File) {
	for _, f := range files {
		if !slices.Contains(keep, f) {
			f.Close()
		}
	}
}

// text is what was written to a file of dir, nothing if it went elsewhere.
func text(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return string(b)
}
