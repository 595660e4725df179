package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
)

// dumpOptions are the options of a dump.
type dumpOptions struct {
	sign     string
	signing  bool
	kill     bool
	stop     bool
	output   string
	outputFD int
	force    bool
	verbose  bool
	compress string
}

func (o *dumpOptions) parse(args []string, s *streams) (pid int, err error) {
	f := flagSet("ckpt", s.out, usage)
	f.StringVar(&o.sign, "sign", "", "sign the image with `KEY`: a key file or agent[:NAME]; alone: the user's own key, made at first use")
	f.Lookup("sign").NoOptDefVal = defaultKey
	f.BoolVar(&o.kill, "kill", false, "end the tree when its image is safe")
	f.BoolVar(&o.stop, "stop", false, "leave the tree stopped (SIGSTOP)")
	f.StringVarP(&o.output, "output", "o", "", "write the image to `FILE`, whole or not at all")
	f.IntVar(&o.outputFD, "output-fd", 1, "write the image to descriptor `N`")
	f.BoolVarP(&o.force, "force", "f", false, "replace an existing output file")
	f.StringVar(&o.compress, "compress", "s2", "s2, zstd or none")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what was done")
	if err := parse(f, args, "one PID", 1); err != nil {
		return 0, err
	}
	o.signing = f.Changed("sign")
	s.speaker.Verbose = o.verbose
	if o.kill && o.stop {
		return 0, &cli.UsageError{Text: "--kill and --stop exclude each other"}
	}
	if pid, err = strconv.Atoi(f.Arg(0)); err != nil || pid <= 0 {
		return 0, &cli.UsageError{Text: fmt.Sprintf("%q is not a PID", f.Arg(0))}
	}
	return pid, nil
}

// defaultKey stands for --sign without a key. No file has such a name.
const defaultKey = "\x00"

func dumpTree(args []string, s *streams) error {
	var o dumpOptions
	pid, err := o.parse(args, s)
	if err != nil {
		return err
	}
	if err := mayDump(pid); err != nil {
		return err
	}
	codec, err := image.ParseCodec(o.compress)
	if err != nil {
		return &cli.UsageError{Text: err.Error()}
	}
	if o.output == "" && cli.IsTerminal(o.outputFD) {
		return cli.WithHint(&cli.UsageError{Text: "an image is not for a terminal"}, "ckpt -o FILE %d", pid)
	}
	h, err := header()
	if err != nil {
		return err
	}
	d := dump.Options{PID: pid, Table: kinds.All(), After: o.after(), Codec: image.Options{Codec: codec}, Header: h,
		Output: func() (dump.Output, error) { return o.open() }}
	if o.signing {
		signer, err := openSigner(o.sign, s)
		if err != nil {
			return err
		}
		defer signer.Close()
		d.Header.Signer, d.Header.Class = signer.Claim(), signer.Class().String()
		d.Sign = func(m []byte) ([][]byte, error) { return sign.All(m, signer) }
	}
	start := time.Now()
	r, err := dump.Run(d)
	if err != nil {
		return err
	}
	for _, w := range r.Windows {
		s.speaker.Detail("%s", w)
	}
	s.speaker.Detail("%d processes, %d threads, %s in %s of image, frozen %v, %v in all", r.Tasks, r.Threads,
		cli.Bytes(r.Raw), cli.Bytes(r.Stored), r.Frozen.Round(time.Microsecond*10), time.Since(start).Round(time.Microsecond*10))
	return nil
}

func (o *dumpOptions) after() dump.After {
	switch {
	case o.kill:
		return dump.Kill
	case o.stop:
		return dump.Stop
	}
	return dump.Continue
}

// mayDump refuses what makes no sense to freeze, each with its own words.
func mayDump(pid int) error {
	dir, err := kernelio.OpenProc(pid)
	if kernelio.IsGone(err) {
		return fmt.Errorf("there is no process %d: %w", pid, unix.ESRCH)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Status()
	if err != nil {
		return err
	}
	if int(st.Tgid) != pid {
		return cli.WithHint(fmt.Errorf("%d is a thread of process %d, not a process: %w", pid, st.Tgid, unix.ESRCH), "ckpt %d", st.Tgid)
	}
	if st.State == 'Z' {
		return fmt.Errorf("process %d (%+q) is dead and waits to be reaped: %w", pid, st.Name, unix.ESRCH)
	}
	return notOneself(pid)
}

func notOneself(pid int) error {
	for p := os.Getpid(); p > 0; {
		if p == pid && p == os.Getpid() {
			return &cli.UsageError{Text: fmt.Sprintf("process %d is ckpt itself", pid)}
		}
		if p == pid {
			return &cli.UsageError{Text: fmt.Sprintf("process %d is an ancestor of ckpt, which would freeze itself", pid)}
		}
		dir, err := kernelio.OpenProc(p)
		if err != nil {
			return nil
		}
		st, err := dir.Stat()
		dir.Close()
		if err != nil {
			return nil
		}
		p = int(st.PPid)
	}
	return nil
}

// open opens the output: a file that appears whole or not at all, or a
// descriptor.
func (o *dumpOptions) open() (dump.Output, error) {
	if o.output == "" || o.output == "-" {
		return fdOutput{os.NewFile(uintptr(o.outputFD), "output")}, nil
	}
	f, err := kernelio.CreateAtomic(o.output, o.force)
	if errors.Is(err, os.ErrExist) {
		return nil, cli.WithHint(err, "-f replaces it")
	}
	return atomicOutput{f}, err
}

type fdOutput struct{ *os.File }

func (fdOutput) Commit() error { return nil }

type atomicOutput struct{ *kernelio.AtomicFile }

func (a atomicOutput) Close() error { return a.Abort() }

// header says who made the image, and where.
func header() (image.Header, error) {
	uid, gid, groups, err := host.Caller()
	if err != nil {
		return image.Header{}, err
	}
	h := image.Header{Class: image.ClassSelf, Created: time.Now().Unix(), Host: host.MachineID(), Arch: runtime.GOARCH,
		Caller: image.Caller{UID: uid, GID: gid, Groups: groups}}
	rand.Read(h.ID[:])
	rand.Read(h.Lineage[:])
	if h.Kernel, err = host.Kernel(); err != nil {
		return h, err
	}
	h.CPU, err = host.CPUFeatures()
	return h, err
}
