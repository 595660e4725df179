package sshsig

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

const (
	armorBegin = "-----BEGIN SSH SIGNATURE-----\n"
	armorEnd   = "-----END SSH SIGNATURE-----\n"
	armorWidth = 70 // what ssh-keygen writes
)

// Armor is the text form of blob, as ssh-keygen -Y sign writes it.
func Armor(blob []byte) []byte {
	var b bytes.Buffer
	b.WriteString(armorBegin)
	text := base64.StdEncoding.EncodeToString(blob)
	for len(text) > 0 {
		n := min(len(text), armorWidth)
		b.WriteString(text[:n])
		b.WriteByte('\n')
		text = text[n:]
	}
	b.WriteString(armorEnd)
	return b.Bytes()
}

// Dearmor is the blob inside text. Nothing may stand before, behind or between,
// and the lines must be as long as Armor makes them. Errors wrap ErrMalformed.
func Dearmor(text []byte) ([]byte, error) {
	if len(text) > 2*MaxSize {
		return nil, fmt.Errorf("%w: armor of %d bytes", ErrMalformed, len(text))
	}
	body, ok := bytes.CutPrefix(text, []byte(armorBegin))
	if !ok {
		return nil, fmt.Errorf("%w: armor does not begin with %q", ErrMalformed, armorBegin)
	}
	body, ok = bytes.CutSuffix(body, []byte(armorEnd))
	if !ok {
		return nil, fmt.Errorf("%w: armor does not end with %q", ErrMalformed, armorEnd)
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: armor: %w", ErrMalformed, err)
	}
	if !bytes.Equal(Armor(blob), text) {
		return nil, fmt.Errorf("%w: armor: not the canonical encoding", ErrMalformed)
	}
	return blob, nil
}
