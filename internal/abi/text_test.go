package abi

import (
	"strconv"
	"testing"
)

func TestNumbers(t *testing.T) {
	for _, s := range []string{"", "0", "7", "8", "9", "a", "F", "g", "G", "@", "`", "/", ":", "1x", "18446744073709551615", "18446744073709551616",
		"28446744073709551615", "99999999999999999999", "ffffffffffffffff", "10000000000000000", "1777777777777777777777", "2000000000000000000000", "\xff", "-1"} {
		for _, base := range []uint64{8, 10, 16} {
			want, err := strconv.ParseUint(s, int(base), 64)
			if got, ok := parseUint([]byte(s), base); ok != (err == nil) || ok && got != want {
				t.Errorf("%q in base %d: %d %v, not %d %v", s, base, got, ok, want, err)
			}
		}
	}
	for _, s := range []string{"-1", "1", "-", "", "--1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"} {
		want, err := strconv.ParseInt(s, 10, 64)
		if got, ok := parseInt([]byte(s)); ok != (err == nil) || ok && got != want {
			t.Errorf("%q: %d %v, not %d %v", s, got, ok, want, err)
		}
	}
}
