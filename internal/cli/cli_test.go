package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

func TestManualHasEveryCode(t *testing.T) {
	b, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []CodeText
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`).FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.Atoi(m[1])
		said = append(said, CodeText{n, m[2]})
	}
	if fmt.Sprint(said) != fmt.Sprint(Codes()) {
		t.Errorf("docs/exit-codes.md says\n%v\nand the program\n%v", said, Codes())
	}
}

func TestExitCode(t *testing.T) {
	own := errors.New("own")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, OK},
		{errors.New("disk full"), Failure},
		{WithHint(Misuse("no"), "yes"), Usage},
		{fmt.Errorf("opening: %w", unix.ESRCH), NoProcess},
		{os.ErrPermission, NotAllowed},
		{fmt.Errorf("x: %w", image.ErrDigest), BadImage},
		{fmt.Errorf("x: %w", verify.ErrUnsigned), BadSign},
		{fmt.Errorf("x: %w", own), HostDiffers},
		// A code that an error carries goes before what it wraps.
		{Fail(Refused, "x: %w", unix.EPERM), Refused},
		{errors.Join(errors.New("a"), Fail(Unsupported, "b")), Unsupported},
	} {
		if got := ExitCode(c.err, Is(own, HostDiffers)); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorIsSaid(t *testing.T) {
	var to, log strings.Builder
	s := Speaker{Program: "ckpt", To: &to, Log: &log}
	s.Error(fmt.Errorf("out: %w", errors.Join(WithHint(errors.New("one"), "do this"), WithHint(errors.New("two"), "do that"))))
	s.Detail("nobody asked")
	want := "ckpt: out: one\nckpt: two\nckpt: hint: do this\nckpt: hint: do that\n"
	if to.String() != want {
		t.Errorf("got %q", to.String())
	}
	if n := strings.Count(log.String(), "\n"); n != 5 || !strings.HasSuffix(log.String(), "Z ckpt: nobody asked\n") {
		t.Errorf("log %q", log.String())
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, née 世界":     "plain, née 世界",
		"a\x1b[31mb":        `a\x1b[31mb`,
		"c1 \u009b31m":      `c1 \u009b31m`,
		"\xff\x9b":          `\xff\x9b`,
		"bidi \u202e":       `bidi \u202e`,
		"\r\a":              `\r\a`,
		"a \"quoted\" word": `a "quoted" word`,
		"\ufffd":            "\ufffd",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestUnits(t *testing.T) {
	for got, want := range map[string]string{
		Bytes(1023): "1023 B", Bytes(1024): "1.0 KiB", Bytes(1 << 63): "8.0 EiB", Rate(3<<20, 2*time.Second): "1.5 MiB/s",
		Count(1, "process"): "1 process", Count(2, "process"): "2 processes", Count(0, "thread"): "0 threads",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	done := uint64(0)
	p := &Progress{name: "ckpt"}
	if p.line() != "" {
		t.Error("progress of nothing")
	}
	p.Watch("copied", 4<<20, func() uint64 { return done })
	if line := p.line(); line != "" {
		t.Errorf("too early: %q", line)
	}
	p.begin = p.begin.Add(-2 * time.Second)
	done = 1 << 20
	if line := p.line(); line != "ckpt: copied 1.0 MiB of 4.0 MiB (25 %), 512.0 KiB/s" {
		t.Errorf("%q", line)
	}
	done = 4 << 20
	if line := p.line(); line != "ckpt: copied 4.0 MiB, finishing" {
		t.Errorf("%q", line)
	}
	done = 1 << 20
	p.Watch("read", 0, func() uint64 { return done })
	p.begin = p.begin.Add(-2 * time.Second)
	if line := p.line(); line != "ckpt: read 1.0 MiB, 512.0 KiB/s" {
		t.Errorf("%q", line)
	}
}

// Nothing but a terminal gets progress.
func TestProgressOnPipe(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := NewProgress(f, "ckpt")
	p.Watch("copied", 1, func() uint64 { return 1 })
	p.Stop()
	p.Stop()
	if p != nil {
		t.Error("progress on a file")
	}
}

func TestUsages(t *testing.T) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.String("verify", "", "insist; with a `FILE`, on that")
	f.Lookup("verify").NoOptDefVal = "\x00"
	f.String("plain", "mine", "a `NAME`")
	f.Bool("quiet", false, "say nothing")
	const want = "      --plain NAME      a NAME (default \"mine\")\n      --quiet           say nothing\n      --verify[=FILE]   insist; with a FILE, on that\n"
	if got := Usages(f); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
