package policy

import (
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
	// mapped to them; nil where the demand names none.
	UID, GID *Mapped
	// Own: a plain process of the caller has it already.
	Own bool
}

// Mapped is an id of the image and what the map made of it.
type Mapped struct{ From, To uint32 }

// Subject is who runs rstr: facts of this host, of now.
type Subject struct {
	UID, GID   uint32 // real
	Name       string // empty: the host knows no such user
	Groups     []uint32
	GroupNames []string
	// Locked: the account is disabled or unknown. What belongs to users is then
	// granted to nobody.
	Locked bool
}

// Request is all that a judgement depends on.
type Request struct {
	Verdict verify.Verdict
	// Host is the machine of the dump, DumpedBy who ran ckpt there, as the header
	// says; ThisHost is the machine of the restore.
	Host, ThisHost string
	DumpedBy       uint32
	// Attested: a quote vouches for the machine of the dump.
	Attested bool
	Caller   Subject
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
