package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/verify"
)

// SystemPolicy is the administrator's word on what a restore or a dump may
// have beyond its caller's own rights.
const SystemPolicy = "/etc/ckpt/policy.toml"

// ErrPolicy: a policy that can't be used, because somebody else than root could
// have written it, or because it makes no sense.
var ErrPolicy = errors.New("policy")

// ReadPolicy reads a policy; nil if there is none, or none that the caller may
// read, whom it could then grant nothing anyway. Nobody but root may be able to
// write it.
func ReadPolicy(path string) (*policy.Policy, error) {
	f, err := TrustFile(path, verify.System)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", ErrPolicy, path, err)
	case f == nil:
		return nil, nil
	case f.OwnerUID != 0 || f.Mode&0o022 != 0 || f.WritableByOthers:
		return nil, fmt.Errorf("%w %s: somebody else than root could have written it", ErrPolicy, path)
	}
	p, err := policy.Parse(f.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPolicy, path, err)
	}
	return p, nil
}

// People is this host's name service, for a policy. Each name is asked for
// once: a judgement must not change its mind.
type People struct {
	users, groups map[string]uint32 // none: nobody
	accounts      map[uint32]*policy.Subject
}

// none stands for nobody.
const none = 1<<32 - 1

// User is policy.Directory's.
func (p *People) User(name string) (uint32, bool) { return remembered(&p.users, name, UserID) }

// Group is policy.Directory's.
func (p *People) Group(name string) (uint32, bool) { return remembered(&p.groups, name, GroupID) }

func remembered(known *map[string]uint32, name string, ask func(string) (uint32, error)) (uint32, bool) {
	if *known == nil {
		*known = map[string]uint32{}
	}
	id, ok := (*known)[name]
	if !ok {
		var err error
		if id, err = ask(name); err != nil {
			id = none
		}
		(*known)[name] = id
	}
	return id, id != none
}

// Account is policy.Directory's.
func (p *People) Account(uid uint32) (policy.Subject, bool) {
	if s, ok := p.accounts[uid]; ok {
		return *s, s.Name != ""
	}
	s := &policy.Subject{UID: uid}
	if a, err := AccountOf(uid); err == nil {
		*s = policy.Subject{UID: uid, GID: a.GID, Name: a.Name, Groups: a.Groups, Locked: a.Locked}
	}
	if p.accounts == nil {
		p.accounts = map[uint32]*policy.Subject{}
	}
	p.accounts[uid] = s
	return *s, s.Name != ""
}

// Caller is a user who runs a program with these groups: of them only those
// count that the host would still give her today.
func (p *People) Caller(uid, gid uint32, groups []uint32) policy.Subject {
	s, ok := p.Account(uid)
	if !ok {
		return policy.Subject{UID: uid, GID: gid}
	}
	today := s.Groups
	s.GID, s.Groups = gid, nil
	for _, g := range append(slices.Clone(groups), gid) {
		if slices.Contains(today, g) && !slices.Contains(s.Groups, g) {
			s.Groups = append(s.Groups, g)
		}
	}
	return s
}
