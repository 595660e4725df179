package dump

import (
	"errors"
	"fmt"
	"io"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// object is a site as the engine handles it: erased, numbered, with a name
// for messages, made when one comes, and the task that answers what its kinds ask.
type object struct {
	at    plan.Site
	id    uint32
	site  any
	name  func() string
	asks  int // thread that executes its Ask calls; 0: there is none
	kinds []*use
}

// use is one kind at one object.
type use struct {
	kind  kind.Kind
	calls []plan.Call
	asked []plan.Result
}

// choose finds the kinds of all objects.
func (s *session) choose(objects []*object) {
	among := map[plan.Site][]kind.Kind{}
	for _, o := range objects {
		if among[o.at] == nil {
			among[o.at] = s.table.Of(o.at)
		}
	}
	refused := make([]error, len(objects))
	_ = parallel(len(objects), small, func(i int) error {
		refused[i] = objects[i].choose(among[objects[i].at])
		return nil
	})
	for i, err := range refused {
		if err != nil {
			s.refuse(objects[i].name(), err)
		}
	}
}

// choose finds the kinds of an object, among those of its site: exactly one
// that claims it, and any that contribute. What nobody claims is refused by
// name.
func (o *object) choose(among []kind.Kind) error {
	claimed := 0
	matching := make([]kind.Kind, 0, 32) // on the stack: most kinds of a site have nothing to say
	for _, k := range among {
		if !k.Match(o.site) {
			continue
		}
		if k.Claims() {
			claimed++
		}
		matching = append(matching, k)
	}
	uses := make([]use, len(matching))
	o.kinds = make([]*use, len(matching))
	for i, k := range matching {
		uses[i].kind, o.kinds[i] = k, &uses[i]
	}
	switch {
	case o.at == plan.FDTable: // its entries are the engine's own
	case claimed == 0:
		return kind.Unsupportedf("nothing here knows how to save it")
	case claimed > 1:
		return fmt.Errorf("%d kinds claim it, which is a defect of this program", claimed)
	}
	return nil
}

// written is what the kinds made of an object.
type written struct {
	records []image.Record
	refused []*kind.Unsupported
}

// write makes the records of all objects. Bulk data has its place in the
// image, so that objects which may have some take their turns.
func (s *session) write(objects []*object) error {
	out := make([]*written, len(objects))
	var others []int
	for i, o := range objects {
		if o.at != plan.Inode && o.at != plan.OpenFile {
			others = append(others, i)
			continue
		}
		var err error
		if out[i], err = o.write(s); err != nil {
			return err
		}
	}
	err := parallel(len(others), large, func(k int) (err error) {
		i := others[k]
		out[i], err = objects[i].write(slight{s})
		return err
	})
	if err != nil {
		return err
	}
	n := 0
	for _, w := range out {
		n += len(w.records)
	}
	s.records = make([]image.Record, 0, n)
	for i, w := range out {
		s.records = append(s.records, w.records...)
		s.refused = append(append(s.refused, w.refused...), s.unmapped(objects[i], w)...)
	}
	return nil
}

// write makes the records of an object.
func (o *object) write(d kind.Dump) (*written, error) {
	w := &written{records: make([]image.Record, 0, len(o.kinds))}
	for _, u := range o.kinds {
		if len(u.asked) < len(u.calls) {
			continue // it could not be asked, and was refused for that
		}
		body, err := u.kind.Dump(d, o.site, u.asked)
		var no *kind.Unsupported
		if errors.As(err, &no) {
			w.refused = append(w.refused, refusal(o.name(), no))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", o.name(), u.kind.Name(), err)
		}
		w.records = append(w.records, image.Record{
			Site: uint8(o.at), ID: o.id, Kind: u.kind.Name(), Version: u.kind.Version(), Body: body,
		})
	}
	return w, nil
}

// slight is a Dump for objects that have no bulk data.
type slight struct{ kind.Dump }

var errBulk = errors.New("bulk data of an object that may have none")

// Content implements kind.Dump.
func (slight) Content(*kind.InodeSite) (kind.BlobRef, error) { return 0, errBulk }

// Blob implements kind.Dump.
func (slight) Blob(io.ReaderAt, []image.Extent) (kind.BlobRef, error) { return 0, errBulk }

// objects lists everything that kinds are asked about, in the order in which
// records stand in an image: what others refer to comes first.
func (s *session) objects() []*object {
	var out []*object
	add := func(at plan.Site, id uint32, site any, asks kind.PID, name func() string) {
		out = append(out, &object{at: at, id: id, site: site, asks: int(asks), name: name})
	}
	for _, n := range s.spaces {
		add(plan.Namespace, n.ID, n, 0, func() string { return n.Type + " namespace of " + taskName(n.Task) })
	}
	for _, i := range s.inodes {
		add(plan.Inode, i.ID, i, 0, func() string { return fmt.Sprintf("%s (used by %s)", quote(i.Path), taskName(i.Task)) })
	}
	for _, f := range s.files {
		add(plan.OpenFile, f.ID, f, 0, func() string { return fmt.Sprintf("fd %d of %s, %s", f.Num, taskName(f.Task), quote(f.Link)) })
	}
	for _, m := range s.mms {
		add(plan.MM, m.ID, m, m.Task.PID, func() string { return "memory of " + taskName(m.Task) })
	}
	for _, m := range s.mappings {
		add(plan.Mapping, m.ID, m, 0, func() string {
			return fmt.Sprintf("mapping %x-%x %s of %s", m.VMA.Start, m.VMA.End, quote(m.VMA.Path), taskName(m.MM.Task))
		})
	}
	for _, f := range s.fss {
		add(plan.FS, f.ID, f, f.Task.PID, func() string { return "directories of " + taskName(f.Task) })
	}
	for _, h := range s.sighands {
		add(plan.SigHand, h.ID, h, h.Task.PID, func() string { return "signal actions of " + taskName(h.Task) })
	}
	for _, t := range s.fdtables {
		add(plan.FDTable, t.ID, t, t.Task.PID, func() string { return "descriptors of " + taskName(t.Task) })
	}
	for _, t := range s.tasks {
		add(plan.Task, t.ID, t, t.PID, func() string { return taskName(t) })
	}
	for _, t := range s.threads {
		add(plan.Thread, t.ID, t, t.TID, func() string { return fmt.Sprintf("thread %d of %s", t.TID, taskName(t.Task)) })
	}
	return out
}

func taskName(t *kind.TaskSite) string { return fmt.Sprintf("process %d (%s)", t.PID, t.Comm) }

// quote shows a string that the target chose, for a message.
func quote(s string) string {
	q := fmt.Sprintf("%+q", s)
	return q[1 : len(q)-1]
}
