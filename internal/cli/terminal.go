package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"
)

// IsTerminal says whether a descriptor is one.
func IsTerminal(fd int) bool { return term.IsTerminal(fd) }

// Passphrase asks for the passphrase of a key, on the terminal or by the
// program that SSH_ASKPASS names (ssh(1)).
func Passphrase(what string) ([]byte, error) {
	prompt := fmt.Sprintf("passphrase for %s: ", what)
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return askpass(prompt)
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	defer fmt.Fprintln(tty)
	return term.ReadPassword(int(tty.Fd()))
}

func askpass(prompt string) ([]byte, error) {
	program := os.Getenv("SSH_ASKPASS")
	if program == "" {
		return nil, errors.New("nobody can be asked for a passphrase: there is no terminal and no SSH_ASKPASS")
	}
	out, err := exec.Command(program, prompt).Output()
	return []byte(strings.TrimRight(string(out), "\r\n")), err
}
