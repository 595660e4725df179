package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

// entry is a line of the log: who restored what, by whose word and grant, and
// what became of it. Every string of it may hold what an image says.
type entry struct {
	Time   string   `json:"time"`
	Result string   `json:"result"` // granted, refused, unprivileged, unprivileged
	Caller uint32   `json:"caller"`
	Image  string   `json:"image"` // digest of the manifest
	Signer string   `json:"signer,omitempty"`
	Class  string   `json:"class,omitempty"`
	Key    string   `json:"key,omitempty"`
	Map    []string `json:"map,omitempty"`   // as the caller wrote it
	Needs  []string `json:"needs,omitempty"` // beyond the caller's own rights
	By     []string `json:"by,omitempty"`    // who granted them
	Why    string   `json:"why,omitempty"`   // refused
}

// maxNeeds is how many needs, and how much of a map, a line names.
const maxNeeds = 64

func (o *options) entry(v verify.Verdict, d policy.Decision) entry {
	e := entry{Time: time.Now().UTC().Format(time.RFC3339), Result: "granted", Caller: o.who.caller.UID.Real,
		Image: fmt.Sprintf("sha256:%x", v.Manifest)}
	if v.Signed {
		e.Signer, e.Class, e.Key = cli.Printable(v.Signer), v.Class.String(), v.Key
	}
	for _, m := range o.maps.uids {
		e.Map = addOnce(e.Map, "uid "+m)
	}
	for _, m := range o.maps.gids {
		e.Map = addOnce(e.Map, "gid "+m)
	}
	for _, w := range d.Wants {
		if w.Own {
			continue
		}
		e.Needs = addOnce(e.Needs, w.Need.Demand)
		if w.Granted {
			e.By = addOnce(e.By, w.By)
		}
	}
	return e
}

func addOnce(list []string, s string) []string {
	if s = cli.Printable(s); s == "" || len(list) >= maxNeeds || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// line is the entry as JSON, in ASCII.
func (e entry) line() (string, error) {
	b, err := json.Marshal(e)
	return string(asciiJSON(b)), err
}

// granted writes down, before anything is created, that a tree gets more than
// its caller has. It must succeed.
func (o *options) granted(v verify.Verdict, d policy.Decision) error {
	line, err := o.entry(v, d).line()
	if err != nil {
		return err
	}
	host.Syslog("rstr", line, false) // who does not listen is not told
	return host.Audit(host.AuditLog, line)
}

// refused writes down that an image asked for what nobody granted. Without the
// right to the log, syslog alone is told.
func (o *options) refused(v verify.Verdict, e *restore.NeedsError) {
	n := o.entry(v, policy.Decision{Wants: e.Wants})
	n.Result = "refused"
	for _, w := range e.Wants {
		n.Why = cli.Printable(w.Nearest)
	}
	o.log(n)
}

// unprivileged writes down that rstr goes on without what it was lent, or what
// root has, since no signature of the image could call for it. Afterwards it
// could not write to the log any more.
func (o *options) unprivileged(image verify.Digest) {
	n := o.entry(verify.Verdict{Manifest: image}, policy.Decision{})
	n.Result, n.Why = "unprivileged", "no signature by a key that could grant anything"
	o.log(n)
}

// log writes a refusal down, unless its caller has had too many of them.
func (o *options) log(n entry) {
	line, err := n.line()
	if err != nil {
		return
	}
	host.Syslog("rstr", line, true)
	if o.who.gone || !o.who.suid && !o.kept() {
		return
	}
	o.who.asRoot(func() error {
		count, err := host.CountRefusal(host.RefusalDir, n.Caller, time.Now())
		switch {
		case err != nil || count > host.MaxRefusals:
			return err
		case count == host.MaxRefusals:
			n.Why = "and more refusals of this caller, which are not written down for a minute"
			line, _ = n.line()
		}
		return host.Audit(host.AuditLog, line)
	})
}

// kept says whether root keeps a log of refusals to itself: it does where the
// administrator has set something up.
func (o *options) kept() bool {
	_, err := os.Stat(host.Settings)
	return o.who.root && err == nil
}
