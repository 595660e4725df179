package kinds

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

type socketRecord struct {
	Sort     socketSort  `cbor:"1,keyasint"`
	NonBlock bool        `cbor:"2,keyasint,omitempty"`
	Options  sockOptions `cbor:"3,keyasint"`
	Local    sockAddr    `cbor:"4,keyasint"`
	UID      credmap.UID `cbor:"5,keyasint"` // of the socket's inode
	GID      credmap.GID `cbor:"6,keyasint"`
}

// Socket claims sockets that are neither connected nor listening: fresh ones,
// and Internet sockets that are bound.
func Socket() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, socketRecord]{
		Name:   "socket",
		At:     plan.OpenFile,
		Claims: true,
		Match:  isSocket(socketPlain),
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (socketRecord, error) {
			r, err := dumpSocket(f)
			if err != nil {
				return r, err
			}
			return r, refusePlain(f, r)
		},
		Check: socketRecord.check,
		Plan: func(r socketRecord, h *kind.Host) []plan.Step {
			steps := r.plan(h)
			if r.Local.bound() {
				steps = append(steps, r.bind(h))
			}
			return steps
		},
	})
}

// dumpSocket records what all sockets have.
func dumpSocket(f *kind.FileSite) (r socketRecord, err error) {
	if err := onlyFlags(f, socketFlags); err != nil {
		return r, err
	}
	r = socketRecord{NonBlock: nonBlock(f), UID: f.Stat.UID, GID: f.Stat.GID}
	if r.Sort, err = sortOf(f); err != nil {
		return r, err
	}
	if r.Options, err = dumpOptions(f, r.Sort.Domain, r.Sort.Type, r.Sort.Proto); err != nil {
		return r, err
	}
	r.Local, err = addressOf(f, unix.SYS_GETSOCKNAME)
	return r, err
}

func refusePlain(f *kind.FileSite, r socketRecord) error {
	switch {
	case r.Sort.Domain == unix.AF_UNIX && r.Local.bound():
		return kind.Unsupportedf("a unix socket bound to %v that does not listen", r.Local)
	case r.Sort.isUDP() && gone(f, unix.POLLERR):
		return kind.Unsupportedf("a UDP socket at %v with an error that is not read yet", r.Local)
	case r.Sort.isUDP():
		revents, err := poll(f.Do, self(f), unix.POLLIN)
		if err != nil || revents&unix.POLLIN != 0 {
			return kind.Unsupportedf("a UDP socket at %v with messages that are not read yet", r.Local)
		}
	}
	return nil
}

func (r socketRecord) check() error {
	if !r.Sort.isTCP() && !r.Sort.isUDP() && !r.Sort.isUnix() {
		return fmt.Errorf("a socket of family %d, type %d, protocol %d", r.Sort.Domain, r.Sort.Type, r.Sort.Proto)
	}
	if ip := len(r.Local.IP); r.Local.bound() && (ip == 4) != (r.Sort.Domain == unix.AF_INET) ||
		r.Local.bound() && (ip == 16) != (r.Sort.Domain == unix.AF_INET6) {
		return errors.New("an address of another family")
	}
	if err := r.Local.check(); err != nil {
		return err
	}
	return r.Options.check()
}

// plan makes the socket, without its address.
func (r socketRecord) plan(h *kind.Host) []plan.Step {
	return append([]plan.Step{makeSocket(r.Sort, r.NonBlock, r.Options, h)},
		ownership(h.Self, owner{0o777, r.UID, r.GID}, bornAs(h, 0o777))...)
}

// bind gives an Internet socket its address. While nothing else holds the
// port, remains of old connections must not either: SO_REUSEADDR is lent.
func (r socketRecord) bind(h *kind.Host) plan.Step {
	s := plan.Step{Stage: plan.Create, Text: fmt.Sprintf("bind it to %v", r.Local)}
	if r.Local.Port < 1024 {
		s.Needs = []plan.Need{{Demand: "cap:net_bind_service", Why: fmt.Sprintf("port %d is reserved", r.Local.Port)}}
	}
	fd := plan.FD(h.Self)
	if !r.Sort.isTCP() || r.Options.has(unix.SOL_SOCKET, unix.SO_REUSEADDR) {
		s.Ops = []plan.Op{bind(fd, r.Local)}
		return s
	}
	s.Ops = []plan.Op{reuse(fd, 1), bind(fd, r.Local), reuse(fd, 0)}
	return s
}

func reuse(fd plan.Arg, on byte) plan.Call {
	return plan.Call{Nr: unix.SYS_SETSOCKOPT, Args: []plan.Arg{fd, plan.Int(unix.SOL_SOCKET), plan.Int(unix.SO_REUSEADDR),
		plan.Buf([]byte{on, 0, 0, 0}), plan.Int(4)}, Ret: plan.Exactly(0)}
}

func (o sockOptions) has(level, name int32) bool {
	for _, i := range o.Ints {
		if i.Level == level && i.Name == name {
			return true
		}
	}
	return false
}
