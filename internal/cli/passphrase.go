package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/ckptool/ckpt/internal/kernelio"
	"golang.org/x/sys/unix"
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
	defer fmt.Fprintln(tty)
	return hidden(tty, prompt)
}

// hidden reads a line that the terminal does not show, from the first letter
// after the prompt on. A signal that would end the program ends the prompt
// instead, so that the terminal shows again what is typed next.
func hidden(tty *os.File, prompt string) ([]byte, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	show, err := kernelio.HideTyping(int(tty.Fd()))
	if err != nil {
		return nil, err
	}
	defer show()
	fmt.Fprint(tty, prompt)
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(tty).ReadBytes('\n')
		answers <- answer{bytes.TrimRight(line, "\r\n"), err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-signals:
		return nil, errInterrupted
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
