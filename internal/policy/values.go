package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/verify"
)

// The values of a policy. Each is a struct, and not a string, so that the
// reader gives its text to UnmarshalText and says the line of what that refuses.

// pattern is a text in which * stands for anything and ? for one character.
type pattern struct{ s string }

func (p *pattern) UnmarshalText(b []byte) error {
	p.s = string(b)
	if p.s == "" {
		return errors.New("an empty pattern")
	}
	return nil
}

func (p pattern) matches(s string) bool { return glob(p.s, s) }

func glob(p, s string) bool {
	for len(p) > 0 {
		switch {
		case p[0] == '*':
			for i := range len(s) + 1 {
				if glob(strings.TrimLeft(p, "*"), s[i:]) {
					return true
				}
			}
			return false
		case len(s) == 0 || p[0] != '?' && p[0] != s[0]:
			return false
		}
		p, s = p[1:], s[1:]
	}
	return s == ""
}

func anyMatches(ps []pattern, s string) bool {
	return slices.ContainsFunc(ps, func(p pattern) bool { return p.matches(s) })
}

// class is a class of signatures that can grant.
type class struct{ verify.Class }

const hostClass = verify.Host

func (c *class) UnmarshalText(b []byte) error {
	switch string(b) {
	case "operator":
		c.Class = verify.Operator
	case "host":
		c.Class = verify.Host
	default:
		return fmt.Errorf("class %+q: operator and host are classes that can grant", b)
	}
	return nil
}

// who is a user or a group: a name, an id, or * for all.
type who struct {
	id   uint32
	name string // empty: id counts
}

func (w who) String() string {
	if w.name != "" {
		return w.name
	}
	return strconv.FormatUint(uint64(w.id), 10)
}

func (w *who) UnmarshalText(b []byte) error {
	s := string(b)
	id, err := strconv.ParseUint(s, 10, 32)
	switch {
	case err == nil && strconv.FormatUint(id, 10) == s && id != 1<<32-1:
		*w = who{id: uint32(id)}
	case s != "" && !strings.ContainsAny(s, ": \t\n\x00") && strings.Trim(s, "0123456789") != "" && s[0] != '-':
		*w = who{name: s}
	default:
		return fmt.Errorf("%+q is no name and no id", s)
	}
	return nil
}

func (w who) all() bool { return w.name == "*" }

// is says whether this is the id; find knows names.
func (w who) is(id uint32, find func(string) (uint32, bool)) bool {
	if w.name == "" {
		return w.id == id
	}
	if find == nil {
		return false
	}
	n, ok := find(w.name)
	return ok && n == id
}

// binding leads from one id of an image to one of this host: "FROM -> TO". A
// single id is the same on both sides, and only for images of this host;
// "caller" is whoever calls, for images of this host that are hers there too.
type binding struct {
	from, to who
	here     bool // for images of this host only
	caller   bool
}

func (b binding) String() string {
	switch {
	case b.caller:
		return "caller"
	case b.here:
		return b.to.String()
	}
	return b.from.String() + " -> " + b.to.String()
}

func (b *binding) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "caller" {
		b.caller, b.here = true, true
		return nil
	}
	from, to, two := strings.Cut(s, "->")
	if !two {
		to, b.here = from, true
	}
	for side, w := range map[string]*who{from: &b.from, to: &b.to} {
		if err := w.UnmarshalText([]byte(strings.TrimSpace(side))); err != nil {
			return err
		}
		if w.all() {
			return errors.New("a binding is of one id to one id: * is none")
		}
	}
	if !two {
		b.from = b.to
	}
	return nil
}

// capability is one by its name in capabilities(7), in small letters, without CAP_.
type capability struct {
	bit  uint
	name string
}

func (c *capability) UnmarshalText(b []byte) error {
	bit, ok := credmap.CapNamed(string(b))
	if !ok {
		return fmt.Errorf("%+q is no capability; they are written like net_bind_service", b)
	}
	*c = capability{bit, string(b)}
	return nil
}

// word is the name of a thing that only its kind knows: a limit, a restriction.
type word struct{ s string }

func (w *word) UnmarshalText(b []byte) error {
	w.s = string(b)
	if !plainWord(w.s) {
		return fmt.Errorf("%+q is no word", b)
	}
	return nil
}

func plainWord(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// tree is an absolute path in its shortest form: a directory with all below
// it, or a file.
type tree struct{ path string }

func (t *tree) UnmarshalText(b []byte) error {
	t.path = string(b)
	if !path.IsAbs(t.path) || path.Clean(t.path) != t.path || strings.ContainsRune(t.path, 0) {
		return fmt.Errorf("%+q is no absolute path in its shortest form", b)
	}
	return nil
}

// holds says whether a path lies in the tree. It is one that the kernel showed,
// so it has no dots; one that has lies nowhere.
func (t tree) holds(p string) bool {
	if !path.IsAbs(p) || path.Clean(p) != p {
		return false
	}
	return p == t.path || t.path == "/" || strings.HasPrefix(p, t.path+"/")
}

// fileMode is r, w, rw, or x for the right to reach what is there only.
type fileMode struct{ s string }

func (m *fileMode) UnmarshalText(b []byte) error {
	if m.s = string(b); m.s != "r" && m.s != "w" && m.s != "rw" && m.s != "x" {
		return fmt.Errorf("mode %+q: it is r, w, rw or x", b)
	}
	return nil
}

// covers: who may read or write a file may reach it.
func (m fileMode) covers(wanted string) bool { return m.s == wanted || m.s == "rw" || wanted == "x" }

// pidMode is a way to the tree's PIDs.
type pidMode struct{ s string }

func (m *pidMode) UnmarshalText(b []byte) error {
	if m.s = string(b); m.s != "here" && m.s != "none" {
		return fmt.Errorf("pids %+q: only here takes authority", b)
	}
	return nil
}

// also is a demand that needs no more words.
type also struct{ s string }

// plainDemands are those of which a policy speaks by their name alone.
var plainDemands = [...]string{"sched", "oom", "label", "exe-link", "map-files", "seccomp-no-nnp", "uffd-kernel"}

func (a *also) UnmarshalText(b []byte) error {
	if a.s = string(b); !slices.Contains(plainDemands[:], a.s) {
		return fmt.Errorf("%+q: it can be one of %s", b, strings.Join(plainDemands[:], ", "))
	}
	return nil
}

// wait is a length of time: "36h".
type wait struct{ time.Duration }

func (w *wait) UnmarshalText(b []byte) (err error) {
	if w.Duration, err = time.ParseDuration(string(b)); err == nil && w.Duration <= 0 {
		err = fmt.Errorf("%s is no time", b)
	}
	return err
}
