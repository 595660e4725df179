package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
	"github.com/ckptool/ckpt/test/harness"
)

func TestMain(m *testing.M) {
	harness.WithoutCgo()
	if err := harness.Seclude(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){"rstr": main, "rstr-spying": spying})
}

// The scripts run the program itself. Whole restores are tested in test/e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ends": ends, "image": newImage},
	})
}

// ends runs a command that must end with a code: ends CODE COMMAND...
func ends(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("it ended with %d, not %d", code, want)
	}
}

// newImage writes an image whose tree makes no sense, so that it can't be
// restored by mistake: image FILE unsigned|trusted|stranger|failed [TERM...]
// with terms such as made=1h (from now), until=-1h, for=HOST, serial=2, attested-by=KEY.
func newImage(ts *testscript.TestScript, _ bool, args []string) {
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	if args[1] == "failed" {
		ts.Check(w.Fail("a socket of process 17"))
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
		return
	}
	tree, err := image.Marshal(&kind.Tree{Tasks: []kind.TaskNode{{ID: 1, PID: 4001, Comm: []byte("x")}, {ID: 1, PID: 4001, Comm: []byte("x")}}})
	ts.Check(err)
	m := &image.Manifest{Header: image.Header{Class: image.ClassSelf, Created: 1700000000, Arch: "amd64"}, PIDs: image.PIDs{4001}, Tree: tree}
	terms(ts, &m.Header, args[2:])
	ts.Check(w.Close(m, signature(ts, args[1], &m.Header)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

func terms(ts *testscript.TestScript, h *image.Header, list []string) {
	for _, term := range list {
		name, value, _ := strings.Cut(term, "=")
		switch name {
		case "made", "until":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			*map[string]*int64{"made": &h.Created, "until": &h.NotAfter}[name] = time.Now().Add(d).Unix()
		case "for":
			h.Audience = value
		default:
			h.Options = map[string]string{name: value}
		}
	}
}

func signature(ts *testscript.TestScript, who string, h *image.Header) func([]byte) ([][]byte, error) {
	if who == "unsigned" {
		return nil
	}
	p := sign.Places{Home: ts.Getenv("HOME")}
	key := ts.MkAbs("key-" + who)
	if who == "trusted" {
		key = ""
		_, err := sign.MakeDefault(p, "me@here")
		ts.Check(err)
	} else {
		_, err := sign.Keygen(key, "stranger", nil)
		ts.Check(err)
	}
	s, err := sign.Open(key, sign.Options{Class: sshsig.Operator, Principal: "me@here", Places: p})
	ts.Check(err)
	h.Signer, h.Class = s.Claim(), s.Class().String()
	return func(m []byte) ([][]byte, error) { return sign.All(m, s) }
}
