package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/ckptool/ckpt/internal/cli"
)

// json prints the report for scripts, in ASCII: what a terminal might take
// for a command is escaped, as is all else.
func (r *report) json(to io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, c := range string(b) {
		switch {
		case c < 0x7f:
			out.WriteByte(byte(c))
		case c > 0xffff:
			hi, lo := utf16.EncodeRune(c)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, c)
		}
	}
	out.WriteByte('\n')
	_, err = to.Write(out.Bytes())
	return err
}

// text prints the report for people. Strings of the image are quoted.
func (r *report) text(to io.Writer) error {
	var b strings.Builder
	if r.Refused != "" {
		fmt.Fprintf(&b, "BAD IMAGE  %s\n", cli.Printable(r.Refused))
	}
	r.signer(&b)
	fmt.Fprintf(&b, "manifest   %s\n", r.Manifest)
	r.quote(&b)
	r.origin(&b)
	c := &r.Content
	fmt.Fprintf(&b, "content    %s, %s, %s; %s of data in %s of image, %s\n", cli.Count(len(r.Processes), "process"),
		cli.Count(c.Threads, "thread"), cli.Count(c.Records, "record"), cli.Bytes(c.Raw), cli.Bytes(uint64(r.Size)), c.reading())
	if len(c.Files) > 0 {
		fmt.Fprintf(&b, "files      %s\n", counts(c.Files, "open file"))
	}
	if len(c.Mapped) > 0 {
		fmt.Fprintf(&b, "mapped     %s\n", counts(c.Mapped, "file"))
	}
	for i := range r.Processes {
		r.Processes[i].text(&b)
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// reading says whether the data was looked at, which takes the time that
// reading the image takes: who sees a trusted signature must not take it for
// that.
func (c *contentInfo) reading() string {
	if c.Read {
		return "read and right"
	}
	return "not read (--data reads it)"
}

func (r *report) signer(b *strings.Builder) {
	s := &r.Signature
	switch {
	case !s.Signed && r.Refused != "":
		fmt.Fprintf(b, "signed     not by anybody that could be made out; it says by %+q\n", s.Signer)
	case !s.Signed:
		fmt.Fprintf(b, "signed     no\n")
	case s.Trusted:
		fmt.Fprintf(b, "signed     by %+q, as %s, with %s %s\n", s.Signer, s.Class, s.Algorithm, s.Key)
		fmt.Fprintf(b, "trusted    yes, by %+q\n", s.TrustedBy)
	default:
		claim := ""
		if s.Signer != "" {
			claim = fmt.Sprintf("it says by %+q, ", s.Signer)
		}
		fmt.Fprintf(b, "signed     %sas %s, with %s %s\ntrusted    no\n", claim, s.Class, s.Algorithm, s.Key)
	}
	if s.CA != "" {
		fmt.Fprintf(b, "           certified by %s\n", s.CA)
	}
	for _, why := range s.Reasons {
		fmt.Fprintf(b, "           %s\n", cli.Printable(why))
	}
	for _, o := range r.Others {
		trusted := "not trusted here"
		if o.Trusted {
			trusted = fmt.Sprintf("trusted as %+q", o.Signer)
		}
		fmt.Fprintf(b, "signed     also as %s, with %s %s, %s\n", o.Class, o.Algorithm, o.Key, trusted)
	}
}

func (r *report) quote(b *strings.Builder) {
	q := r.Quote
	if q == nil {
		return
	}
	fmt.Fprintf(b, "attested   by TPM key %s, PCRs %s have digest %s\n", q.Key, q.PCRs, q.Digest)
	switch {
	case q.Machine != "":
		fmt.Fprintf(b, "           which is %+q\n", q.Machine)
	case q.Reason != "":
		fmt.Fprintf(b, "           not believed: %s\n", cli.Printable(q.Reason))
	default:
		fmt.Fprintf(b, "           of a machine that no list here enrolls\n")
	}
}

func (r *report) origin(b *strings.Builder) {
	m := &r.Made
	fmt.Fprintf(b, "made       %s by uid %d, on host %+q, kernel %+q, %+q\n", m.At, m.UID, m.Host, m.Kernel, m.Arch)
	if m.NotAfter != "" {
		fmt.Fprintf(b, "expires    %s\n", m.NotAfter)
	}
	if m.For != "" {
		fmt.Fprintf(b, "for        host %+q\n", m.For)
	}
	if m.Once {
		fmt.Fprintf(b, "once       to be restored once on a host\n")
	}
	rule := ""
	if m.NoRollback {
		rule = ", never after a later one"
	}
	fmt.Fprintf(b, "lineage    %s, serial %d%s\n", m.Lineage, m.Serial, rule)
	if m.Parent != "" {
		fmt.Fprintf(b, "parent     %s\n", m.Parent)
	}
}

// text is one line, indented by the depth of the process in the tree.
func (p *processInfo) text(b *strings.Builder) {
	fmt.Fprintf(b, "process    %s%d %+q", strings.Repeat("  ", min(p.depth, 32)), p.PID, p.Name)
	if p.State != "running" {
		fmt.Fprintf(b, ", %s", p.State)
	}
	if len(p.Threads) > 0 {
		fmt.Fprintf(b, ", %s, %s of %s mapped", cli.Count(len(p.Threads), "thread"), cli.Bytes(p.Saved), cli.Bytes(p.Mapped))
	}
	if len(p.Files) > 0 {
		fmt.Fprintf(b, ", %s", counts(p.Files, "descriptor"))
	}
	b.WriteByte('\n')
}

// counts says how many of what there are, and of which kinds.
func counts(m map[string]int, what string) string {
	var kinds []string
	all := 0
	for _, name := range slices.Sorted(maps.Keys(m)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", cli.Printable(name), m[name]))
		all += m[name]
	}
	return fmt.Sprintf("%s (%s)", cli.Count(all, what), strings.Join(kinds, ", "))
}
