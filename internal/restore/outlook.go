package restore

import (
	"errors"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Outlook is what a restore would do, with which authority, and what stands
// in its way.
type Outlook struct {
	Tasks    int
	Threads  int
	Steps    []Planned       // in the order of the stages
	Decision policy.Decision // on all authority that they need
	Lost     []error         // each thing that can't be given back as it was
	Host     []error         // each thing that would fail on this host
	PIDs     []uint32        // the numbers that the tree has
	Route    Route           // to these
}

// Planned is a step of an Outlook.
type Planned struct {
	Object string
	Kind   string
	plan.Step
}

// Err is the error with which Run would refuse; nil if nothing is in the way.
func (o *Outlook) Err() error { return firstOf(o.Lost, refusal(o.Decision), o.Host) }

// Preview finds out what Run would do, and creates nothing. Its own errors
// are those of an image that makes no sense.
func Preview(img *verify.Image, o Options) (*Outlook, error) {
	p, err := prepare(img.Manifest(), &o)
	if err != nil {
		return nil, err
	}
	out := &Outlook{Tasks: len(p.tree.Tasks), Threads: len(p.threads), Decision: p.decision,
		Lost: p.lost(), Host: p.preflight(), PIDs: p.manifest.PIDs, Route: p.route}
	for i := range p.steps {
		out.Steps = append(out.Steps, Planned{Object: p.steps[i].name(), Kind: p.steps[i].kind, Step: p.steps[i].Step})
	}
	return out, nil
}

// prospect is an image that is decoded, mapped, planned and judged.
type prospect struct {
	*content
	steps    []step
	route    Route
	caller   *kind.Caller
	inside   bool
	strange  bool // a process is to be somebody else than the caller
	files    map[string]*found
	decision policy.Decision
}

func prepare(m *image.Manifest, o *Options) (*prospect, error) {
	c, err := decode(m, o.Table)
	if err != nil {
		return nil, err
	}
	if err := c.mapIDs(o.Map); err != nil {
		return nil, err
	}
	o.settle()
	strange := c.foreign(&o.Caller.Creds)
	steps := c.plan(kind.Host{Caller: o.Caller, Kernel: o.Kernel, Here: o.Here, NoTerminal: strange, Executed: o.executes(), NoMapFiles: !o.mapFiles()})
	if err := c.checkFlow(steps); err != nil {
		return nil, err
	}
	p := &prospect{content: c, steps: steps, route: o.Route, caller: &o.Caller, inside: o.Inside, strange: strange}
	c.lowly = o.lowly()
	if err := p.lookAs(&o.Caller); err != nil {
		return nil, err
	}
	p.decision = o.judge(p.wants(o))
	if o.Elevated {
		p.belowCeiling()
	}
	return p, nil
}

// refusal is why the tree can't be built; nil if nothing is known.
func (p *prospect) refusal() error {
	if err := firstOf(p.lost(), refusal(p.decision), nil); err != nil {
		return err
	}
	return firstOf(nil, nil, p.preflight())
}

func firstOf(lost []error, refusal error, host []error) error {
	switch {
	case len(lost) > 0:
		return errors.Join(lost[:min(len(lost), maxLost)]...)
	case refusal != nil:
		return refusal
	case len(host) > 0:
		return host[0]
	}
	return nil
}

// maxLost is how many of the things that would be lost an error names.
const maxLost = 10

// lost lists what would be lost: a step that has needs and no operations says
// that something can't be given back.
func (p *prospect) lost() []error {
	var out []error
	for i := range p.steps {
		if st := &p.steps[i]; len(st.Ops) == 0 && len(st.Needs) > 0 {
			out = append(out, st.failed(errors.New(st.Needs[0].Why)))
		}
	}
	if p.route.renumbers() {
		out = append(out, p.differing()...)
	}
	return out
}
