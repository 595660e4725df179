package abi

import (
	"bytes"
	"fmt"
	"strconv"
)

// SyntaxError says that a file of the kernel does not read as documented.
type SyntaxError struct {
	File string // which format: "maps", "status", ...
	Text string // the line, or the part of it, that was not understood
	Why  string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parse %s: %s: %q", e.File, e.Why, e.Text)
}

func syntax(file string, text []byte, why string) error {
	if len(text) > 200 {
		text = text[:200]
	}
	return &SyntaxError{File: file, Text: string(text), Why: why}
}

// cutLine splits off the first line of b, without its newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// cutField splits off the first field of b, which ends at blanks (spaces or
// tabs), and skips the blanks around it.
func cutField(b []byte) (field, rest []byte) {
	b = trimLeft(b)
	i := 0
	for i < len(b) && b[i] != ' ' && b[i] != '\t' {
		i++
	}
	return b[:i], trimLeft(b[i:])
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// fields is bytes.Fields for blanks only.
func fields(b []byte) [][]byte { return appendFields(nil, b) }

func appendFields(out [][]byte, b []byte) [][]byte {
	for b = trimLeft(b); len(b) > 0; {
		var f []byte
		f, b = cutField(b)
		out = append(out, f)
	}
	return out
}

// digit is the value of a digit, or 255.
func digit(c byte) byte {
	if d := c - '0'; d <= 9 {
		return d
	}
	if d := (c | 0x20) - 'a'; d <= 5 { // | 0x20 makes letters small
		return d + 10
	}
	return 255
}

// leadUint reads the digits of base at the start of b; ok is false when there
// is none or when the number needs more than 64 bits.
func leadUint(b []byte, base uint64) (v uint64, rest []byte, ok bool) {
	i, limit := 0, ^uint64(0)/base
	for i < len(b) {
		d := uint64(digit(b[i]))
		if d >= base {
			break
		}
		if v > limit || v*base > ^d { // ^d is the highest number that d fits onto
			return 0, b, false
		}
		v = v*base + d
		i++
	}
	return v, b[i:], i > 0
}

// parseUint reads the whole of b as a number.
func parseUint(b []byte, base uint64) (uint64, bool) {
	v, rest, ok := leadUint(b, base)
	return v, ok && len(rest) == 0
}

// parseInt reads the whole of b as a decimal number with an optional minus.
func parseInt(b []byte) (int64, bool) {
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	v, ok := parseUint(b, 10)
	if !ok {
		return 0, false
	}
	if neg {
		return -int64(v), v <= 1<<63
	}
	return int64(v), v < 1<<63
}

// unescape undoes the kernel's mangle_path (fs/seq_file.c), which writes a
// character as a backslash and three octal digits. Only the characters in set
// are undone: a backslash before anything else stands for itself.
func unescape(b []byte, set string) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if c, ok := octalEscape(b[i:]); ok && bytes.IndexByte([]byte(set), c) >= 0 {
			out = append(out, c)
			i += 3
			continue
		}
		out = append(out, b[i])
	}
	return string(out)
}

func octalEscape(b []byte) (byte, bool) {
	if len(b) < 4 || b[0] != '\\' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[1:4]), 8, 8)
	return byte(v), err == nil
}
