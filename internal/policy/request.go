package policy

import (
	"slices"
	"time"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/verify"
)

// Want is an authority that the restore of an object needs beyond what a
// plain process of the caller has.
type Want struct {
	Object string
	Need   plan.Need
	// UID and GID are the ids of the demand with those that were recorded and
	// mapped to them; nil where the demand names none. For memory, UID is the
	// real user of the process.
	UID, GID *Mapped
	// Own: a plain process of the caller has it already.
	Own bool
}

// Mapped is an id of the image and what the map made of it.
type Mapped struct{ From, To uint32 }

// Subject is a user: facts of this host, of now.
type Subject struct {
	UID, GID uint32 // real
	Name     string // empty: the host knows no such user
	// Groups are those that the kernel knows her in and the database too: she
	// may have left one since she logged in.
	Groups     []uint32
	GroupNames []string
	// Locked: the account is disabled. It can be granted nothing, nor granted.
	Locked bool
}

// Input is a file that a program had read before it was dumped, and whether it
// holds what it did then.
type Input struct {
	Path string
	Same bool
}

// Directory knows the users and groups of this host, as they are now.
type Directory interface {
	User(name string) (uint32, bool)
	Group(name string) (uint32, bool)
	Account(uid uint32) (Subject, bool)
}

// RouteNone is the route on which the tree gets other PIDs than it had.
const RouteNone = "none"

// Request is all that a judgement depends on.
type Request struct {
	Verdict verify.Verdict
	// Host is the machine of the dump as the header names it; ThisHost that of the restore.
	Host, ThisHost string
	// Once: the image can be restored a single time.
	Once bool
	// Inputs are those that the image names.
	Inputs []Input
	// Attested: a quote vouches for the machine of the dump.
	Attested bool
	Caller   Subject
	Names    Directory // nil: nobody has a name
	// Held are the capabilities that rstr itself has to act with.
	Held credmap.Caps
	// RealRoot: real, effective and saved user are root, without the help of
	// the installed binary.
	RealRoot bool
	// FileCap: cap_checkpoint_restore is a file capability of the installed rstr.
	FileCap bool
	Route   string // to the tree's PIDs
	Now     time.Time
	Wants   []Want
}

// Judged is a want and what became of it.
type Judged struct {
	Want
	Granted bool
	By      string // who granted it: "rule desktops", "root's own trust"
	Nearest string // why nobody did
}

// Decision is the answer to a Request. OK: all wants are granted.
type Decision struct {
	Wants []Judged
	OK    bool
}

// Refused lists the wants that nobody granted.
func (d Decision) Refused() []Judged {
	var out []Judged
	for _, w := range d.Wants {
		if !w.Granted {
			out = append(out, w)
		}
	}
	return out
}

// Because gives every want that nobody granted the same reason.
func (d Decision) Because(why string) Decision {
	d.Wants = slices.Clone(d.Wants)
	for i := range d.Wants {
		if !d.Wants[i].Granted {
			d.Wants[i].Nearest = why
		}
	}
	return d
}

// here says whether the image is of this host. A host without a name is no
// other's, and not this one either.
func (r *Request) here() bool { return r.Host != "" && r.Host == r.ThisHost }

func (r *Request) user() func(string) (uint32, bool) {
	if r.Names == nil {
		return nil
	}
	return r.Names.User
}

func (r *Request) group() func(string) (uint32, bool) {
	if r.Names == nil {
		return nil
	}
	return r.Names.Group
}
