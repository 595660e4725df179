package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

// A cage is this program as the first process of namespaces of its own, in which it forges images and has the installed rstr restore
// them. Many images go through one cage, since to make one takes longer than most restores. /tmp is a copy in there, in which nothing that
// an image does reaches anybody.
type cage struct {
	order     cageOrder
	originals []*original
	signer    *sign.Signer
	plain     map[string]rightsOf // by way, what a program that she starts by herself has
	box       int                 // how many copies of /tmp there were
}

// cageOrder is what a cage is to do.
type cageOrder struct {
	Originals        string // directory of images
	Key              string // of clerk@test, whose signature grants PIDs and nothing else
	Seed             uint64
	First, Step, End int // images First, First+Step and so on, below End
	Ways             []way
}

// way is who restores by which rstr.
type way struct {
	Name   string
	UID    uint32 // and group
	Groups []uint32
	Rstr   string
	Signed bool // the images are signed by the clerk
}

// trial is what became of an image.
type trial struct {
	Seed   uint64
	Way    string
	Code   int
	Reason string
	Did    string `json:",omitempty"` // to the image
	Wrong  string `json:",omitempty"`
}

// caged is the program in the cage. It ends when whoever has its standard input does.
func caged(orders string) int {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := cageRun(orders); err != nil {
		fmt.Println("cage:", err)
		return 1
	}
	fmt.Println("done")
	return 0
}

