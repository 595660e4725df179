package allowed

import (
	"fmt"
	"strings"
	"time"
)

// endOfOptions is where the options at the start of line end: at the first blank
// outside quotes.
func endOfOptions(line string) (int, error) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case strings.HasPrefix(line[i:], `\"`):
			i++
		case line[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(blank, line[i]) >= 0:
			return i, nil
		}
	}
	if quoted {
		return 0, fmt.Errorf("options: no closing quote")
	}
	return len(line), nil
}

// parseOptions reads name or name="value", commas between. Names are
// case-insensitive, as with ssh-keygen; each may stand once.
func (l *Line) parseOptions(text string, zone *time.Location) error {
	seen := map[string]bool{}
	for more := true; more; {
		end := strings.IndexAny(text, "=,")
		if end < 0 {
			end = len(text)
		}
		name, value := strings.ToLower(text[:end]), ""
		text = text[end:]
		hasValue := strings.HasPrefix(text, "=")
		if hasValue {
			var err error
			if value, text, err = unquote(text[1:]); err != nil {
				return fmt.Errorf("option %q: %w", name, err)
			}
		}
		if seen[name] {
			return fmt.Errorf("option %q twice", name)
		}
		seen[name] = true
		if err := l.setOption(name, value, hasValue, zone); err != nil {
			return err
		}
		if text, more = strings.CutPrefix(text, ","); !more && text != "" {
			return fmt.Errorf("option %q: text behind it", name)
		}
	}
	return l.checkOrder()
}

func (l *Line) setOption(name, value string, hasValue bool, zone *time.Location) (err error) {
	switch {
	case name == "cert-authority" && !hasValue:
		l.CertAuthority = true
	case name == "namespaces" && hasValue:
		l.Namespaces, l.Pinned = value, true
	case name == "valid-after" && hasValue:
		l.ValidAfter, err = parseTime(value, zone)
	case name == "valid-before" && hasValue:
		l.ValidBefore, err = parseTime(value, zone)
	default:
		return fmt.Errorf("unknown option %q, or key of an unknown type", name)
	}
	if err != nil {
		return fmt.Errorf("option %q: %w", name, err)
	}
	return nil
}

func (l *Line) checkOrder() error {
	if !l.ValidAfter.IsZero() && !l.ValidBefore.IsZero() && !l.ValidBefore.After(l.ValidAfter) {
		return fmt.Errorf("valid-before is not after valid-after")
	}
	return nil
}

// unquote cuts a "quoted" value off s; inside, \" is a quote and any other
// backslash is itself.
func unquote(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("value is not in quotes")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], `\"`):
			b.WriteByte('"')
			i++
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("no closing quote")
}

// parseTime reads YYYYMMDD[HHMM[SS]][Z]. Unlike ssh-keygen it refuses days and
// hours that do not exist.
func parseTime(s string, zone *time.Location) (time.Time, error) {
	digits, utc := strings.CutSuffix(s, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) != len(layout) {
			continue
		}
		t, err := time.ParseInLocation(layout, digits, zone)
		if err == nil && t.Unix() <= 0 {
			err = fmt.Errorf("time %q is not after 1970", s)
		}
		return t, err
	}
	return time.Time{}, fmt.Errorf("time %q is not YYYYMMDD[HHMM[SS]][Z]", s)
}
