package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// A ledger is a header and records of one size, little endian:
//
//	0 manifest[32] | 32 lineage[16] | 48 serial u64 | 56 seconds u64 | 64 caller u32 |
//	68 sort u32 | 72 zero[24] | 96 SHA-256 of the chain value before and bytes 0 to 96
//
// The chain value of the empty ledger is the SHA-256 of the header. A record is
// synced before it counts, so one that is torn by a crash, which can only be the
// last, was never acted on and is dropped. Any other damage refuses the ledger.
//
// A record is of a restore (sort 0), of one that somebody insisted on (1), or of
// the end of one that came to nothing (2).
const (
	ledgerHeader = "ckpt ledger v1\n\n"
	recordBody   = 96
	recordSize   = recordBody + sha256.Size
)

// MaxLedger is the longest ledger, in bytes.
const MaxLedger = len(ledgerHeader) + MaxEntries*recordSize

// ParseLedger decodes a ledger. good is how many bytes of b are whole; the next
// record belongs there. An empty b is an empty ledger. Errors wrap ErrLedger.
func ParseLedger(b []byte) (l *Ledger, good int, err error) {
	l = &Ledger{sum: sha256.Sum256([]byte(ledgerHeader))}
	if len(b) > MaxLedger+recordSize {
		return nil, 0, fmt.Errorf("%w: %d bytes", ErrLedger, len(b))
	}
	if len(b) < len(ledgerHeader) && bytes.HasPrefix([]byte(ledgerHeader), b) {
		return l, 0, nil // not even the header came to the disk
	}
	rest, ok := bytes.CutPrefix(b, []byte(ledgerHeader))
	if !ok {
		return nil, 0, fmt.Errorf("%w: not a ledger of version 1", ErrLedger)
	}
	for good = len(ledgerHeader); len(rest) >= recordSize; good += recordSize {
		if err := l.read(rest[:recordSize]); err != nil {
			if len(rest) < 2*recordSize {
				break // the last one: torn
			}
			return nil, 0, fmt.Errorf("%w: entry %d: %w", ErrLedger, len(l.entries)+1, err)
		}
		rest = rest[recordSize:]
	}
	return l, good, nil
}

func (l *Ledger) read(b []byte) error {
	sum := l.chain(b[:recordBody])
	sort := binary.LittleEndian.Uint32(b[68:])
	switch {
	case !bytes.Equal(sum[:], b[recordBody:]):
		return fmt.Errorf("wrong checksum")
	case sort > 2 || !bytes.Equal(b[72:recordBody], make([]byte, recordBody-72)):
		return fmt.Errorf("unknown field in use")
	}
	l.sum = sum
	known := l.add(Entry{
		Manifest: Digest(b[:32]), Lineage: [16]byte(b[32:48]), Serial: binary.LittleEndian.Uint64(b[48:]),
		When:   time.Unix(int64(binary.LittleEndian.Uint64(b[56:])), 0),
		Caller: binary.LittleEndian.Uint32(b[64:]), Override: sort == 1, Back: sort == 2,
	})
	if !known {
		return fmt.Errorf("it takes back what is not there")
	}
	return nil
}

func (l *Ledger) chain(body []byte) [32]byte { return sha256.Sum256(append(l.sum[:], body...)) }

// Append remembers e, which Judge or MayTakeBack let pass, and returns the bytes that a file of good bytes must get for
// it, the header included where good is 0.
func (l *Ledger) Append(e Entry, good int) []byte {
	b := make([]byte, 0, len(ledgerHeader)+recordSize)
	if good == 0 {
		b = append(b, ledgerHeader...)
	}
	start := len(b)
	b = append(append(b, e.Manifest[:]...), e.Lineage[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.Serial)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.When.Unix()))
	b = binary.LittleEndian.AppendUint32(b, e.Caller)
	b = binary.LittleEndian.AppendUint32(b, e.sort())
	b = append(b, make([]byte, recordBody-(len(b)-start))...)
	l.sum = l.chain(b[start:])
	l.add(e)
	return append(b, l.sum[:]...)
}

func (e Entry) sort() uint32 {
	switch {
	case e.Back:
		return 2
	case e.Override:
		return 1
	}
	return 0
}
