package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/policy"
	"github.com/ckptool/ckpt/internal/restore"
	"github.com/ckptool/ckpt/pkg/verify"
)

// forecast is what --plan shows, in words. Every string of it may hold what
// an image says.
type forecast struct {
	Image     string     `json:"image"` // digest of the manifest
	Signer    string     `json:"signer"`
	Trusted   bool       `json:"trusted"`
	Processes int        `json:"processes"`
	Threads   int        `json:"threads"`
	PIDs      string     `json:"pids"`                 // the route to them
	Instead   string     `json:"pids_since,omitempty"` // why a better one does not lead there
	Steps     []stepLine `json:"steps,omitempty"`
	Needs     []needLine `json:"needs"`
	Lost      []string   `json:"lost"`
	Host      []string   `json:"host"`
	OK        bool       `json:"ok"`
}

type stepLine struct {
	Stage  string `json:"stage"`
	Object string `json:"object"`
	Kind   string `json:"kind"`
	Text   string `json:"text"`
}

type needLine struct {
	Object  string   `json:"object"`
	Demand  string   `json:"demand"`
	Any     []string `json:"any,omitempty"`
	Why     string   `json:"why"`
	Granted bool     `json:"granted"`
	By      string   `json:"by,omitempty"`
	Nearest string   `json:"nearest,omitempty"`
}

// showPlan prints what a restore would do. It ends as the restore would have.
func (o *options) showPlan(img *verify.Image, file *os.File, size int64, s *streams) error {
	unfit, err := o.foreseeRoute(img, file, size)
	if err != nil {
		return err
	}
	ro, err := o.restoreOptions(img)
	if err != nil {
		return err
	}
	look, err := restore.Preview(img, ro)
	if err != nil {
		return err
	}
	f := forecastOf(look, img.Verdict(), s.speaker.Verbose)
	blocked := unfit
	if unfit != nil && o.route != restore.Namespace {
		f.Instead, blocked = unfit.Error(), nil
	}
	ledger := o.foresee(img, time.Now())
	for _, err := range []error{blocked, ledger} {
		if err != nil {
			f.Host, f.OK = append(f.Host, err.Error()), false
		}
	}
	if o.json {
		err = f.writeJSON(s.out)
	} else {
		err = f.write(s.out)
	}
	if err != nil {
		return err
	}
	for _, err := range []error{look.Err(), blocked} {
		if err != nil {
			return err
		}
	}
	return ledger
}

// foreseeRoute finds the route that a restore would take, and why none that
// comes before leads there. If no route does it is the last one.
func (o *options) foreseeRoute(img *verify.Image, file *os.File, size int64) (unfit, err error) {
	for _, r := range o.routes() {
		o.route = r
		if r != restore.Namespace {
			break
		}
		if unfit = o.tryNamespace(img, file, size); !errors.Is(unfit, errNoNamespace) {
			return nil, unfit
		}
	}
	return unfit, nil
}

func forecastOf(look *restore.Outlook, v verify.Verdict, all bool) *forecast {
	f := &forecast{Image: fmt.Sprintf("sha256:%x", v.Manifest), Signer: signer(v), Trusted: v.Trusted, Processes: look.Tasks,
		Threads: look.Threads, PIDs: look.Route.String(), Lost: texts(look.Lost), Host: texts(look.Host), Needs: []needLine{}, OK: look.Err() == nil}
	for _, w := range look.Decision.Wants {
		f.Needs = append(f.Needs, needLineOf(w))
	}
	if all {
		for _, st := range look.Steps {
			f.Steps = append(f.Steps, stepLine{st.Stage.String(), st.Object, st.Kind, st.Text})
		}
	}
	return f
}

func needLineOf(w policy.Judged) needLine {
	return needLine{Object: w.Object, Demand: w.Need.Demand, Any: w.Need.Any, Why: w.Need.Why, Granted: w.Granted, By: w.By, Nearest: w.Nearest}
}

func signer(v verify.Verdict) string {
	switch {
	case !v.Signed:
		return "nobody"
	case v.Signer == "":
		return v.Key
	}
	return v.Signer
}

func texts(errs []error) []string {
	out := []string{}
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

// writeJSON prints ASCII only, so that no string can steer a terminal.
func (f *forecast) writeJSON(w io.Writer) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", cli.ASCII(b))
	return err
}

// needLines are needs that differ in their object only.
type needLines struct {
	needLine
	more int
}

func (n *needLines) who() string {
	if n.Granted {
		return "granted by " + n.By
	}
	return "refused: " + n.Nearest
}

// together lists each demand once for the same reason and answer.
func (f *forecast) together() []*needLines {
	type key struct{ demand, why, answer string }
	var out []*needLines
	at := map[key]*needLines{}
	for _, n := range f.Needs {
		l := &needLines{needLine: n}
		k := key{n.Demand, n.Why, l.who()}
		if at[k] != nil {
			at[k].more++
			continue
		}
		at[k] = l
		out = append(out, l)
	}
	return out
}

// maxObject is how much of an object's name a table shows.
const maxObject = 80

func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// write prints tables for people, in which no string can steer a terminal.
func (f *forecast) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				io.WriteString(w, "\t")
			}
			io.WriteString(w, cli.Printable(fmt.Sprint(c)))
		}
		io.WriteString(w, "\n")
	}
	line("image", f.Image)
	line("signed by", f.Signer+map[bool]string{true: ", trusted", false: ", not trusted"}[f.Trusted])
	line("tree", fmt.Sprintf("%s, %s", cli.Count(f.Processes, "process"), cli.Count(f.Threads, "thread")))
	if f.Instead != "" {
		line("PIDs", f.PIDs, "since "+f.Instead)
	} else {
		line("PIDs", f.PIDs)
	}
	for _, s := range f.Steps {
		line("step", s.Stage, s.Object, s.Text)
	}
	for _, n := range f.together() {
		object := shortened(n.Object, maxObject)
		if n.more > 0 {
			object += fmt.Sprintf(" and %d more", n.more)
		}
		line("need", n.Demand, n.who(), object, n.Why)
	}
	for _, l := range f.Lost {
		line("lost", l)
	}
	for _, h := range f.Host {
		line("fails here", h)
	}
	return w.Flush()
}
