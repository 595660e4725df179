package cli

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
)

// LogTo has every message appended to a file as well, with its time.
func (s *Speaker) LogTo(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		s.Log = f
	}
	return err
}

// Home is the caller's home directory: what HOME says, else what the user
// database does, since cron and systemd set no HOME.
func Home() (string, error) {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return home, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(u.HomeDir) {
		return "", errors.New("neither HOME nor the user database names a home directory")
	}
	return u.HomeDir, nil
}
