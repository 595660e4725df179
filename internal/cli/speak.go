package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Speaker prints the messages of one program.
type Speaker struct {
	Program string
	To      io.Writer
	Verbose bool
}

// Error prints an error, each of its lines prefixed, and its hint.
func (s *Speaker) Error(err error) {
	for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(s.To, "%s: %s\n", s.Program, line)
	}
	var h *Hint
	if errors.As(err, &h) {
		fmt.Fprintf(s.To, "%s: hint: %s\n", s.Program, h.Text)
	}
}

// Say prints a message that the user always wants.
func (s *Speaker) Say(format string, a ...any) {
	fmt.Fprintf(s.To, "%s: %s\n", s.Program, fmt.Sprintf(format, a...))
}

// Detail prints a message that was asked for with -v.
func (s *Speaker) Detail(format string, a ...any) {
	if s.Verbose {
		s.Say(format, a...)
	}
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

// Bytes shows a size for people.
func Bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, prefix := float64(n)/unit, "KMGTPE"
	i := 0
	for v >= unit && i < len(prefix)-1 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, prefix[i])
}
