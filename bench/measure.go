package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

type bench struct {
	*harness.Builder
	reaper *harness.Reaper
	env    []string
	dir    string
	criu   string // its path, or ""
	runs   int
}

// row is a line of the table. Times are medians; a time of 0 was not measured.
type row struct {
	testcase
	image                              int64 // bytes
	dump, dumpNull, frozen, restore    time.Duration
	floorDump, floorNull, floorRestore time.Duration
	criuDump, criuRestore              time.Duration
	dumpRSS, restoreRSS                int64 // bytes, the largest seen
}

// target is a case at work.
type target struct {
	pid    int
	status string
	dir    string
}

func (b *bench) measure(c testcase) (row, error) {
	r := row{testcase: c}
	t, err := b.start(c)
	if err != nil {
		return r, err
	}
	defer func() { _ = harness.KillTree(t.pid) }()
	for _, step := range []func(*row, *target) error{b.floors, b.runsOn, b.cycles, b.withCRIU} {
		if err := step(&r, t); err != nil {
			return r, err
		}
	}
	return r, nil
}

// start begins a target and waits until it works.
func (b *bench) start(c testcase) (*target, error) { return b.startAs(c, 0) }

// startAs begins it in a directory of a user's.
func (b *bench) startAs(c testcase, uid int) (*target, error) {
	argv, err := c.argv()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "target")
	if err != nil {
		return nil, err
	}
	t := &target{status: filepath.Join(dir, "status"), dir: filepath.Join(dir, "dir")}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	for _, path := range []string{dir, t.dir} {
		if err := os.Chown(path, uid, uid); err != nil {
			return nil, err
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	argv = append(append(argv, t.status, t.dir), c.extra...)
	if t.pid, _, err = b.reaper.Start(argv, os.ProcAttr{Dir: "/", Files: []*os.File{null, null, null}}); err != nil {
		return nil, err
	}
	return t, t.reach(3)
}

// reach waits for a number of checks by the target.
func (t *target) reach(seq int) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p, err := harness.ReadStatus(t.status)
		if err != nil {
			return err
		}
		if p.Ready && p.Seq >= seq {
			return nil
		}
	}
	return fmt.Errorf("PID %d does not go on: %s", t.pid, harness.State(t.pid))
}

func (t *target) goesOn() error {
	p, err := harness.ReadStatus(t.status)
	if err != nil {
		return err
	}
	return t.reach(p.Seq + 2)
}

// run runs a program to its end; anything but success is an error.
func (b *bench) run(argv ...string) (harness.Result, error) {
	res, err := b.reaper.Run(harness.Command{Argv: argv, Dir: "/", Env: b.env, Limit: 5 * time.Minute})
	if err == nil && !res.OK() {
		err = fmt.Errorf("%v", res)
	}
	return res, err
}

// toNull runs a program whose output nobody wants.
func (b *bench) toNull(argv ...string) (harness.Result, error) {
	res, err := b.reaper.Run(harness.Command{Argv: argv, Dir: "/", Env: b.env, Limit: 5 * time.Minute, Stdout: os.DevNull})
	if err == nil && !res.OK() {
		err = fmt.Errorf("%v", res)
	}
	return res, err
}

func (b *bench) command(name string, args ...string) (harness.Result, error) {
	return b.run(append([]string{filepath.Join(b.Bin, name)}, args...)...)
}

// runsOn measures dumps that let the target run on: to /dev/null, and how long they freeze it.
func (b *bench) runsOn(r *row, t *target) error {
	var took, frozen []time.Duration
	for range b.runs {
		watch := watchFreeze(t.pid)
		res, err := b.toNull(filepath.Join(b.Bin, "ckpt"), "--sign", strconv.Itoa(t.pid))
		frozen = append(frozen, watch())
		if err != nil {
			return err
		}
		took = append(took, res.Took)
		if err := t.goesOn(); err != nil {
			return err
		}
	}
	r.dumpNull, r.frozen = median(took), median(frozen)
	return nil
}

// cycles measures dumps that end the target, to disk, and restores.
func (b *bench) cycles(r *row, t *target) error {
	var dumps, restores []time.Duration
	for range b.runs {
		tree, image := harness.Tree(t.pid), filepath.Join(b.dir, "image.ckpt")
		dump, err := b.command("ckpt", "--sign", "--kill", "-o", image, strconv.Itoa(t.pid))
		if err != nil {
			return err
		}
		if err := harness.WaitGone(time.Minute, tree...); err != nil {
			return err
		}
		restore, err := b.command("rstr", "--verify", "--detach", image)
		if err != nil {
			return err
		}
		if err := t.goesOn(); err != nil {
			return err
		}
		dumps, restores = append(dumps, dump.Took), append(restores, restore.Took)
		r.dumpRSS, r.restoreRSS = max(r.dumpRSS, dump.MaxRSS), max(r.restoreRSS, restore.MaxRSS)
		if info, err := os.Stat(image); err == nil {
			r.image = info.Size()
		}
		os.Remove(image)
	}
	r.dump, r.restore = median(dumps), median(restores)
	return nil
}

// withCRIU does the same by CRIU, images on disk.
func (b *bench) withCRIU(r *row, t *target) error {
	if b.criu == "" {
		return nil
	}
	var dumps, restores []time.Duration
	for range b.runs {
		dir, err := os.MkdirTemp(b.dir, "criu")
		if err != nil {
			return err
		}
		tree := harness.Tree(t.pid)
		dump, err := b.run(b.criu, "dump", "-t", strconv.Itoa(t.pid), "-D", dir)
		if err != nil {
			return err
		}
		if err := harness.WaitGone(time.Minute, tree...); err != nil {
			return err
		}
		restore, err := b.run(b.criu, "restore", "-d", "-D", dir)
		if err != nil {
			return err
		}
		dumps, restores = append(dumps, dump.Took), append(restores, restore.Took)
		os.RemoveAll(dir)
	}
	r.criuDump, r.criuRestore = median(dumps), median(restores)
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// watchFreeze looks at a process all the time and returns a function that ends that and tells for how long it was seen in a tracing stop.
func watchFreeze(pid int) func() time.Duration {
	stop, spent := make(chan struct{}), make(chan time.Duration)
	go func() {
		var first, last time.Time
		for {
			select {
			case <-stop:
				spent <- last.Sub(first)
				return
			default:
			}
			if harness.Traced(pid) {
				last = time.Now()
				if first.IsZero() {
					first = last
				}
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	return func() time.Duration { close(stop); return <-spent }
}
