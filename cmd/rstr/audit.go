package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/verify"
)

// entry is a line of the log: who restored what, by whose word and grant, and
// what became of it. Every string of it may hold what an image says.
type entry struct {
	Time   string   `json:"time"`
	Result string   `json:"result"` // granted, refused
	Caller uint32   `json:"caller"`
	Image  string   `json:"image"` // digest of the manifest
	Signer string   `json:"signer,omitempty"`
	Class  string   `json:"class,omitempty"`
	Key    string   `json:"key,omitempty"`
	Needs  []string `json:"needs,omitempty"` // beyond the caller's own rights
	By     []string `json:"by,omitempty"`    // who granted them
	Why    string   `json:"why,omitempty"`   // refused
}

// maxNeeds is how many needs a line names.
const maxNeeds = 64

func (o *options) entry(v verify.Verdict, d policy.Decision) entry {
	e := entry{Time: time.Now().UTC().Format(time.RFC3339), Result: "granted", Caller: o.who.caller.UID.Real,
		Image: fmt.Sprintf("sha256:%x", v.Manifest)}
	if v.Signed {
		e.Signer, e.Class, e.Key = cli.Printable(v.Signer), v.Class.String(), v.Key
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
