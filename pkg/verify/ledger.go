package verify

import (
	"fmt"
	"time"
)

// Bounds of a ledger. Nothing is ever dropped from one, so when it is full it
// refuses; no caller but root may fill it alone.
const (
	MaxEntries       = 1 << 16
	MaxCallerEntries = 1 << 12
)

// Names of the options by which an image asks to be restored once only, or never
// after a later one of its lineage. They take rights away and give none.
const (
	OptionOnce       = "restore-once"
	OptionNoRollback = "no-rollback"
)

// Entry is one restore, as a ledger remembers it.
type Entry struct {
	Manifest Digest
	Lineage  [16]byte // zero: none
	Serial   uint64
	When     time.Time // of the restore, to the second
	Caller   uint32    // its real uid
	Override bool      // somebody insisted, against Once or NoRollback
	Back     bool      // the caller's last restore of Manifest came to nothing: it counts no more
}

// Entry is what a ledger is to remember of restoring i.
func (i *Image) Entry(caller uint32, when time.Time) Entry {
	h := &i.m.Header
	return Entry{Manifest: i.verdict.Manifest, Lineage: h.Lineage, Serial: h.Serial, When: when, Caller: caller}
}

// Rule says what a restore must not repeat.
type Rule struct {
	// Once: this manifest, and this place in its lineage, were not restored yet.
	Once bool
	// NoRollback: no later image of the lineage was, nor another of this serial.
	NoRollback bool
}

// Rule is what i's own header asks for; a policy can only add to it.
func (i *Image) Rule() Rule {
	o := i.m.Header.Options
	return Rule{Once: o[OptionOnce] != "", NoRollback: o[OptionNoRollback] != ""}
}

// Ledger is what was restored on this host, in order.
type Ledger struct {
	entries []Entry
	void    map[int]bool // entries that were taken back
	sum     [32]byte     // chain value of the last record
}

// Entries are what the ledger remembers, oldest first. Do not change them.
func (l *Ledger) Entries() []Entry { return l.entries }

// Judge says whether e may be restored, without writing it down. e.Override lets
// it pass Once and NoRollback, not the clock and not a full ledger. Errors wrap
// ErrConsumed, ErrRollback, ErrClock or ErrLedger.
func (l *Ledger) Judge(e Entry, r Rule) error {
	if err := l.room(e); err != nil || e.Override {
		return err
	}
	return l.Against(e, r)
}

// Against says which earlier restore forbids e, overridden or not. Errors wrap
// ErrConsumed or ErrRollback.
func (l *Ledger) Against(e Entry, r Rule) error {
	for i, old := range l.entries {
		if old.Back || l.void[i] {
			continue
		}
		if err := old.against(e, r); err != nil {
			return fmt.Errorf("%w, at %s by uid %d", err, stamp(old.When), old.Caller)
		}
	}
	return nil
}

// MayTakeBack says whether an entry that is Back can be written: there is room,
// and something to take back. Errors wrap ErrLedger.
func (l *Ledger) MayTakeBack(e Entry) error {
	switch {
	case len(l.entries) >= MaxEntries:
		return fmt.Errorf("%w: full, with %d entries", ErrLedger, len(l.entries))
	case l.claim(e) < 0:
		return fmt.Errorf("%w: uid %d has no restore of this image to take back", ErrLedger, e.Caller)
	}
	return nil
}

// claim is the entry that e takes back, the last one that counts; -1: none.
func (l *Ledger) claim(e Entry) int {
	for i := len(l.entries) - 1; i >= 0; i-- {
		if old := &l.entries[i]; old.Manifest == e.Manifest && old.Caller == e.Caller && !old.Back && !l.void[i] {
			return i
		}
	}
	return -1
}

// add remembers an entry. One that takes back nothing is no entry.
func (l *Ledger) add(e Entry) bool {
	if e.Back {
		i := l.claim(e)
		if i < 0 {
			return false
		}
		if l.void == nil {
			l.void = map[int]bool{}
		}
		l.void[i] = true
	}
	l.entries = append(l.entries, e)
	return true
}

func (l *Ledger) room(e Entry) error {
	if n := len(l.entries); n >= MaxEntries {
		return fmt.Errorf("%w: full, with %d entries", ErrLedger, n)
	}
	mine := 0
	for _, old := range l.entries {
		if old.Caller == e.Caller {
			mine++
		}
		if e.When.Add(clockSkew).Before(old.When) {
			return fmt.Errorf("%w: it is %s, and an image was restored at %s", ErrClock, stamp(e.When), stamp(old.When))
		}
	}
	if e.Caller != 0 && mine >= MaxCallerEntries {
		return fmt.Errorf("%w: uid %d has %d entries", ErrLedger, e.Caller, mine)
	}
	return nil
}

// against is what having restored old means for e.
func (old Entry) against(e Entry, r Rule) error {
	same := old.Manifest == e.Manifest
	kin := old.Lineage == e.Lineage && e.Lineage != [16]byte{}
	switch {
	case r.Once && (same || kin && old.Serial == e.Serial):
		return ErrConsumed
	case r.NoRollback && kin && old.Serial > e.Serial:
		return fmt.Errorf("%w: serial %d, after %d", ErrRollback, e.Serial, old.Serial)
	case r.NoRollback && kin && old.Serial == e.Serial && !same:
		return fmt.Errorf("%w: another image has serial %d", ErrRollback, e.Serial)
	}
	return nil
}
