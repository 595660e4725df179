package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptool/ckpt/pkg/verify"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// of finds the file of one source; the system's may be there as well.
func of(files []verify.TrustFile, source verify.Source) (texts []string) {
	for _, f := range files {
		if f.Source == source {
			texts = append(texts, string(f.Bytes))
		}
	}
	return texts
}

func TestReadTrust(t *testing.T) {
	home := t.TempDir()
	trust, err := ReadTrust(home, "", "")
	if err != nil || len(of(trust.Files, verify.Own)) != 0 {
		t.Errorf("without files: %v, %v", trust, err)
	}
	write(t, filepath.Join(home, ".config/ckpt/allowed_signers"), "mine")
	write(t, filepath.Join(home, ".config/ckpt/revoked_keys"), "gone")
	write(t, filepath.Join(home, "xdg/ckpt/allowed_signers"), "elsewhere")
	write(t, filepath.Join(home, "extra"), "more")
	trust, err = ReadTrust(home, "relative", filepath.Join(home, "extra"))
	if err != nil {
		t.Fatal(err)
	}
	if own, extra := of(trust.Files, verify.Own), of(trust.Files, verify.Extra); len(own) != 1 || own[0] != "mine" || len(extra) != 1 || extra[0] != "more" {
		t.Errorf("own %q, extra %q", own, extra)
	}
	found := false
	for _, r := range trust.Revoked {
		found = found || string(r.Bytes) == "gone" && r.Source == verify.Own
	}
	if !found {
		t.Errorf("revoked: %v", trust.Revoked)
	}
	trust, err = ReadTrust(home, filepath.Join(home, "xdg"), "")
	if own := of(trust.Files, verify.Own); err != nil || len(own) != 1 || own[0] != "elsewhere" {
		t.Errorf("own %q, %v", own, err)
	}
	if _, err := ReadTrust(home, "", filepath.Join(home, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named file that is not there: %v", err)
	}
}

// A directory that others may write to makes the file replaceable, unless it is sticky.
func TestReplaceable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "allowed_signers")
	write(t, path, "x")
	for mode, want := range map[os.FileMode]bool{0o755: false, 0o775: true, 0o777: true, 0o777 | os.ModeSticky: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		f, err := TrustFile(path, verify.Own)
		if err != nil || f.WritableByOthers != want {
			t.Errorf("%v: %v, %v", mode, f, err)
		}
	}
}
