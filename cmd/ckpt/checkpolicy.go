package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/pkg/verify"
)

// systemPolicy stands for --policy without a file. No file has such a name.
const systemPolicy = "\x00"

// explainPolicy says what a policy allows and what in it one should think
// about. A file that is not the system's is explained whoever wrote it.
func explainPolicy(path string, s *streams) error {
	p, err := policyAt(path)
	if err != nil {
		return err
	}
	if p == nil {
		_, err := fmt.Fprintf(s.out, "there is no %s: nobody gets more than she has, but for root's own trust\n", host.SystemPolicy)
		return written(err)
	}
	var b strings.Builder
	for line := range strings.Lines(p.Explain()) {
		b.WriteString(cli.Printable(strings.TrimSuffix(line, "\n")) + "\n")
	}
	for _, f := range append(p.Lint(), unknown(p)...) {
		b.WriteString("warning: " + cli.Printable(f.String()) + "\n")
	}
	_, err = s.out.WriteString(b.String())
	return written(err)
}

func policyAt(path string) (*policy.Policy, error) {
	if path == systemPolicy {
		p, err := host.ReadPolicy(host.SystemPolicy)
		if err == nil && p == nil && unreadable(host.SystemPolicy) {
			err = cli.Fail(cli.NotAllowed, "%s: you may not read it", host.SystemPolicy)
		}
		return p, err
	}
	f, err := host.TrustFile(path, verify.Extra)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, fmt.Errorf("policy %s: %w", path, fs.ErrNotExist)
	}
	p, err := policy.Parse(f.Bytes)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", path, err)
	}
	return p, nil
}

func unreadable(path string) bool {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, fs.ErrPermission)
}

// unknown finds names of users and groups, and programs, that this host does
// not have: a rule that names them grants less than it says.
func unknown(p *policy.Policy) []policy.Finding {
	people := &host.People{}
	var out []policy.Finding
	add := func(rule, format string, a ...any) {
		out = append(out, policy.Finding{Rule: rule, Text: fmt.Sprintf(format, a...)})
	}
	for _, n := range p.Named() {
		switch n.Sort {
		case policy.UserName:
			if _, ok := people.User(n.Name); !ok {
				add(n.Rule, "no user here is called %s", n.Name)
			}
		case policy.GroupName:
			if _, ok := people.Group(n.Name); !ok {
				add(n.Rule, "no group here is called %s", n.Name)
			}
		case policy.ProgramName:
			if st, err := os.Stat(n.Name); err != nil || !st.Mode().IsRegular() {
				add(n.Rule, "there is no program %s", n.Name)
			}
		}
	}
	return out
}
