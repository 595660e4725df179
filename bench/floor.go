package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/test/harness"
)

// chunk is the raw size of a chunk of an image (SPEC.md), and group how many of them a worker takes at once: 2 MiB, a huge page.
const (
	chunk = 256 << 10
	group = 8
)

// floors measures what no checkpointer can be faster than: for small targets the start and end of a static Go binary; for large ones
// the pipeline on plain memory, with nothing to freeze and nobody to build.
func (b *bench) floors(r *row, t *target) error {
	if r.memory == 0 {
		start, err := b.startFloor()
		r.floorDump, r.floorNull, r.floorRestore = start, start, start
		return err
	}
	// In a process of its own: a command started by one that once was large is accounted that size, getrusage(2), ru_maxrss.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	res, err := b.run(self, "floor", strconv.Itoa(t.pid), strconv.FormatInt(r.memory, 10), strconv.Itoa(b.runs), b.dir)
	if err != nil {
		return err
	}
	_, err = fmt.Sscan(res.Stdout, &r.floorNull, &r.floorDump, &r.floorRestore)
	return err
}

// floorProcess is "bench floor PID SIZE RUNS DIR": it prints the medians of the pipeline to /dev/null, to a file of DIR, and back, in
// nanoseconds.
func floorProcess(args []string) error {
	var pid, runs int
	var bytes int64
	var dir string
	if _, err := fmt.Sscan(strings.Join(args, " "), &pid, &bytes, &runs, &dir); err != nil {
		return err
	}
	memory, err := copyOf(pid, bytes)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "floor")
	defer os.Remove(path)
	var table []stored
	toNull := func() error { _, err := dumpTo(os.DevNull, memory); return err }
	toFile := func() error { os.Remove(path); table, err = dumpTo(path, memory); return err }
	back := func() error { return restoreFrom(path, table, len(memory)) }
	for _, do := range []func() error{toNull, toFile, back} {
		took, err := times(runs, do)
		if err != nil {
			return err
		}
		fmt.Println(took.Nanoseconds())
	}
	return nil
}

func times(runs int, do func() error) (time.Duration, error) {
	var took []time.Duration
	for range runs {
		begin := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	return median(took), nil
}

// startFloor is the time of a static Go binary that does nothing.
func (b *bench) startFloor() (time.Duration, error) {
	source, program := filepath.Join(b.dir, "nothing.go"), filepath.Join(b.dir, "nothing")
	if _, err := os.Stat(program); err != nil {
		if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
			return 0, err
		}
		env := append(os.Environ(), "CGO_ENABLED=0")
		res, err := b.reaper.Run(harness.Command{Argv: []string{lookPath("go"), "build", "-o", program, source}, Env: env, Dir: b.dir})
		if err != nil || !res.OK() {
			return 0, fmt.Errorf("%v %w", res, err)
		}
	}
	var took []time.Duration
	for range 4 * b.runs {
		res, err := b.run(program)
		if err != nil {
			return 0, err
		}
		took = append(took, res.Took)
	}
	return median(took), nil
}

// plain is fresh anonymous memory of this process.
func plain(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// copyOf gives this process the same contents as the target's large memory, its largest mapping.
func copyOf(pid int, size int64) ([]byte, error) {
	at, err := harness.Largest(pid)
	if err != nil {
		return nil, err
	}
	memory, err := plain(int(size))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for done := 0; done < len(memory); {
		n, err := f.ReadAt(memory[done:min(done+64<<20, len(memory))], at+int64(done))
		if err != nil {
			return nil, err
		}
		done += n
	}
	return memory, nil
}

// stored is where a chunk lies in the floor's file.
type stored struct {
	off    int64
	size   int
	digest [32]byte
}

// dumpTo reads memory, compresses and hashes it by chunks on all processors, and writes it in order by one writer, durably.
func dumpTo(path string, memory []byte) ([]stored, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	groups := (len(memory) + chunk*group - 1) / (chunk * group)
	done := make([]chan packed, groups)
	for i := range done {
		done[i] = make(chan packed, 1)
	}
	free := make(chan []byte, 4*runtime.NumCPU())
	for range cap(free) {
		free <- make([]byte, 0, group*s2.MaxEncodedLen(chunk))
	}
	var next atomic.Int64
	for range runtime.NumCPU() {
		go func() {
			raw := make([]byte, chunk)
			for {
				// The buffer first: whoever has the lowest group must not wait for one.
				buf := <-free
				i := int(next.Add(1)) - 1
				if i >= groups {
					return
				}
				done[i] <- pack(memory[i*chunk*group:min((i+1)*chunk*group, len(memory))], raw, buf[:0])
			}
		}()
	}
	table, err := writeInOrder(f, done, free)
	if err == nil && path != os.DevNull {
		err = f.Sync()
	}
	return table, err
}

// packed is a group of compressed chunks, one after the other, and their sizes and digests.
type packed struct {
	buf    []byte
	chunks []stored
}

func pack(memory, raw, buf []byte) packed {
	p := packed{buf: buf}
	for at := 0; at < len(memory); at += chunk {
		n := copy(raw, memory[at:min(at+chunk, len(memory))])
		from := len(p.buf)
		p.buf = p.buf[:from+len(s2.Encode(p.buf[from:from+s2.MaxEncodedLen(n)], raw[:n]))]
		p.chunks = append(p.chunks, stored{size: len(p.buf) - from, digest: sha256.Sum256(p.buf[from:])})
	}
	return p
}

func writeInOrder(f *os.File, done []chan packed, free chan []byte) ([]stored, error) {
	var table []stored
	var off int64
	synced := int64(0)
	for _, c := range done {
		p := <-c
		if _, err := f.Write(p.buf); err != nil {
			return nil, err
		}
		for _, s := range p.chunks {
			s.off = off
			off += int64(s.size)
			table = append(table, s)
		}
		// Begin writing back early, so that the sync at the end has little to wait for.
		if off-synced >= 8<<20 {
			_ = unix.SyncFileRange(int(f.Fd()), synced, off-synced, unix.SYNC_FILE_RANGE_WRITE)
			synced = off
		}
		free <- p.buf
	}
	return table, nil
}

// restoreFrom reads, verifies and decompresses the chunks and places them in fresh memory, on all processors.
func restoreFrom(path string, table []stored, size int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	memory, err := plain(size)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(memory) }()
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		workers.Go(func() {
			buf, raw := make([]byte, s2.MaxEncodedLen(chunk)), make([]byte, chunk)
			for {
				first := int(next.Add(group)) - group
				if first >= len(table) {
					return
				}
				for i := first; i < min(first+group, len(table)); i++ {
					if err := place(f, table[i], buf, raw, memory[i*chunk:min((i+1)*chunk, size)]); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return <-errs
}

func place(f *os.File, s stored, buf, raw, to []byte) error {
	if _, err := f.ReadAt(buf[:s.size], s.off); err != nil {
		return err
	}
	if sha256.Sum256(buf[:s.size]) != s.digest {
		return fmt.Errorf("the floor's own file is damaged at %d", s.off)
	}
	out, err := s2.Decode(raw, buf[:s.size])
	if err != nil {
		return err
	}
	copy(to, out)
	return nil
}
