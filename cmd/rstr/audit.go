package main

import (
	"encoding/json"
	"errors"
	"fmt"
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
	Result string   `json:"result"` // granted, refused, unprivileged
	Caller uint32   `json:"caller"`
	Image  string   `json:"image,omitempty"` // digest of the manifest
	File   string   `json:"file,omitempty"`  // where there is no manifest to speak of
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
	e := entry{Time: time.Now().UTC().Format(time.RFC3339), Result: "granted", Caller: o.who.caller.UID.Real}
	if v.Manifest != (verify.Digest{}) {
		e.Image = fmt.Sprintf("sha256:%x", v.Manifest)
	} else {
		e.File = cli.Printable(o.input)
	}
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
	return cli.ASCII(b), err
}

// keepsLog says whether this rstr can write to root's log. Where it can't,
// since it was lent the right to PIDs and nothing else, syslog alone is told.
func (o *options) keepsLog() bool { return (o.who.root || o.who.suid) && !o.who.gone }

// beyond says whether a tree gets what its caller has not by herself; in a user
// namespace of her own nothing is.
func (o *options) beyond(d policy.Decision) bool {
	return !o.who.settled && slices.ContainsFunc(d.Wants, func(w policy.Judged) bool { return !w.Own })
}

// granted writes down, before anything is created, that a tree gets more than
// its caller has. It must succeed.
func (o *options) granted(v verify.Verdict, d policy.Decision) error {
	line, err := o.entry(v, d).line()
	if err != nil {
		return err
	}
	host.Syslog("rstr", line, false) // who does not listen is not told
	if !o.keepsLog() {
		return nil
	}
	return host.Audit(host.AuditLog, line)
}

// refused writes down that an image was not accepted, or asked for what nobody
// granted. img is nil where nobody knows which one it was.
func (o *options) refused(img *verify.Image, err error) {
	if o.plan || !isRefusal(exitCode(err)) {
		return
	}
	var v verify.Verdict
	if img != nil {
		v = img.Verdict()
	}
	var needs *restore.NeedsError
	var d policy.Decision
	why := err.Error()
	if errors.As(err, &needs) {
		d.Wants = needs.Wants
		why = needs.Wants[len(needs.Wants)-1].Nearest
	}
	n := o.entry(v, d)
	n.Result, n.Why = "refused", shortened(cli.Printable(why), maxWhy)
	o.log(n)
}

// maxWhy is how much of a reason a line has.
const maxWhy = 500

// isRefusal tells what rstr will not do from what it can't.
func isRefusal(code int) bool {
	switch code {
	case cli.BadSign, cli.Refused, cli.Expired, cli.WrongClock, cli.WrongHost, cli.Consumed, cli.RolledBack, cli.WrongImage, cli.NotAttested:
		return true
	}
	return false
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
	if !o.keepsLog() {
		return
	}
	o.who.asRoot(func() error {
		return host.AuditRefusal(n.Caller, line, func(why string) string {
			n.Why = why
			line, _ := n.line()
			return line
		})
	})
}
