package quote

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

var (
	// ErrSyntax: the list is malformed.
	ErrSyntax = errors.New("malformed list of attested machines")
	// ErrUnknown: the list does not have the attestation key.
	ErrUnknown = errors.New("attestation key not enrolled")
	// ErrPCRs: the list has the key, with other PCRs.
	ErrPCRs = errors.New("the machine did not boot as enrolled")
)

// MaxList is the longest list, in bytes.
const MaxList = 4 << 20

// Machine is a line of a list: a name, and the one state of its PCRs that is
// accepted. A machine may have several.
type Machine struct {
	Name   string
	Bank   string
	PCRs   []uint
	Digest [32]byte
	Key    ssh.PublicKey
}

// List is whose quotes are believed, and which.
type List []Machine

// ParseList reads lines of the form
//
//	NAME pcrs=sha256:0,2,7 digest=HEX ecdsa-sha2-nistp256 BASE64 [comment]
//
// with comment lines that start with #. A malformed line anywhere is an error that
// wraps ErrSyntax.
func ParseList(text []byte) (List, error) {
	if len(text) > MaxList {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrSyntax, len(text), MaxList)
	}
	var list List
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		m, err := machine(words)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, n, err)
		}
		list = append(list, *m)
	}
	return list, nil
}

func machine(words []string) (*Machine, error) {
	if len(words) < 5 {
		return nil, errors.New("it wants a name, pcrs=, digest=, and a key's type and key")
	}
	m := &Machine{Name: words[0]}
	selection, ok := strings.CutPrefix(words[1], "pcrs=")
	if !ok {
		return nil, fmt.Errorf("%.40q, want pcrs=", words[1])
	}
	var err error
	if m.Bank, m.PCRs, err = ParseSelection(selection); err != nil {
		return nil, err
	}
	digest, ok := strings.CutPrefix(words[2], "digest=")
	raw, err := hex.DecodeString(digest)
	if !ok || err != nil || len(raw) != len(m.Digest) {
		return nil, fmt.Errorf("%.80q, want digest= and %d hexadecimal digits", words[2], 2*len(m.Digest))
	}
	m.Digest = [32]byte(raw)
	blob, err := base64.StdEncoding.Strict().DecodeString(words[4])
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	if m.Key, err = ssh.ParsePublicKey(blob); err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	if m.Key.Type() != words[3] || words[3] != ssh.KeyAlgoECDSA256 {
		return nil, fmt.Errorf("a key of type %.40q, want %s", words[3], ssh.KeyAlgoECDSA256)
	}
	return m, nil
}

// ParseSelection reads a bank and its PCRs, ascending: sha256:0,2,7.
func ParseSelection(text string) (bank string, pcrs []uint, err error) {
	bank, list, ok := strings.Cut(text, ":")
	if !ok || bank != "sha256" && bank != "sha384" {
		return "", nil, fmt.Errorf("PCRs %.40q: want sha256: or sha384: and numbers", text)
	}
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil || n >= 8*selectBytes || strconv.FormatUint(n, 10) != word {
			return "", nil, fmt.Errorf("PCR %.40q: want 0 to %d", word, 8*selectBytes-1)
		}
		if len(pcrs) > 0 && uint(n) <= pcrs[len(pcrs)-1] {
			return "", nil, fmt.Errorf("PCRs %.40q do not ascend", list)
		}
		pcrs = append(pcrs, uint(n))
	}
	return bank, pcrs, nil
}

// Find is the machine that made q, in a state that is listed: key, bank, PCRs and
// digest must be the same. Errors wrap ErrUnknown or ErrPCRs. It does not verify q.
func (l List) Find(q *Quote) (*Machine, error) {
	err := fmt.Errorf("%w: %s", ErrUnknown, q.Fingerprint())
	for i := range l {
		m := &l[i]
		if string(m.Key.Marshal()) != string(q.Key.Marshal()) {
			continue
		}
		listed := Quote{Bank: m.Bank, PCRs: m.PCRs}
		switch {
		case listed.Selection() != q.Selection():
			err = fmt.Errorf("%w: %s vouches for %s, not for %s", ErrPCRs, m.Name, q.Selection(), listed.Selection())
		case m.Digest != q.Digest:
			err = fmt.Errorf("%w: the digest of %s of %s is %x, not %x", ErrPCRs, q.Selection(), m.Name, q.Digest, m.Digest)
		default:
			return m, nil
		}
	}
	return nil, err
}

// Line is how a list enrolls the key of q in the state that q states.
func (q *Quote) Line(name string) string {
	return fmt.Sprintf("%s pcrs=%s digest=%x %s", name, q.Selection(), q.Digest, ssh.MarshalAuthorizedKey(q.Key))
}
