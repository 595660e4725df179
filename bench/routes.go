package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ckptool/ckpt/test/harness"
)

// routesName is what -only calls the part about ways to PIDs.
const routesName = "routes to PIDs"

// routeUser is an ordinary user, who needs no name.
const routeUser = 12345

// byRoute are the ways to the PIDs of a user's tree: the options of rstr, and the capability that the first of them takes.
var byRoute = []struct {
	name string
	caps string
	args []string
}{
	{"here", ",+checkpoint_restore", []string{"--pids"}},
	{"pidns", "", []string{"--pidns"}},
	{"none", "", []string{"--no-pids"}},
}

// routeRow is a line of the table: how long a restore takes by each route, and how long the reservation does by the first.
type routeRow struct {
	name     string
	restore  [3]time.Duration
	reserved time.Duration
}

// routes measures what each way to PIDs costs an ordinary user. The routes take turns.
func (b *bench) routes(out io.Writer) error {
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return err
	}
	var rows []routeRow
	for _, c := range []testcase{
		{name: "static counter", argv: b.fixture("counter")},
		{name: "25 processes", argv: b.fixture("load"), extra: []string{"processes", "24"}},
		{name: "100 processes", argv: b.fixture("load"), extra: []string{"processes", "99"}},
		{name: "100 threads", argv: b.fixture("load"), extra: []string{"threads", "99"}},
	} {
		r, err := b.byRoutes(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, r)
	}
	if err := printRoutes(out, rows); err != nil {
		return err
	}
	return printGoals(out, rows)
}

func printRoutes(out io.Writer, rows []routeRow) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "a user's tree\trestore here\tnumbers reserved\t--pidns\tadds\t--no-pids\tadds\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.name, us(r.restore[0]), us(r.reserved), us(r.restore[1]), us(r.restore[1]-r.restore[0]),
			us(r.restore[2]), us(r.restore[2]-r.restore[0]))
	}
	return t.Flush()
}

// printGoals holds the rows against what the project promises of the ways to PIDs.
func printGoals(out io.Writer, rows []routeRow) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "of PIDs\tis to take less than\ttook\t")
	goal := func(what string, most, took time.Duration) {
		said := "yes"
		if took >= most {
			said = "no"
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%s\n", what, most, us(took), said)
	}
	for _, r := range rows {
		small := strings.HasPrefix(r.name, "static")
		if strings.HasPrefix(r.name, "100 ") {
			goal("to reserve those of "+r.name, 3*time.Millisecond, r.reserved)
		}
		if small {
			goal("to restore "+r.name+" by --pidns and not here, more", 10*time.Millisecond, r.restore[1]-r.restore[0])
			goal("to restore "+r.name+" by --no-pids and not here, more", 2*time.Millisecond, r.restore[2]-r.restore[0])
		}
	}
	return t.Flush()
}

// asRouteUser is a command line as the user.
func asRouteUser(caps string, argv ...string) []string {
	id := strconv.Itoa(routeUser)
	return append([]string{lookPath("setpriv"), "--reuid=" + id, "--regid=" + id, "--clear-groups", "--inh-caps=-all" + caps, "--ambient-caps=-all" + caps}, argv...)
}

func (b *bench) byRoutes(c testcase) (r routeRow, err error) {
	r.name = c.name
	argv, err := c.argv()
	if err != nil {
		return r, err
	}
	c.argv = func() ([]string, error) { return asRouteUser("", argv...), nil }
	t, err := b.startAs(c, routeUser)
	if err != nil {
		return r, err
	}
	defer func() { _ = harness.KillTree(t.pid) }()
	image := filepath.Join(filepath.Dir(t.status), "image.ckpt")
	tree := harness.Tree(t.pid)
	if _, err := b.command("ckpt", "--kill", "-o", image, strconv.Itoa(t.pid)); err != nil {
		return r, err
	}
	if err := os.Chown(image, routeUser, routeUser); err != nil {
		return r, err
	}
	status, err := os.ReadFile(t.status)
	if err != nil {
		return r, err
	}
	var took [3][]time.Duration
	var reserved []time.Duration
	for range b.runs {
		for i := range byRoute {
			if err := harness.WaitGone(time.Minute, tree...); err != nil {
				return r, err
			}
			// The same image once more: the target reports again what it has reported.
			if err := os.WriteFile(t.status, status, 0o600); err != nil {
				return r, err
			}
			wall, reserving, err := b.byRoute(t, i, image)
			if err != nil {
				return r, err
			}
			took[i] = append(took[i], wall)
			if i == 0 {
				reserved = append(reserved, reserving)
			}
		}
	}
	for i := range took {
		r.restore[i] = median(took[i])
	}
	r.reserved = median(reserved)
	return r, nil
}

var (
	routeRoot     = regexp.MustCompile(`root (\d+)[ ,]`)
	routeReserved = regexp.MustCompile(`reserved in (\S+)`)
)

// byRoute restores the tree by one route, and ends it again.
func (b *bench) byRoute(t *target, i int, image string) (wall, reserved time.Duration, err error) {
	rstr := append([]string{filepath.Join(b.Bin, "rstr"), "--detach", "-v"}, byRoute[i].args...)
	res, err := b.reaper.Run(harness.Command{Argv: asRouteUser(byRoute[i].caps, append(rstr, image)...), Dir: "/",
		Env: []string{"HOME=" + filepath.Dir(t.status)}})
	if err != nil {
		return 0, 0, err
	}
	root, within := routeRoot.FindStringSubmatch(res.Stderr), routeReserved.FindStringSubmatch(res.Stderr)
	if !res.OK() || root == nil || within == nil {
		return 0, 0, fmt.Errorf("%v", res)
	}
	if t.pid, err = strconv.Atoi(root[1]); err != nil {
		return 0, 0, err
	}
	if reserved, err = time.ParseDuration(within[1]); err != nil {
		return 0, 0, err
	}
	if err := t.goesOn(); err != nil {
		return 0, 0, err
	}
	return res.Took, reserved, harness.KillTree(t.pid)
}
