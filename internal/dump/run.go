package dump

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/inject"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
)

// After is what becomes of the tree when its image is complete.
type After uint8

// The fates of a dumped tree.
const (
	Continue After = iota
	Stop           // it stays stopped (SIGSTOP)
	Kill           // it is killed, once the image is safe
)

// Options of a dump.
type Options struct {
	PID    int
	Table  kind.Table
	After  After
	Codec  image.Options
	Header image.Header // what does not come from the tree
	// Lent are capabilities that this process may use for following the links of
	// map_files and for nothing else. They are made effective for each.
	Lent abi.CapSet
	// Output opens the place where the image goes. It is called when nothing
	// is left to refuse.
	Output func() (Output, error)
	// Judge has the last word on a dump, when the tree is frozen and before
	// anything of it is read; nil: the kernel's is enough.
	Judge func([]Target) error
	// Sign makes the signatures over a manifest; nil leaves it unsigned.
	Sign func(manifest []byte) ([][]byte, error)
	// Dead is told when a tree that was to be killed is known to be dead, and its
	// image is whole and lasting: who signs only what no longer runs does it
	// then, and not by Sign. Nil: nobody wants to know.
	Dead func() error
	// Watch is told, when copying begins, how many bytes are to be copied, and
	// whom to ask how many are; nil: nobody wants to know.
	Watch func(total uint64, done func() uint64)
	// Waiting is told for which dead process of a killed tree the dump waits:
	// its parent must reap it before its PID is free; nil: nobody wants to know.
	Waiting func(Unreaped)
}

// Output takes an image. Commit makes it whole and lasting; Close without a
// Commit leaves nothing behind.
type Output interface {
	io.Writer
	Commit() error
	Close() error
}

// Report tells what a dump did.
type Report struct {
	Tasks, Threads int
	Raw, Stored    uint64        // bytes of bulk data before and after compression
	Frozen         time.Duration // how long the tree stood still
	Windows        []string      // processes that a death of this tool could have hurt, and why
	Unreaped       []Unreaped    // killed, but their PIDs are not free
}

// Refused lists everything about a tree that can't be saved.
type Refused struct{ Objects []*kind.Unsupported }

func (r *Refused) Error() string {
	lines := make([]string, 0, len(r.Objects))
	for _, u := range r.Objects {
		lines = append(lines, u.Error())
	}
	return strings.Join(lines, "\n")
}

// KilledError is what failed when the tree had been killed already, whose image
// is what is left of it.
type KilledError struct{ Err error }

func (e *KilledError) Error() string { return e.Err.Error() }

func (e *KilledError) Unwrap() error { return e.Err }

// Run writes the tree below a process into an image. Errors: *Refused, those
// of inject for a process that may not be traced or is gone, those of Output;
// *KilledError where the tree does not run on.
func Run(o Options) (r *Report, err error) {
	err = inject.Trace(func(tr *inject.Tracer) error {
		s := newSession(&o, tr)
		defer s.close()
		if r, err = s.run(o); err != nil {
			r, err = nil, s.letGo(err)
		}
		return err
	})
	return r, err
}

func (s *session) run(o Options) (*Report, error) {
	start := time.Now()
	if err := s.freeze(o.PID); err != nil {
		return nil, err
	}
	if o.Judge != nil {
		if err := s.judge(o.Judge); err != nil {
			return nil, err
		}
	}
	m, err := s.describe(o)
	if err != nil {
		return nil, err
	}
	r := &Report{Tasks: len(s.procs), Threads: len(s.threads), Windows: s.windows}
	return r, s.save(o, m, r, start)
}

// letGo lets the tree run on after a failure.
func (s *session) letGo(err error) error {
	if s.thaw == nil {
		return err
	}
	return errors.Join(err, s.thaw())
}

