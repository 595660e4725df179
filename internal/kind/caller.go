package kind

import (
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// UIDs are the four user ids of a thread (credentials(7)).
type UIDs struct {
	Real      credmap.UID `cbor:"1,keyasint"`
	Effective credmap.UID `cbor:"2,keyasint"`
	Saved     credmap.UID `cbor:"3,keyasint"`
	FS        credmap.UID `cbor:"4,keyasint"`
}

// GIDs are the four group ids of a thread.
type GIDs struct {
	Real      credmap.GID `cbor:"1,keyasint"`
	Effective credmap.GID `cbor:"2,keyasint"`
	Saved     credmap.GID `cbor:"3,keyasint"`
	FS        credmap.GID `cbor:"4,keyasint"`
}

// CapSets are the five capability sets of a thread (capabilities(7)).
type CapSets struct {
	Inheritable credmap.Caps `cbor:"1,keyasint,omitempty"`
	Permitted   credmap.Caps `cbor:"2,keyasint,omitempty"`
	Effective   credmap.Caps `cbor:"3,keyasint,omitempty"`
	Bounding    credmap.Caps `cbor:"4,keyasint,omitempty"`
	Ambient     credmap.Caps `cbor:"5,keyasint,omitempty"`
}

// Creds is all that decides what a thread may do, as far as the kernel says it.
type Creds struct {
	UID        UIDs          `cbor:"1,keyasint"`
	GID        GIDs          `cbor:"2,keyasint"`
	Groups     []credmap.GID `cbor:"3,keyasint,omitempty"` // supplementary, ascending
	Caps       CapSets       `cbor:"4,keyasint"`
	Securebits uint32        `cbor:"5,keyasint,omitempty"` // PR_GET_SECUREBITS
	NoNewPrivs bool          `cbor:"6,keyasint,omitempty"`
}

// Wears is the record of a thread that says whose it is.
type Wears interface{ Wears() Creds }

// Equal says whether two threads may do exactly the same.
func (c Creds) Equal(d Creds) bool {
	return c.UID == d.UID && c.GID == d.GID && slices.Equal(c.Groups, d.Groups) &&
		c.Caps == d.Caps && c.Securebits == d.Securebits && c.NoNewPrivs == d.NoNewPrivs
}

// CredsOf takes what /proc/PID/task/TID/status says of credentials. It does
// not show the securebits.
func CredsOf(s *abi.Status) Creds {
	c := Creds{
		UID: UIDs{credmap.UID(s.UID.Real), credmap.UID(s.UID.Effective), credmap.UID(s.UID.Saved), credmap.UID(s.UID.FS)},
		GID: GIDs{credmap.GID(s.GID.Real), credmap.GID(s.GID.Effective), credmap.GID(s.GID.Saved), credmap.GID(s.GID.FS)},
		Caps: CapSets{credmap.Caps(s.CapInh), credmap.Caps(s.CapPrm), credmap.Caps(s.CapEff),
			credmap.Caps(s.CapBnd), credmap.Caps(s.CapAmb)},
		NoNewPrivs: s.NoNewPrivs,
	}
	for _, g := range s.Groups {
		c.Groups = append(c.Groups, credmap.GID(g))
	}
	slices.Sort(c.Groups)
	return c
}

// Caller is who runs rstr, without what the binary itself was lent: needs are
// judged against it. Born is what a task that rstr has just made is like;
// kinds leave out the calls that would change nothing about it.
type Caller struct {
	Creds
	Limits abi.Limits // prlimit64(2), indexed by unix.RLIMIT_*
	Born   Born
}

// Born is the state of a fresh task of the tree, inherited from rstr.
type Born struct {
	Creds
	Limits  abi.Limits
	Ignored abi.SigSet // signals whose action is SIG_IGN; all others are SIG_DFL
	Nice    int32      // getpriority(2)
	OOMAdj  int32      // /proc/self/oom_score_adj
	IOPrio  uint16     // ioprio_get(2)
	CPUs    []byte     // sched_getaffinity(2): bit n of byte n/8 is CPU n
	Label   string     // /proc/self/attr/current; empty without a security module
}
