package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Policy is what the administrator allows. The nil Policy is that of a host
// that has none.
type Policy struct {
	Restore []*Rule     `toml:"restore"`
	Dump    []*DumpRule `toml:"dump"`
	Version int         `toml:"version"`
}

// Rule says what a restore may have, and when. All conditions must hold; a
// rule grants all that a restore wants or nothing.
type Rule struct {
	Name string `toml:"name"`

	// Who vouches.
	Signers []pattern `toml:"signers"` // principals
	Classes []class   `toml:"classes"` // operator, host
	Keys    []pattern `toml:"keys"`    // signature algorithms; none: any
	// Who asks. A caller is one of these users, or a member of one of these groups now.
	Users  []who `toml:"users"`
	Groups []who `toml:"groups"`
	// What it is that is restored.
	Hosts    []string `toml:"hosts"` // machine ids of the dump, "here", "any"; none: here
	Attested bool     `toml:"attested"`
	MaxAge   wait     `toml:"max-age"`
	Replay   bool     `toml:"replay"` // also images that can be restored more than once
	Programs []tree   `toml:"programs"`
	Inputs   []tree   `toml:"inputs"` // files that must hold what they did at the dump

	Grant Grant `toml:"grant"`
}

// Grant is the authority that a Rule gives.
type Grant struct {
	UIDs        []binding    `toml:"uids"`
	GIDs        []binding    `toml:"gids"`
	Groups      []binding    `toml:"groups"`       // to be a member of
	LeaveGroups []who        `toml:"leave-groups"` // not to be a member of, though the caller is
	Caps        []capability `toml:"caps"`
	Loosen      []word       `toml:"loosen"`
	Files       []files      `toml:"files"`
	PIDs        []pidMode    `toml:"pids"`
	Limits      []word       `toml:"limits"`
	RLimits     []word       `toml:"rlimits"`
	Namespaces  []word       `toml:"namespaces"`
	Also        []also       `toml:"also"`
}

// DumpRule says who may dump what is not hers, by an elevated ckpt.
type DumpRule struct {
	Name     string `toml:"name"`
	Users    []who  `toml:"users"`
	Groups   []who  `toml:"groups"`
	Of       []who  `toml:"of"` // users whose processes
	Programs []tree `toml:"programs"`
	Inputs   []tree `toml:"inputs"` // what they had read, and would read again
}

// files are a tree of files and a mode.
type files struct {
	Tree tree     `toml:"tree"`
	Mode fileMode `toml:"mode"`
}

// version of the policy's language.
const version = 1

// maxInputs is how many inputs an image can name.
const maxInputs = 32

// Parse reads a policy. A key that it does not know is an error, and so is a
// value that means nothing; errors name the line.
func Parse(text []byte) (*Policy, error) {
	p := &Policy{}
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(p)
	if err != nil {
		return nil, inWords(err)
	}
	if p.Version != version {
		return nil, fmt.Errorf("version is %d; this program knows %d", p.Version, version)
	}
	return p, p.check()
}

// inWords says where an error is, without the text around it.
func inWords(err error) error {
	var unknown *toml.StrictMissingError
	var one *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		var all []error
		for _, e := range unknown.Errors {
			row, _ := e.Position()
			all = append(all, fmt.Errorf("line %d: unknown key %+q", row, strings.Join(e.Key(), ".")))
		}
		return errors.Join(all...)
	case errors.As(err, &one):
		row, _ := one.Position()
		if key := strings.Join(one.Key(), "."); key != "" {
			return fmt.Errorf("line %d: %s: %s", row, key, strings.TrimPrefix(one.Error(), "toml: "))
		}
		return fmt.Errorf("line %d: %s", row, strings.TrimPrefix(one.Error(), "toml: "))
	}
	return err
}

// check refuses rules that leave open what must be said.
func (p *Policy) check() error {
	var names []string
	for i, r := range p.Restore {
		if err := checkName(r.Name, &names); err != nil {
			return fmt.Errorf("restore rule %d: %w", i+1, err)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
	}
	for i, r := range p.Dump {
		if err := checkName(r.Name, &names); err != nil {
			return fmt.Errorf("dump rule %d: %w", i+1, err)
		}
		if slices.ContainsFunc(r.Of, who.all) {
			return fmt.Errorf("rule %s: of: * would be root's processes too; name the users", r.Name)
		}
		if len(r.Users)+len(r.Groups) == 0 || len(r.Of) == 0 {
			return fmt.Errorf("rule %s: it must say who (users or groups) may dump processes of whom (of)", r.Name)
		}
		if len(r.Inputs) > maxInputs {
			return fmt.Errorf("rule %s: %d inputs, at most %d", r.Name, len(r.Inputs), maxInputs)
		}
	}
	return nil
}

func checkName(name string, names *[]string) error {
	if !plainWord(name) {
		return fmt.Errorf("name %+q: letters, digits, - and _ make a name", name)
	}
	if slices.Contains(*names, name) {
		return fmt.Errorf("two rules have the name %s", name)
	}
	*names = append(*names, name)
	return nil
}

func (r *Rule) check() error {
	switch {
	case len(r.Signers) == 0:
		return errors.New("it must say whose signature counts (signers)")
	case len(r.Classes) == 0:
		return errors.New("it must say which classes of signatures count (classes)")
	case len(r.Users)+len(r.Groups) == 0:
		return errors.New(`it must say who may call (users or groups; "*" is everybody)`)
	case slices.Contains(r.Classes, class{hostClass}) && len(r.Programs) == 0:
		return errors.New("a host's signature does not vouch for what a program's memory holds: it must list programs that are safe to restore (programs)")
	case slices.ContainsFunc(r.Grant.PIDs, func(m pidMode) bool { return m.s == "none" }):
		return errors.New("renumbered PIDs never go with privileged state (pids)")
	}
	for _, h := range r.Hosts {
		if h == "" {
			return errors.New("an empty host (hosts)")
		}
	}
	return nil
}