// describe makes everything of the manifest but the bulk data.
func (s *session) describe(o Options) (*image.Manifest, error) {
	if err := s.gather(); err != nil {
		return nil, err
	}
	if err := s.unshared(); err != nil {
		return nil, err
	}
	objects := s.objects()
	s.choose(objects)
	go prepare(objects)
	if err := s.ask(objects); err != nil {
		return nil, err
	}
	if err := s.write(objects); err != nil {
		return nil, err
	}
	t, err := s.tree()
	if err != nil {
		return nil, err
	}
	if len(s.refused) > 0 {
		return nil, &Refused{s.refused}
	}
	if o.Header.Audience != "" { // nobody grants anything to an image that names no host
		if o.Header.Ceiling, err = ceiling(o.Table, s.records); err != nil {
			return nil, err
		}
	}
	body, err := encode(t)
	o.Header.Xstate = s.xstate
	return &image.Manifest{Header: o.Header, PIDs: pids(t), Tree: body, Records: s.records}, err
}

// prepare has the encoders made that records need, while the target is asked:
// for a small tree that takes longer than to encode them.
func prepare(objects []*object) {
	done := map[string]bool{}
	for _, o := range objects {
		for _, u := range o.kinds {
			if name := u.kind.Name(); !done[name] {
				done[name] = true
				u.kind.Prepare()
			}
		}
	}
	_, _ = image.Marshal(kind.Tree{})
	_, _ = image.Marshal(image.Manifest{})
}

// checkedFrom is the size from which an encoded tree is read back before it
// is relied on: the format has bounds that only a huge tree can exceed.
const checkedFrom = 1 << 20

func encode(t *kind.Tree) ([]byte, error) {
	body, err := image.Marshal(t)
	if err == nil && len(body) > checkedFrom {
		err = image.Unmarshal(body, new(kind.Tree))
	}
	return body, err
}

// pids lists every number that the tree occupies.
func pids(t *kind.Tree) image.PIDs {
	var out image.PIDs
	for _, n := range t.Tasks {
		if len(n.Threads) == 0 {
			out = append(out, uint32(n.PID))
		}
		for _, th := range n.Threads {
			out = append(out, uint32(th.TID))
		}
	}
	return out
}

// save writes the image and decides the fate of the tree. The tree is let go
// as soon as its bulk data is copied, unless it is to end: then it must not
// run on behind the image's back.
func (s *session) save(o Options, m *image.Manifest, r *Report, start time.Time) error {
	out, err := o.Output()
	if err != nil {
		return err
	}
	defer out.Close()
	w := image.NewWriter(out, o.Codec)
	if o.Watch != nil {
		o.Watch(s.total(), func() uint64 { raw, _ := w.Progress(); return raw })
	}
	if err := s.copyBlobs(w); err != nil {
		return failed(w, err)
	}
	if o.After == Continue {
		r.Frozen = time.Since(start)
		if err := s.release(); err != nil {
			return err
		}
	}
	if err := w.Close(m, o.Sign); err != nil {
		return failed(w, err)
	}
	if err := out.Commit(); err != nil {
		return err
	}
	r.Raw, r.Stored = m.Totals.Raw, m.Totals.Stored
	return s.end(o, r)
}

// failed ends the stream with the reason, for a reader behind a pipe. That
// this may not be possible either, because the output itself is what failed,
// is no news.
func failed(w *image.Writer, err error) error {
	w.Fail(err.Error())
	return err
}

// total is how many bytes of bulk data there are.
func (s *session) total() (n uint64) {
	for _, b := range s.blobs {
		n += b.extents.Size()
	}
	return n
}

func (s *session) release() error {
	thaw := s.thaw
	s.thaw = nil
	return thaw()
}

// end carries out what is to become of the tree.
func (s *session) end(o Options, r *Report) error {
	switch o.After {
	case Stop:
		if err := s.stopAll(); err != nil {
			return err
		}
		return s.release()
	case Kill:
		return s.kill(o, r)
	}
	return nil
}
