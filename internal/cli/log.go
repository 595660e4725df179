package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
// database does, since cron and systemd set no HOME. Who is in no database has
// none: noHome, as Debian has it for such users.
func Home() (string, error) {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return home, nil
	}
	// os/user reads /etc/passwd alone, and many users are elsewhere.
	c := exec.Command("/usr/bin/getent", "passwd", strconv.Itoa(os.Getuid()))
	c.Env, c.Dir = []string{}, "/"
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // getent(1): not found
		return noHome, nil
	}
	if err != nil {
		return "", fmt.Errorf("asking for the home of user %d: %w", os.Getuid(), err)
	}
	fields := strings.Split(string(out), ":")
	if len(fields) < 6 || !filepath.IsAbs(fields[5]) {
		return "", errors.New("neither HOME nor the user database names a home directory")
	}
	return fields[5], nil
}

const noHome = "/nonexistent"
