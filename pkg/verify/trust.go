package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckptool/ckpt/pkg/verify/allowed"
)

// trustFile is a TrustFile that was read, or why it cannot be used.
type trustFile struct {
	TrustFile
	file *allowed.File
	err  error
}

// readTrust reads the trust files, in order of source. One that cannot be used
// trusts nobody, and says so among the reasons; an Extra one is an error, because
// it was asked for by name.
func readTrust(o Options) ([]trustFile, error) {
	var files []trustFile
	for _, t := range o.Trust {
		f := trustFile{TrustFile: t, file: new(allowed.File)}
		if parsed, err := t.read(o); err == nil {
			f.file = parsed
		} else {
			f.err = fmt.Errorf("%w: %w", ErrTrustFile, err)
		}
		if f.err != nil && t.Source == Extra {
			return nil, fmt.Errorf("%q: %w", t.Path, f.err)
		}
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b trustFile) int { return int(b.Source) - int(a.Source) })
	return files, nil
}

func (t TrustFile) read(o Options) (*allowed.File, error) {
	if err := t.safe(o.Caller); err != nil {
		return nil, err
	}
	return allowed.Parse(t.Bytes, o.Zone)
}

// safe refuses a file that somebody could have written who is not meant to say
// whom to trust: root for the system's file, root and the caller for others.
func (t TrustFile) safe(caller uint32) error {
	switch {
	case t.OwnerUID != 0 && t.Source == System:
		return fmt.Errorf("owner is uid %d, not root", t.OwnerUID)
	case t.OwnerUID != 0 && t.OwnerUID != caller:
		return fmt.Errorf("owner is uid %d, neither root nor the caller", t.OwnerUID)
	case t.Mode&0o022 != 0:
		return fmt.Errorf("mode %04o lets others write it", t.Mode&0o7777)
	case t.WritableByOthers:
		return errors.New("others can replace it through a directory above it")
	}
	return nil
}

// grants: what this file trusts can open more than the caller has.
func (t TrustFile) grants(caller uint32) bool {
	return t.Source == System || t.Source == Own && caller == 0
}

// finding is what the trust files say of one signature.
type finding struct {
	match   *allowed.Match
	by      TrustFile
	reasons []error // why not, or why not more
}

// lookUp asks every file about s as claimed, at the times given. It is found if
// one file trusts it and no Extra one does not.
func lookUp(files []trustFile, s signature, claim string, times []time.Time) finding {
	q := allowed.Query{Key: s.Key, Principal: claim, Namespace: s.Namespace, Times: times}
	var found finding
	for _, f := range files {
		m, err := f.find(q)
		switch {
		case err == nil && found.match == nil:
			found.match, found.by = m, f.TrustFile
		case err != nil && f.Source == Extra:
			return finding{reasons: []error{err}}
		case err != nil:
			found.reasons = append(found.reasons, err)
		}
	}
	found.reasons = telling(found.reasons, files)
	return found
}

func (f *trustFile) find(q allowed.Query) (*allowed.Match, error) {
	m, err := f.file.Find(q)
	if f.err != nil {
		err = f.err
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", f.Path, err)
	}
	return m, nil
}

// telling are the reasons of files that do say something about the key, or, where
// none does, that.
func telling(reasons []error, files []trustFile) []error {
	reasons = slices.DeleteFunc(reasons, func(err error) bool { return errors.Is(err, ErrUnknownSigner) })
	if len(reasons) > 0 {
		return reasons
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, fmt.Sprintf("%q", f.Path))
	}
	if len(paths) == 0 {
		return []error{fmt.Errorf("%w: no trust file", ErrUnknownSigner)}
	}
	return []error{fmt.Errorf("%w: not listed in %s", ErrUnknownSigner, strings.Join(paths, ", "))}
}

// join is one error of several, on one line.
func join(errs []error) error {
	var all error
	for n, err := range errs {
		if n == 0 {
			all = err
			continue
		}
		all = fmt.Errorf("%w; %w", all, err)
	}
	return all
}
