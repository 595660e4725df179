package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// getent asks the name service for everything that it may know (getent(1)):
// this program is linked without C, and so reads only files by itself.
const (
	getent     = "/usr/bin/getent"
	getentWait = 10 * time.Second
	getentMost = 1 << 20 // bytes of an answer
)

// ErrUnknown: the host knows no such user or group.
var ErrUnknown = errors.New("unknown here")

// Account is what the host says of a user now.
type Account struct {
	Name     string
	UID, GID uint32
	// Groups are those that she is a member of now, by the database.
	Groups []uint32
	// Locked: the administrator has disabled the account: the password has an
	// exclamation mark before it (usermod(8) -L), or the account has expired.
	Locked bool
}

// UserID is the id of a user by name.
func UserID(name string) (uint32, error) { return idOf("passwd", name) }

// GroupID is the id of a group by name.
func GroupID(name string) (uint32, error) { return idOf("group", name) }

// idOf asks for a name. A name of digits only would be taken for an id.
func idOf(database, name string) (uint32, error) {
	fields, err := ask(database, name)
	if err != nil {
		return 0, err
	}
	if len(fields) < 3 || fields[0] != name {
		return 0, fmt.Errorf("%s %+q: %w", database, name, ErrUnknown)
	}
	return parseID(fields[2])
}

// GroupName is the name of a group by id.
func GroupName(gid uint32) (string, error) {
	fields, err := ask("group", strconv.FormatUint(uint64(gid), 10))
	if err != nil {
		return "", err
	}
	return fields[0], nil
}

// AccountOf is the account of a user by id, as of now.
func AccountOf(uid uint32) (Account, error) {
	fields, err := ask("passwd", strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return Account{}, err
	}
	if len(fields) < 4 || fields[2] != strconv.FormatUint(uint64(uid), 10) {
		return Account{}, fmt.Errorf("user %d: %w", uid, ErrUnknown)
	}
	a := Account{Name: fields[0], UID: uid}
	if a.GID, err = parseID(fields[3]); err != nil {
		return a, err
	}
	if a.Groups, err = groupsOf(a.Name); err != nil {
		return a, err
	}
	if !slices.Contains(a.Groups, a.GID) {
		a.Groups = append(a.Groups, a.GID)
	}
	a.Locked, err = locked(a.Name, time.Now())
	return a, err
}

// groupsOf asks for all groups of a user: "name gid gid ...".
func groupsOf(name string) ([]uint32, error) {
	out, err := run("initgroups", name)
	if errors.Is(err, ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var groups []uint32
	for i, word := range strings.Fields(out) {
		if i == 0 {
			continue
		}
		g, err := parseID(word)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// Fields of shadow(5).
const (
	shadowPassword = 1
	shadowExpires  = 7 // days since 1970
)

// locked reads the shadow password, which only root can. Who has none there
// may be someone of another name service: that is not locked.
func locked(name string, now time.Time) (bool, error) {
	fields, err := ask("shadow", name)
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	if err != nil || len(fields) <= shadowExpires {
		return false, err
	}
	return lockedBy(fields, now), nil
}

// lockedBy tells a password that was disabled from one that never was: of "!"
// and "!!" alone, and of "*", usual for who logs in by other means.
func lockedBy(fields []string, now time.Time) bool {
	rest, marked := strings.CutPrefix(fields[shadowPassword], "!")
	if marked && strings.Trim(rest, "!*") != "" {
		return true
	}
	day, err := strconv.ParseInt(fields[shadowExpires], 10, 64)
	return err == nil && day >= 0 && now.Unix()/(24*60*60) >= day
}

// ask gives the fields of the one line that a database has for a key.
func ask(database, key string) ([]string, error) {
	out, err := run(database, key)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(out, "\n")
	return strings.Split(line, ":"), nil
}

// run asks with an empty environment, and for names that can be no option.
func run(database, key string) (string, error) {
	if key == "" || key[0] == '-' || strings.ContainsAny(key, ":\n\x00") {
		return "", fmt.Errorf("%s %+q: %w", database, key, ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(context.Background(), getentWait)
	defer cancel()
	c := exec.CommandContext(ctx, getent, database, key)
	c.Env, c.Dir = []string{}, "/"
	var out bounded
	c.Stdout = &out
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2: // getent(1): the key was not found
		return "", fmt.Errorf("%s %+q: %w", database, key, ErrUnknown)
	case err != nil:
		return "", fmt.Errorf("asking for %s %+q: %w", database, key, err)
	}
	return out.String(), nil
}

// bounded is a buffer that refuses to grow beyond reason.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > getentMost {
		return 0, errors.New("the answer is too long")
	}
	return b.Buffer.Write(p)
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("the name service says %+q where an id belongs", s)
	}
	return uint32(n), nil
}
