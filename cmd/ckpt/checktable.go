package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
)

// hostReport is what "ckpt check" says. The names of its fields in JSON, and
// those of rights and features, are a promise to scripts.
type hostReport struct {
	UID          uint32       `json:"uid"`
	Capabilities []string     `json:"capabilities"` // those at work
	Kernel       string       `json:"kernel"`
	Yama         int          `json:"yama"` // kernel.yama.ptrace_scope
	Rights       []host.Right `json:"rights"`
	Features     []hasFeature `json:"features"`
}

type hasFeature struct {
	Name   string      `json:"name"`
	Answer host.Answer `json:"answer"`
	Since  string      `json:"since"`  // the first kernel that had it
	Commit string      `json:"commit"` // upstream
	Use    string      `json:"use"`
	Why    string      `json:"why,omitempty"`
}

func tryHost(s *streams, asJSON bool) error {
	r, err := newHostReport()
	if err != nil {
		return err
	}
	if !asJSON {
		return written(r.text(s.out))
	}
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	return written(e.Encode(r))
}

func newHostReport() (*hostReport, error) {
	own, err := kernelio.OwnCredentials()
	if err != nil {
		return nil, err
	}
	r := &hostReport{UID: own.UID.Effective, Capabilities: []string{}, Yama: host.Yama()}
	for _, c := range capabilities() {
		if own.Effective.Has(c.number) {
			r.Capabilities = append(r.Capabilities, c.name)
		}
	}
	if r.Kernel, err = host.Kernel(); err != nil {
		return nil, err
	}
	r.Rights = host.Rights(host.Beside("rstr"))
	for _, f := range host.Features() {
		h := hasFeature{Name: f.Name, Since: f.Since, Commit: f.Commit, Use: f.Use}
		if h.Answer, err = f.Probe(); err != nil && h.Answer != host.Yes {
			h.Why = err.Error()
		}
		r.Features = append(r.Features, h)
	}
	return r, nil
}

type capability struct {
	number int
	name   string
}

// capabilities are those that matter to ckpt and rstr (capabilities(7)).
func capabilities() []capability {
	return []capability{{capSysPtrace, "cap_sys_ptrace"}, {capSysAdmin, "cap_sys_admin"}, {capCheckpointRestore, "cap_checkpoint_restore"}}
}

func (r *hostReport) text(to io.Writer) error {
	lent := "none that matters here"
	if len(r.Capabilities) > 0 {
		lent = strings.Join(r.Capabilities, ", ")
	}
	fmt.Fprintf(to, "you        %s, capabilities: %s\nkernel     %s\n\nwhat you can do\n", userName(r.UID), lent, cli.Printable(r.Kernel))
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for i := range r.Rights {
		right := &r.Rights[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\n", right.Answer, right.Name, right.What)
		for _, more := range []string{reason(right), right.More} {
			if more != "" {
				fmt.Fprintf(w, "\t\t    %s\n", cli.Printable(more))
			}
		}
	}
	fmt.Fprintf(w, "\nwhat the kernel has\t\t\n")
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range r.Features {
		fmt.Fprintf(w, "  %s\t%s\tsince %s\t%s\t%s\n", f.Answer, f.Name, f.Since, f.Commit, f.Use)
	}
	return w.Flush()
}

func reason(r *host.Right) string {
	if r.Why == "" || r.Answer == host.Yes {
		return r.Why
	}
	return "because: " + r.Why
}
