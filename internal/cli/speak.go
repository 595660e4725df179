package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Speaker prints the messages of one program. It is not for use by several
// goroutines at a time.
type Speaker struct {
	Program string
	To      io.Writer
	Verbose bool
	Log     io.Writer // gets every message with its time, details too; nil: nobody does
}

// Error prints an error, each of its lines prefixed, and its hints.
func (s *Speaker) Error(err error) {
	s.Say("%s", strings.TrimRight(err.Error(), "\n"))
	for _, h := range hints(err, nil) {
		s.Say("hint: %s", h)
	}
}

// Say prints a message that the user always wants.
func (s *Speaker) Say(format string, a ...any) { s.print(true, format, a...) }

// Detail prints a message that was asked for with -v.
func (s *Speaker) Detail(format string, a ...any) { s.print(s.Verbose, format, a...) }

func (s *Speaker) print(shown bool, format string, a ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, a...), "\n") {
		line = s.Program + ": " + Printable(line) + "\n"
		if shown {
			io.WriteString(s.To, line)
		}
		if s.Log != nil {
			io.WriteString(s.Log, time.Now().UTC().Format(time.RFC3339)+" "+line)
		}
	}
}

// Printable shows a string so that it cannot write to a terminal what its
// author pleases: escape sequences, line ends, text that runs backwards.
// Everything but graphic characters and blanks is escaped as in Go.
func Printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if (r != utf8.RuneError || n > 1) && unicode.IsPrint(r) {
			b.WriteString(s[:n])
		} else {
			b.WriteString(strings.Trim(strconv.QuoteToASCII(s[:n]), `"`))
		}
		s = s[n:]
	}
	return b.String()
}

// Hint is an error with advice on what to do next.
type Hint struct {
	Err  error
	Text string
}

func (h *Hint) Error() string { return h.Err.Error() }

func (h *Hint) Unwrap() error { return h.Err }

// WithHint attaches advice to an error.
func WithHint(err error, format string, a ...any) error {
	return &Hint{Err: err, Text: fmt.Sprintf(format, a...)}
}

// hints collects the advice in a tree of errors, the innermost first.
func hints(err error, out []string) []string {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			out = hints(inner, out)
		}
	case interface{ Unwrap() error }:
		out = hints(e.Unwrap(), out)
	}
	if h, ok := err.(*Hint); ok {
		out = append(out, h.Text)
	}
	return out
}
