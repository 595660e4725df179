package host

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestAccounts(t *testing.T) {
	a, err := AccountOf(0)
	if err != nil || a.Name != "root" || a.GID != 0 || !slices.Contains(a.Groups, 0) {
		t.Errorf("root is %+v (%v)", a, err)
	}
	if id, err := UserID("root"); id != 0 || err != nil {
		t.Error(id, err)
	}
	if id, err := GroupID("root"); id != 0 || err != nil {
		t.Error(id, err)
	}
	if name, err := GroupName(0); name != "root" || err != nil {
		t.Error(name, err)
	}
	if _, err := AccountOf(4_000_000_000); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	for _, name := range []string{"", "nobody-of-that-name", "-s", "a:b", "0", "ro\x00ot", "root\n"} {
		if id, err := UserID(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q is user %d (%v)", name, id, err)
		}
	}
}

// An account that was disabled is told from one that has no password.
func TestLocked(t *testing.T) {
	now := time.Unix(20000*24*60*60+5, 0)
	for name, c := range map[string]struct {
		password, expires string
		want              bool
	}{
		"a password":        {"$y$x", "", false},
		"usermod -L":        {"!$y$x", "", true},
		"passwd -l":         {"!!$y$x", "", true},
		"none ever":         {"!", "", false},
		"none ever, as RH":  {"!!", "", false},
		"a service":         {"*", "", false},
		"both":              {"!*", "", false},
		"expired":           {"*", "19999", true},
		"expires today":     {"*", "20000", true},
		"expires tomorrow":  {"*", "20001", false},
		"expired long ago":  {"$y$x", "0", true},
		"an expiry of junk": {"$y$x", "x", false},
	} {
		fields := []string{"x", c.password, "19000", "0", "99999", "7", "", c.expires, ""}
		if got := lockedBy(fields, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
