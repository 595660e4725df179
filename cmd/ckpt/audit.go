package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/dump"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/image"
)

// entry is a line of root's log: who had what dumped that she may not trace, by
// whose grant. Its keys are those of the lines of rstr.
type entry struct {
	Time    string `json:"time"`
	Result  string `json:"result"` // dumped, refused
	Caller  uint32 `json:"caller"`
	PID     int    `json:"pid"`
	User    uint32 `json:"user"` // the process's
	Program string `json:"program"`
	Image   string `json:"image"` // its id: there is no digest yet
	By      string `json:"by,omitempty"`
	Why     string `json:"why,omitempty"`
}

func entryOf(who *standing, all []dump.Target, h image.Header) entry {
	return entry{Time: time.Now().UTC().Format(time.RFC3339), Caller: who.caller.UID.Real, PID: all[0].PID, User: all[0].UID.Real,
		Program: cli.Printable(all[0].Program), Image: fmt.Sprintf("%x", h.ID)}
}

// dumped writes down, before anything is read, what is about to be dumped. It
// must succeed.
func dumped(who *standing, all []dump.Target, h image.Header, by string) error {
	e := entryOf(who, all, h)
	e.Result, e.By = "dumped", cli.Printable(by)
	line := e.line()
	host.Syslog("ckpt", line, false) // who does not listen is not told
	return host.Audit(host.AuditLog, line)
}

// refuse writes a refusal down, unless its caller has had too many of them.
func (e entry) refuse() {
	line := e.line()
	host.Syslog("ckpt", line, true)
	host.AuditRefusal(e.Caller, line, func(why string) string {
		e.Why = why
		return e.line()
	})
}

// line is the entry as JSON. Nothing in it can fail to become that.
func (e entry) line() string {
	b, _ := json.Marshal(e)
	return cli.ASCII(b)
}
