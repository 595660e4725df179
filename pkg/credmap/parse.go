package credmap

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Lookup finds the id of a name on this host.
type Lookup func(name string) (id uint32, ok bool)

// ParseRange reads FROM:TO or FROM:TO:COUNT. FROM and TO are ids, or names of
// this host, which stand for a single id.
func ParseRange(s string, find Lookup) (Range, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Range{}, fmt.Errorf("%w: %+q is not FROM:TO or FROM:TO:COUNT", ErrMap, s)
	}
	return rangeOf(parts, find)
}

func rangeOf(parts []string, find Lookup) (r Range, err error) {
	r.Count = 1
	if len(parts) == 3 {
		if r.Count, err = number(parts[2]); err != nil {
			return r, err
		}
	}
	for i, id := range []*uint32{&r.From, &r.To} {
		if *id, err = number(parts[i]); err == nil {
			continue
		}
		n, ok := find(parts[i])
		switch {
		case !ok:
			return r, fmt.Errorf("%w: nobody here is called %+q", ErrMap, parts[i])
		case r.Count != 1:
			return r, fmt.Errorf("%w: %+q is one, not %d", ErrMap, parts[i], r.Count)
		}
		*id = n
	}
	return r, nil
}

// number takes decimal digits and nothing else: signs, spaces and underscores
// would be ways to write one id in two.
func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: %+q is no id", ErrMap, s)
	}
	return uint32(n), nil
}

// ParseFile reads a map file: FROM TO [COUNT] on a line, as in
// /proc/PID/uid_map, or FROM:TO[:COUNT]; # begins a comment.
func ParseFile(text []byte, find Lookup) ([]Range, error) {
	var out []Range
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		parts := strings.Fields(line)
		if len(parts) == 1 {
			parts = strings.Split(parts[0], ":")
		}
		if len(parts) == 0 {
			continue
		}
		if len(parts) < 2 || len(parts) > 3 {
			return nil, fmt.Errorf("%w: line %d is not FROM TO [COUNT]", ErrMap, n)
		}
		r, err := rangeOf(parts, find)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if out = append(out, r); len(out) > MaxRanges {
			return nil, fmt.Errorf("%w: more than %d ranges", ErrMap, MaxRanges)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMap, err)
	}
	return out, nil
}
