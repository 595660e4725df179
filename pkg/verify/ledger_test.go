package verify

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func entry(manifest, lineage byte, serial uint64, minute int) Entry {
	return Entry{
		Manifest: Digest{manifest}, Lineage: [16]byte{lineage}, Serial: serial, Caller: callerUID,
		When: now().Add(time.Duration(minute) * time.Minute),
	}
}

// written is the file of a ledger with these entries.
func written(entries ...Entry) []byte {
	l, good, _ := ParseLedger(nil)
	var b []byte
	for _, e := range entries {
		more := l.Append(e, good)
		good += len(more)
		b = append(b, more...)
	}
	return b
}

func TestLedgerRules(t *testing.T) {
	t.Parallel()
	l, _, err := ParseLedger(written(entry(1, 1, 5, 0), entry(2, 1, 7, 1), entry(3, 0, 9, 2)))
	if err != nil {
		t.Fatal(err)
	}
	once, rollback, both := Rule{Once: true}, Rule{NoRollback: true}, Rule{true, true}
	for name, c := range map[string]struct {
		e    Entry
		r    Rule
		want error
	}{
		"same image":              {entry(1, 1, 5, 3), once, ErrConsumed},
		"same image, no rule":     {entry(1, 1, 5, 3), Rule{}, nil},
		"same place":              {entry(9, 1, 5, 3), once, ErrConsumed},
		"same image, no lineage":  {entry(3, 0, 9, 3), once, ErrConsumed},
		"no lineage, same serial": {entry(9, 0, 9, 3), both, nil},
		"older":                   {entry(9, 1, 6, 3), rollback, ErrRollback},
		"older, once":             {entry(9, 1, 6, 3), once, nil},
		"newest again":            {entry(2, 1, 7, 3), rollback, nil},
		"newest's double":         {entry(9, 1, 7, 3), rollback, ErrRollback},
		"next":                    {entry(9, 1, 8, 3), both, nil},
		"other lineage":           {entry(9, 2, 1, 3), both, nil},
		"clock":                   {entry(9, 2, 1, -10), Rule{}, ErrClock},
		"clock, slightly":         {entry(9, 2, 1, -2), both, nil},
	} {
		if err := l.Judge(c.e, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		c.e.Override = true
		if err := l.Judge(c.e, c.r); err != nil && !errors.Is(err, ErrClock) {
			t.Errorf("%s, overridden: %v", name, err)
		}
	}
}

// A restore that came to nothing doesn't count, and nobody takes back more than there was.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	once := Rule{Once: true}
	back := func(e Entry) Entry { e.Back = true; return e }
	one, two := entry(1, 1, 5, 0), entry(2, 1, 7, 1)
	insists := entry(1, 1, 5, 2)
	insists.Override = true
	for name, c := range map[string]struct {
		has  []Entry
		want error // for one, once more
	}{
		"it stands":                 {[]Entry{one}, ErrConsumed},
		"taken back":                {[]Entry{one, back(one)}, nil},
		"and restored then":         {[]Entry{one, back(one), one}, ErrConsumed},
		"and taken back again":      {[]Entry{one, back(one), one, back(one)}, nil},
		"another was":               {[]Entry{one, two, back(two)}, ErrConsumed},
		"of two, one of them":       {[]Entry{one, insists, back(one)}, ErrConsumed},
		"of two, both":              {[]Entry{one, insists, back(one), back(one)}, nil},
		"and what came behind that": {[]Entry{one, two, back(one)}, nil},
	} {
		l, _, err := ParseLedger(written(c.has...))
		if err != nil || len(l.Entries()) != len(c.has) {
			t.Errorf("%s: %d entries, %v", name, len(l.entries), err)
			continue
		}
		if err := l.Judge(entry(1, 1, 5, 3), once); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	l, _, err := ParseLedger(written(one, back(one)))
	if err != nil {
		t.Fatal(err)
	}
	other := one
	other.Caller++
	for name, e := range map[string]Entry{"twice": one, "what was not restored": two, "another's": other} {
		if err := l.MayTakeBack(back(e)); !errors.Is(err, ErrLedger) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Ledger).MayTakeBack(back(one)); !errors.Is(err, ErrLedger) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestLedgerRoundTripAndTornTail(t *testing.T) {
	t.Parallel()
	entries := []Entry{entry(1, 1, 1, 0), entry(2, 1, 2, 1), entry(3, 2, 1<<63, 2)}
	entries[1].Override = true
	entries = append(entries, entries[1])
	entries[3].Override, entries[3].Back = false, true
	b := written(entries...)
	for n := range len(b) + 1 {
		l, good, err := ParseLedger(b[:n])
		whole := max(n-len(ledgerHeader), 0) / recordSize
		if err != nil || len(l.Entries()) != whole || good > n {
			t.Fatalf("cut to %d: %d entries, good %d, %v", n, len(l.entries), good, err)
		}
		for i, e := range l.Entries() {
			if !e.When.Equal(entries[i].When) {
				t.Errorf("entry %d: at %v", i, e.When)
			}
			if e.When = entries[i].When; e != entries[i] {
				t.Errorf("entry %d: %+v, want %+v", i, e, entries[i])
			}
		}
		// The next record goes where the torn one was, and all is well again.
		next := l.Append(entry(9, 9, 9, 9), good)
		again, _, err := ParseLedger(append(bytes.Clone(b[:good]), next...))
		if err != nil || len(again.Entries()) != whole+1 {
			t.Fatalf("cut to %d and continued: %v", n, err)
		}
	}
}

func TestDamagedLedger(t *testing.T) {
	t.Parallel()
	b := written(entry(1, 1, 1, 0), entry(2, 1, 2, 1), entry(3, 1, 3, 2))
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		l, _, err := ParseLedger(bad)
		switch last := i >= len(b)-recordSize; {
		case !last && !errors.Is(err, ErrLedger):
			t.Errorf("byte %d changed: %v", i, err)
		case last && (err != nil || len(l.Entries()) != 2):
			t.Errorf("byte %d of the last record changed: %v", i, err)
		}
	}
	swapped := append(bytes.Clone(b[:16]), b[16+recordSize:16+2*recordSize]...)
	swapped = append(append(swapped, b[16:16+recordSize]...), b[16+2*recordSize:]...)
	for name, bad := range map[string][]byte{
		"swapped": swapped, "first removed": append(bytes.Clone(b[:16]), b[16+recordSize:]...),
		"other file": []byte("something else entirely"), "oversize": make([]byte, MaxLedger+recordSize+1),
	} {
		if _, _, err := ParseLedger(bad); !errors.Is(err, ErrLedger) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFullLedger(t *testing.T) {
	t.Parallel()
	l := new(Ledger)
	for range MaxCallerEntries {
		l.entries = append(l.entries, entry(1, 1, 1, 0))
	}
	e := entry(2, 2, 2, 1)
	if err := l.Judge(e, Rule{}); !errors.Is(err, ErrLedger) {
		t.Errorf("one caller's share: %v", err)
	}
	for i := range l.entries {
		l.entries[i].Caller = 0
	}
	if err := l.Judge(Entry{When: e.When}, Rule{}); err != nil {
		t.Errorf("root has no share: %v", err)
	}
	e.Caller = 7
	if err := l.Judge(e, Rule{}); err != nil {
		t.Errorf("another caller: %v", err)
	}
	for len(l.entries) < MaxEntries {
		l.entries = append(l.entries, entry(1, 1, 1, 0))
	}
	for _, e.Caller = range []uint32{0, 7} {
		if err := l.Judge(e, Rule{}); !errors.Is(err, ErrLedger) {
			t.Errorf("full, uid %d: %v", e.Caller, err)
		}
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte{})
	f.Add(written(entry(1, 1, 1, 0), entry(2, 1, 2, 1)))
	back := entry(2, 1, 2, 1)
	back.Back = true
	f.Add(written(entry(1, 1, 1, 0), entry(2, 1, 2, 1), back))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, good, err := ParseLedger(b)
		if err != nil {
			return
		}
		if good > len(b) {
			t.Fatalf("good %d of %d", good, len(b))
		}
		again := written(l.Entries()...)
		if good > len(ledgerHeader) && !bytes.Equal(again, b[:good]) {
			t.Error("accepted what writing does not give back")
		}
	})
}
