package abi

import "testing"

func TestPMScanForget(t *testing.T) {
	const g, p, s = PageIsGuard, PageIsPresent, PageIsSwapped
	for _, c := range []struct {
		before PMScanArg
		after  PMScanArg
		ok     bool
	}{
		{PMScanArg{Inverted: g, Mask: g | p, Return: g | p}, PMScanArg{Mask: p, Return: p}, true},
		{PMScanArg{AnyOf: p | g}, PMScanArg{AnyOf: p}, true},
		{PMScanArg{AnyOf: g}, PMScanArg{AnyOf: g}, false},
		{PMScanArg{Mask: g}, PMScanArg{Mask: g}, false},
		{PMScanArg{Inverted: g, AnyOf: g | s}, PMScanArg{}, true},
	} {
		got := c.before
		if ok := got.Forget(g); ok != c.ok || got != c.after {
			t.Errorf("%+v becomes %+v %v", c.before, got, ok)
		}
		for cat := PageCategories(0); cat < 1<<8; cat++ {
			if c.before.Matches(cat) != (c.ok && got.Matches(cat)) {
				t.Fatalf("%+v and %+v differ on %#x", c.before, got, cat)
			}
		}
	}
}
