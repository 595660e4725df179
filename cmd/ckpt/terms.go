package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// termOptions say until when, where and how often an image may be restored.
// What they say is signed with the image.
type termOptions struct {
	notAfter, validFor string
	host               string
	once, noRollback   bool

	end time.Time // of notAfter or validFor; zero: none
}

// thisHost stands for --for without a host. No host has such a name.
const thisHost = "\x00"

func (o *termOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.notAfter, "not-after", "", "refuse to restore the image after `TIME`, as 2026-12-31, 2026-12-31T18:30 or with a zone, as in RFC 3339")
	f.StringVar(&o.validFor, "valid-for", "", "refuse to restore it later than `DURATION` from now, as 36h or 7d")
	f.StringVar(&o.host, "for", "", "refuse to restore it on any other host than `HOST`: a machine id, or a name in its /etc/ckpt/host; alone: this one")
	f.Lookup("for").NoOptDefVal = thisHost
	f.BoolVar(&o.once, "once", false, "refuse to restore it a second time on one host")
	f.BoolVar(&o.noRollback, "no-rollback", false, "refuse to restore it where a later image of its lineage was restored")
}

// check understands what was said, and finds this host's name if it is wanted.
func (o *termOptions) check(now time.Time) (err error) {
	switch {
	case o.notAfter != "" && o.validFor != "":
		return cli.Misuse("--not-after and --valid-for exclude each other")
	case o.notAfter != "":
		o.end, err = moment(o.notAfter)
	case o.validFor != "":
		var d time.Duration
		d, err = duration(o.validFor)
		o.end = now.Add(d)
	}
	if err != nil {
		return err
	}
	if !o.end.IsZero() && !o.end.After(now) {
		return cli.Misuse("--not-after=%s is past", o.notAfter)
	}
	if o.host == thisHost {
		o.host, err = ownName()
		return err
	}
	return checkHost(o.host)
}

// ownName is what others call this host by.
func ownName() (string, error) {
	names, err := host.Names()
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", cli.WithHint(fmt.Errorf("this host has no name: neither %s nor /etc/machine-id says one", host.NameFile),
			"echo NAME > %s", host.NameFile)
	}
	return names[0], nil
}

func checkHost(name string) error {
	bad := func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }
	if strings.ContainsFunc(name, bad) || len(name) > 255 {
		return cli.Misuse("--for=%q is not the name of a host", name)
	}
	return nil
}

// terms puts them into the header of an image.
func (o *termOptions) terms(h *image.Header) {
	if !o.end.IsZero() {
		h.NotAfter = o.end.Unix()
	}
	h.Audience = o.host
	for name, wanted := range map[string]bool{verify.OptionOnce: o.once, verify.OptionNoRollback: o.noRollback} {
		if wanted {
			setOption(h, name, "1")
		}
	}
}

func setOption(h *image.Header, name, value string) {
	if h.Options == nil {
		h.Options = map[string]string{}
	}
	h.Options[name] = value
}

// moment reads a time, in the local zone unless it names one. A day means all
// of it.
func moment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t.AddDate(0, 0, 1).Add(-time.Second), nil
	}
	return time.Time{}, cli.Misuse("%q is not a time, such as 2026-12-31 or 2026-12-31T18:30", text)
}

// duration reads what time.ParseDuration does, with days and weeks before it.
func duration(text string) (time.Duration, error) {
	bad := cli.Misuse("--valid-for=%q is not a duration, such as 90m, 36h, 7d or 2w", text)
	m := regexp.MustCompile(`^(?:(\d{1,5})w)?(?:(\d{1,6})d)?(.*)$`).FindStringSubmatch(text)
	const day = 24 * time.Hour
	sum := 0.0
	for i, unit := range []time.Duration{7 * day, day} {
		n, _ := strconv.Atoi(m[i+1])
		sum += float64(n) * float64(unit)
	}
	if m[3] != "" {
		d, err := time.ParseDuration(m[3])
		if err != nil || d < 0 {
			return 0, bad
		}
		sum += float64(d)
	}
	if sum < float64(time.Second) || sum > math.MaxInt64/2 {
		return 0, bad
	}
	return time.Duration(sum), nil
}
