package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// errInterrupted: somebody ended the prompt by a signal.
var errInterrupted = errors.New("interrupted")

// Passphrase asks for the passphrase of a key, on the terminal or by the
// program that SSH_ASKPASS names; SSH_ASKPASS_REQUIRE prefers or forbids the
// latter (ssh(1), ENVIRONMENT).
func Passphrase(what string) ([]byte, error) {
	prompt := fmt.Sprintf("passphrase for %s: ", Printable(what))
	how := os.Getenv("SSH_ASKPASS_REQUIRE")
	if (how == "force" || how == "prefer") && os.Getenv("SSH_ASKPASS") != "" {
		return askpass(prompt)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil && how == "never" {
		return nil, errors.New("nobody can be asked for a passphrase: there is no terminal")
	}
	if err != nil {
		return askpass(prompt)
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	defer fmt.Fprintln(tty)
	return hidden(tty)
}

// hidden reads a line that the terminal does not show. A signal that would end
// the program ends the prompt instead, so that the terminal shows again what is
// typed next.
func hidden(tty *os.File) ([]byte, error) {
	was, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return nil, err
	}
	type answer struct {
		line []byte
		err  error
	}
	signals, answers := make(chan os.Signal, 1), make(chan answer, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		line, err := term.ReadPassword(int(tty.Fd()))
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-signals:
		return nil, errors.Join(errInterrupted, term.Restore(int(tty.Fd()), was))
	}
}

func askpass(prompt string) ([]byte, error) {
	program := os.Getenv("SSH_ASKPASS")
	if program == "" {
		return nil, errors.New("nobody can be asked for a passphrase: there is no terminal and no SSH_ASKPASS")
	}
	out, err := exec.Command(program, prompt).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return []byte(strings.TrimRight(string(out), "\r\n")), nil
}
