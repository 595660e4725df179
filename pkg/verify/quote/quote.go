package quote

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Magic begins the entry of a quote among the signatures of an image.
const Magic = "ckpt-tpm-quote-1"

// MaxSize is the longest entry, in bytes.
const MaxSize = 4096

// domain keeps a nonce of ours from being anybody else's.
const domain = "ckpt-image-quote@v1\x00"

var (
	// ErrFormat: the bytes are no quote, or not the one encoding of it.
	ErrFormat = errors.New("malformed quote")
	// ErrForged: the quote was not made by the key in it, not by a TPM, or for another image.
	ErrForged = errors.New("wrong quote")
)

// Quote is one entry: what a TPM stated, and the key that signed it.
type Quote struct {
	Key    ssh.PublicKey  // ecdsa-sha2-nistp256
	Attest []byte         // TPMS_ATTEST as the TPM signed it (TPM 2.0 Library, part 2, 10.12.12)
	Sig    *ssh.Signature // by Key over Attest

	Bank   string   // of the PCRs: sha256 or sha384
	PCRs   []uint   // ascending
	Digest [32]byte // SHA-256 of their values, one behind the other
	Nonce  [32]byte // the qualifying data
}

// Is says whether an entry is meant to be a quote.
func Is(blob []byte) bool { return bytes.HasPrefix(blob, []byte(Magic)) }

// NonceFor is the qualifying data of a quote for the manifest with this digest.
func NonceFor(manifest [32]byte) [32]byte {
	return sha256.Sum256(append([]byte(domain), manifest[:]...))
}

// wire is an entry behind its magic.
type wire struct{ Key, Attest, Sig []byte }

// New makes an entry of what a TPM answered.
func New(key ssh.PublicKey, attest []byte, sig *ssh.Signature) (*Quote, error) {
	return Parse(marshal(key, attest, sig))
}

// Marshal is the entry's bytes.
func (q *Quote) Marshal() []byte { return marshal(q.Key, q.Attest, q.Sig) }

func marshal(key ssh.PublicKey, attest []byte, sig *ssh.Signature) []byte {
	return append([]byte(Magic), ssh.Marshal(wire{key.Marshal(), attest, ssh.Marshal(sig)})...)
}

// Parse decodes an entry without checking its signature. Errors wrap ErrFormat.
func Parse(blob []byte) (*Quote, error) {
	q, err := parse(blob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return q, nil
}

func parse(blob []byte) (*Quote, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(Magic))
	if !ok || len(blob) > MaxSize {
		return nil, errors.New("not the entry of a quote")
	}
	var w wire
	if err := ssh.Unmarshal(rest, &w); err != nil {
		return nil, err
	}
	q := &Quote{Attest: w.Attest, Sig: new(ssh.Signature)}
	var err error
	if q.Key, err = ssh.ParsePublicKey(w.Key); err != nil {
		return nil, err
	}
	if err := ssh.Unmarshal(w.Sig, q.Sig); err != nil {
		return nil, err
	}
	if q.Key.Type() != ssh.KeyAlgoECDSA256 || q.Sig.Format != ssh.KeyAlgoECDSA256 || len(q.Sig.Rest) != 0 {
		return nil, fmt.Errorf("a key of type %.40q, want %s", q.Key.Type(), ssh.KeyAlgoECDSA256)
	}
	if err := q.statement(w.Attest); err != nil {
		return nil, err
	}
	if !bytes.Equal(q.Marshal(), blob) {
		return nil, errors.New("not the canonical encoding")
	}
	return q, nil
}

// Verify checks that the key in the quote signed it for the manifest with this
// digest. Whether that key may be believed is for a List to say. Errors wrap ErrForged.
func (q *Quote) Verify(manifest [32]byte) error {
	if err := q.Key.Verify(q.Attest, q.Sig); err != nil {
		return fmt.Errorf("%w: not signed by %s", ErrForged, q.Fingerprint())
	}
	if q.Nonce != NonceFor(manifest) {
		return fmt.Errorf("%w: made for another image", ErrForged)
	}
	return nil
}

// Fingerprint names the attestation key as ssh-keygen -l does.
func (q *Quote) Fingerprint() string { return ssh.FingerprintSHA256(q.Key) }

// Selection is bank and PCRs in words: sha256:0,7.
func (q *Quote) Selection() string {
	var list []string
	for _, pcr := range q.PCRs {
		list = append(list, fmt.Sprint(pcr))
	}
	return q.Bank + ":" + strings.Join(list, ",")
}

// What a TPM writes (TPM 2.0 Library, part 2).
const (
	generated   = 0xff544347 // TPM_GENERATED_VALUE: nothing that a TPM is given to sign begins so
	stQuote     = 0x8018     // TPM_ST_ATTEST_QUOTE
	algSHA256   = 0x000b
	algSHA384   = 0x000c
	selectBytes = 3      // PCR 0 to 23
	clockInfo   = 17     // clock, resetCount, restartCount, safe
	firmware    = 8      // firmwareVersion
	maxName     = 2 + 64 // the largest digest and its algorithm
)

// statement decodes a TPMS_ATTEST, which must be a quote of one bank.
func (q *Quote) statement(b []byte) error {
	r := reader{b: b}
	switch {
	case r.number(4) != generated:
		return errors.New("no TPM made the statement")
	case r.number(2) != stQuote:
		return errors.New("the statement is not about PCRs")
	}
	r.sized(maxName)
	nonce := r.sized(len(q.Nonce))
	r.take(clockInfo + firmware)
	if banks := r.number(4); banks != 1 {
		return fmt.Errorf("PCRs of %d banks, want 1", banks)
	}
	bank, size := r.number(2), r.number(1)
	chosen := r.take(selectBytes)
	digest := r.sized(len(q.Digest))
	switch {
	case r.short || len(r.b) != 0 || len(nonce) != len(q.Nonce) || len(digest) != len(q.Digest):
		return errors.New("the statement is not of a quote's size")
	case size != selectBytes:
		return fmt.Errorf("a selection of %d bytes, want %d", size, selectBytes)
	case bank == algSHA256:
		q.Bank = "sha256"
	case bank == algSHA384:
		q.Bank = "sha384"
	default:
		return fmt.Errorf("PCRs of bank 0x%04x, want SHA-256 or SHA-384", bank)
	}
	q.Nonce, q.Digest = [32]byte(nonce), [32]byte(digest)
	for pcr := range uint(8 * selectBytes) {
		if chosen[pcr/8]>>(pcr%8)&1 == 1 {
			q.PCRs = append(q.PCRs, pcr)
		}
	}
	if len(q.PCRs) == 0 {
		return errors.New("it says nothing of any PCR")
	}
	return nil
}

// reader takes big-endian fields off b; once something is missing it only gives zeros.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.short = nil, true
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) number(size int) uint64 {
	return binary.BigEndian.Uint64(append(make([]byte, 8-size), r.take(size)...))
}

// sized takes a TPM2B of at most limit bytes.
func (r *reader) sized(limit int) []byte {
	n := int(r.number(2))
	if n > limit {
		r.short = true
		return nil
	}
	return r.take(n)
}