func cageRun(orders string) error {
	c := &cage{plain: map[string]rightsOf{}}
	b, err := os.ReadFile(orders)
	if err == nil {
		err = json.Unmarshal(b, &c.order)
	}
	if err == nil {
		err = c.furnish()
	}
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for i := c.order.First; i < c.order.End; i += c.order.Step {
		r, err := c.try(c.order.Seed + uint64(i))
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// boxes is where the copies of /tmp are kept, which only root can write to, and below it the true one.
const boxes = "/mnt"

func (c *cage) furnish() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("PID %d is not the first of a namespace", os.Getpid())
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := unix.Mount("boxes", boxes, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("%s: %w", boxes, err)
	}
	if err := os.Mkdir(boxes+"/true", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/tmp", boxes+"/true", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("the true /tmp: %w", err)
	}
	if err := c.load(); err != nil {
		return err
	}
	for _, w := range c.order.Ways {
		r, err := w.ownRights()
		if err != nil {
			return err
		}
		c.plain[w.Name] = r
	}
	return c.fresh()
}

func (c *cage) load() error {
	paths, err := filepath.Glob(filepath.Join(c.order.Originals, "*.ckpt"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		o, err := loaded(path)
		if err != nil {
			return err
		}
		c.originals = append(c.originals, o)
	}
	c.signer, err = sign.Open(c.order.Key, sign.Options{Class: sshsig.Operator, Principal: "clerk@test"})
	return err
}

// fresh puts a new copy in the place of /tmp.
func (c *cage) fresh() error {
	if c.box > 0 {
		if err := unix.Unmount("/tmp", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("the copy of /tmp: %w", err)
		}
		os.RemoveAll(c.room(""))
	}
	c.box++
	for _, dir := range []string{"", "up", "work"} {
		if err := os.Mkdir(c.room(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(c.room("up"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	how := fmt.Sprintf("lowerdir=%s/true,upperdir=%s,workdir=%s", boxes, c.room("up"), c.room("work"))
	if err := unix.Mount("box", "/tmp", "overlay", 0, how); err != nil {
		return fmt.Errorf("a copy of /tmp: %w", err)
	}
	return nil
}

func (c *cage) room(dir string) string { return filepath.Join(boxes, fmt.Sprint(c.box), dir) }

// try forges an image, has it restored, and looks at what is there then.
func (c *cage) try(seed uint64) (trial, error) {
	f := &forger{Rand: rand.New(rand.NewPCG(seed, 1)), others: c.originals}
	w, o := c.order.Ways[f.IntN(len(c.order.Ways))], c.originals[f.IntN(len(c.originals))]
	r := trial{Seed: seed, Way: w.Name}
	b, err := c.forge(f, o, w)
	if err != nil {
		return r, err
	}
	img := filepath.Join(boxes, "forged.ckpt")
	if err := os.WriteFile(img, b, 0o644); err != nil {
		return r, err
	}
	end, said, err := w.restore(img)
	if err != nil {
		return r, err
	}
	r.Code, r.Reason = end.code, reason(end.code, said)
	wrong := append(end.wrong(said), c.look(w, end.code == 0)...)
	if err := endAll(); err != nil {
		return r, err
	}
	files, err := c.lookAtFiles(w, end.code == 0)
	if wrong = append(wrong, files...); len(wrong) > 0 {
		r.Wrong = fmt.Sprintf("%s\nrstr says: %.1000s", strings.Join(wrong, "\n"), said)
		r.Did = fmt.Sprintf("%s: %s", o.name, strings.Join(f.did, "; "))
	}
	return r, err
}

// forge makes an image that asks for what its caller lacks.
func (c *cage) forge(f *forger, o *original, w way) ([]byte, error) {
	if !w.Signed {
		return o.forged(f.privileged, nil)
	}
	return o.forged(func(m *image.Manifest) {
		f.privileged(m)
		h := &m.Header
		h.Class, h.Signer, h.Audience = c.signer.Class().String(), c.signer.Claim(), "here.test"
		h.Ceiling = append(plan.AnyRestore(), "file", "own", "open-as", "rlimit", "sched", "oom", "label", "loosen", "ns", "cap:sys_admin", "cap:setuid")
	}, func(b []byte) ([][]byte, error) { return sign.All(b, c.signer) })
}

// restoreLimit is how long a restore may take on a machine that is busy.
const restoreLimit = 30 * time.Second

// ended is how an rstr ended.
type ended struct {
	code  int // -1: by a signal
	hangs bool
	rss   int64
}

// restore runs rstr in this way.
func (w way) restore(img string) (e ended, said string, err error) {
	out, err := os.OpenFile(filepath.Join(boxes, "said"), os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return e, "", err
	}
	defer out.Close()
	pid, err := w.start([]string{w.Rstr, "--detach", img}, out)
	if err != nil {
		return e, "", err
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	late := time.AfterFunc(restoreLimit, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	for who := 0; who != pid; { // orphans of the restore are its init's to reap
		if who, err = syscall.Wait4(-1, &status, 0, &usage); err != nil && err != syscall.EINTR {
			return e, "", err
		}
	}
	e = ended{code: status.ExitStatus(), hangs: !late.Stop(), rss: usage.Maxrss << 10}
	b, _ := os.ReadFile(out.Name())
	return e, string(b), err
}

// start runs a program as the caller of this way.
func (w way) start(argv []string, out *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/bin:/bin"},
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: w.UID, Gid: w.UID, Groups: w.Groups}}})
}

// wrong is what no rstr does, whatever the image says.
func (e ended) wrong(said string) (out []string) {
	documented := slices.ContainsFunc(cli.Codes(), func(c cli.CodeText) bool { return c.Code == e.code })
	switch {
	case e.hangs:
		out = append(out, "it hangs")
	case strings.Contains(said, "goroutine "), strings.Contains(said, "panic:"), !documented, e.code == cli.Usage:
		out = append(out, fmt.Sprintf("it crashes, or ends with an exit code without meaning, %d", e.code))
	}
	if e.rss > 1<<30 {
		out = append(out, fmt.Sprintf("it takes %d MiB", e.rss>>20))
	}
	return out
}

// others are all processes of the cage but for this one.
func others() []int {
	all, _ := os.ReadDir("/proc")
	var out []int
	for _, e := range all {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err == nil && pid > 1 {
			out = append(out, pid)
		}
	}
	return out
}

// endAll ends and reaps them.
func endAll() error {
	for end := time.Now().Add(restoreLimit); ; time.Sleep(time.Millisecond) {
		left := others()
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		reap()
		if time.Now().After(end) {
			return fmt.Errorf("processes %v can't be ended", left)
		}
	}
}

// reap waits for whoever is dead.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}

// reason is the sort of an answer: of a refusal the terms that were demanded, else the message without names and numbers.
func reason(code int, said string) string {
	switch code {
	case cli.OK:
		return "restored"
	case cli.Refused:
		if terms := refusedTerms(said); len(terms) > 0 {
			return "refused: " + strings.Join(terms, ", ")
		}
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(said, "rstr: "), "\n")
	return fmt.Sprintf("%d: %.120s", code, withoutNames(line))
}

func refusedTerms(said string) (terms []string) {
	for line := range strings.Lines(said) {
		demand, ok := strings.CutPrefix(line, "rstr:   ")
		if !ok {
			demand, ok = strings.CutPrefix(line, "  ")
		}
		demand, _, _ = strings.Cut(demand, " (")
		if d, err := plan.ParseDemand(demand); ok && err == nil && !slices.Contains(terms, d.Term) {
			terms = append(terms, d.Term)
		}
	}
	slices.Sort(terms)
	return terms
}

// withoutNames replaces what is quoted, and all numbers.
func withoutNames(s string) string {
	var out strings.Builder
	quoted, last := false, rune(0)
	for _, r := range s {
		switch {
		case r == '"' && last != '\\':
			quoted = !quoted
		case quoted:
		case r >= '0' && r <= '9' && (last >= '0' && last <= '9'):
		case r >= '0' && r <= '9':
			out.WriteByte('#')
		default:
			out.WriteRune(r)
		}
		last = r
	}
	return out.String()
}
