package abi

import (
	"bytes"
	"encoding/binary"
)

// ParseChildren reads /proc/PID/task/TID/children: PIDs separated by blanks.
func ParseChildren(text []byte) ([]int32, error) {
	var out []int32
	if !scanInt32s(bytes.TrimSuffix(text, []byte{'\n'}), &out) {
		return nil, syntax("children", text, "not a list of PIDs")
	}
	return out, nil
}

// ParseCmdline reads /proc/PID/cmdline or environ: strings that end in NUL.
// The process may have written anything there.
func ParseCmdline(text []byte) []string {
	var out []string
	for len(text) > 0 {
		arg, rest, _ := bytes.Cut(text, []byte{0})
		out = append(out, string(arg))
		text = rest
	}
	return out
}

// Auxv is one entry of the auxiliary vector (getauxval(3)).
type Auxv struct{ Tag, Val uint64 }

// ParseAuxv reads /proc/PID/auxv up to AT_NULL, which is left out.
func ParseAuxv(b []byte) ([]Auxv, error) {
	var out []Auxv
	for ; len(b) >= 16; b = b[16:] {
		a := Auxv{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		if a.Tag == 0 {
			return out, nil
		}
		out = append(out, a)
	}
	return nil, syntax("auxv", nil, "no AT_NULL")
}
