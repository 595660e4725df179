package cli

import (
	"fmt"
	"unicode/utf16"
)

// ASCII is JSON in which no string can steer a terminal: what is not ASCII can
// stand only in its strings, and is escaped.
func ASCII(json []byte) string {
	var out []byte
	for _, r := range string(json) {
		if r < 0x7f {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, "\\u%04x", unit)
		}
	}
	return string(out)
}
