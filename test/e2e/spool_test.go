package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
	"github.com/ckptool/ckpt/test/harness"
)

// pausable lets alice dump and restore two set-user-id programs of the administrator's list.
const pausable = `version = 1
[[dump]]
name = "listed"
users = ["alice"]
of = ["alice"]
programs = ["BIN/suid-counter", "BIN/suid-threads"]
`

// newSpool is an office whose administrator lets alice pause programs, with a ckpt that is installed set-user-id root, a key for the host, and the
// rules of the policy.
func newSpool(t *testing.T) (o *office, tool, rules string) {
	t.Helper()
	o = newOffice(t)
	if res := o.run(harness.Superuser, o.install("ckpt", "ckpt", 0o755), "keygen", "--host"); !res.OK() {
		t.Fatal(res)
	}
	restore := strings.NewReplacer("ops@test", "*", `"operator"]`, `"host"]`+"\nprograms = [\"BIN/suid-counter\", \"BIN/suid-threads\"]", "version = 1\n", "", "replay = true\n", "").Replace(asRoot)
	rules = strings.ReplaceAll(pausable+restore, "BIN", o.Bin)
	o.etc("policy.toml", rules)
	return o, o.install("ckpt", "ckpt-suid", 0o755|os.ModeSetuid), rules
}

// TestPausedSetuid is Hallyn's case: a user runs a set-user-id program, has it written into the spool, and back with the rights that it had. The
// kernel would let her do none of it; the administrator's list of programs, the host's signature and the policy do. Whatever is not as it was
// signed and listed is refused.
func TestPausedSetuid(t *testing.T) {
	t.Parallel()
	o, tool, rules := newSpool(t)
	plain := o.install("ckpt", "ckpt", 0o755)
	for _, name := range []string{"counter", "threads"} {
		t.Run(name, func(t *testing.T) {
			o := &office{&world{o.World, t}, o.key, o.suid}
			o.pause(tool, plain, name)
			o.changed(tool, name)
			o.forged(tool, name)
		})
	}
	t.Run("not listed", func(t *testing.T) {
		o := &office{&world{o.World, t}, o.key, o.suid}
		j := o.setuid("tree")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "suid-tree", "none of its programs")
		eves := o.begin(harness.Eve, "counter")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(eves.pid)), cli.Refused, "whose processes it does not name")
		o.etc("policy.toml", strings.Replace(rules, "programs", "#", 1))
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "lists no programs")
		o.etc("policy.toml", "version = 1\n")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), cli.Refused, "no dump rule")
		refusal(t, o.run(harness.Alice, plain, "--spool", "--kill", strconv.Itoa(j.pid)), cli.NotAllowed, "set-user-id root")
		refusal(t, o.run(harness.Alice, tool, "--spool", strconv.Itoa(j.pid)), cli.Usage, "--kill")
		refusal(t, o.run(harness.Alice, tool, "--spool", "--kill", "-o", "/tmp/x", strconv.Itoa(j.pid)), cli.Usage, "--spool")
		j.goesOn(2)
		eves.goesOn(2)
	})
}

func (o *office) pause(tool, plain, name string) {
	t := o.t
	j := o.setuid(name)
	pid := strconv.Itoa(j.pid)
	may := mayDo(t, j.pid)
	for _, ckpt := range []string{plain, tool} {
		refusal(t, o.run(harness.Alice, ckpt, "--kill", "-o", filepath.Join(filepath.Dir(j.status), "hers"), pid), cli.NotAllowed, "with the rights of user root")
	}
	j.goesOn(2)
	in := o.spooled(tool, j)
	file := "/var/lib/ckpt/spool/" + strings.TrimPrefix(in, "spool:")
	if res := o.run(harness.Alice, "/bin/cat", file); res.OK() || res.Stdout != "" {
		t.Errorf("alice can read the image: %.200v", res)
	}
	// Who is not its caller, has no authority lent, or wants others' rights by it.
	refusal(t, o.run(harness.Eve, o.suid, "--detach", in), cli.NotAllowed, "somebody else")
	if res := o.run(harness.Alice, o.rstr("rstr", 0o755), "--detach", in); res.OK() {
		t.Errorf("a plain rstr: %v", res)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", "--uidmap", "0:20002", in), cli.Refused, "uid:20002")
	o.spoiled(file, in, func(b []byte) []byte { b[len(b)-2000] ^= 1; return b })
	o.spoiled(file, in, func(b []byte) []byte { return b[:len(b)-100] })
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", in); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 3)
	if now := mayDo(t, j.pid); !maps.Equal(now, may) {
		t.Errorf("it may do %v, and did %v", now, may)
	}
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	res := o.run(harness.Alice, o.suid, "--detach", in)
	if res.OK() || !strings.Contains(res.Stderr, "already restored") {
		t.Errorf("a second time: %v", res)
	}
}

// changed: a program that is no longer the file that lent the rights gets nothing back, whatever of it is another. Nothing of that uses up the image.
func (o *office) changed(tool, name string) {
	t := o.t
	j := o.setuid(name)
	in := o.spooled(tool, j)
	program := filepath.Join(o.Bin, "suid-"+name)
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(words ...string) {
		t.Helper()
		refusal(t, o.run(harness.Alice, o.suid, "--detach", in), cli.HostDiffers, append(words, program)...)
		if harness.Exists(j.pid) {
			t.Fatal("it is there")
		}
	}
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(program, mode); err != nil {
			t.Fatal(err)
		}
	}
	chown := func(id int) { // which takes the bit away
		t.Helper()
		if err := os.Chown(program, id, id); err != nil {
			t.Fatal(err)
		}
		chmod(info.Mode())
	}
	rewrite := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(program, b, 0); err != nil {
			t.Fatal(err)
		}
		chmod(info.Mode())
		if err := os.Chtimes(program, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o755)
	refused("permissions 04755 -> 0755")
	chmod(info.Mode())
	chown(harness.Eve.ID)
	refused("owner 0 -> 20002", "group 0 -> 20002")
	chown(0)
	swap(t, program, func() error { return alike(program, program+".own", string(content)) }, func() { refused("inode") })
	other := slices.Clone(content)
	other[len(other)-1] ^= 1
	rewrite(other)
	refused("content sha256:")
	rewrite(content)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", in); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
}

// spooled has alice dump a job into the spool.
func (o *office) spooled(tool string, j *job) (name string) {
	o.t.Helper()
	tree := harness.Tree(j.pid)
	res := o.run(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid))
	if name = strings.TrimSpace(res.Stdout); !res.OK() || !strings.HasPrefix(name, "spool:"+strconv.Itoa(harness.Alice.ID)+"-") {
		o.t.Fatal(res)
	}
	if err := harness.WaitGone(patience, tree...); err != nil {
		o.t.Fatal(err)
	}
	return name
}

// forged: who puts another image in the place of one in the spool, with the same content and another signature or none, gets nothing by it.
func (o *office) forged(tool, name string) {
	t := o.t
	j := o.setuid(name)
	in := o.spooled(tool, j)
	path := filepath.Join(o.Var, "lib/ckpt/spool", strings.TrimPrefix(in, "spool:"))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(o.Dir, "stranger-"+name)
	o.keygen(stranger)
	for _, c := range []struct {
		what  string
		image []byte
		code  int
		words []string
	}{
		{"the signature taken off", resigned(t, whole, "", ""), cli.BadSign, []string{"signature missing that the image claims", "class host"}},
		{"unsigned", resigned(t, whole, "", "self"), cli.Refused, []string{"the image is not signed", "uid:0"}},
		{"signed by nobody who is trusted here", resigned(t, whole, stranger, "host"), cli.Refused, []string{"signer not trusted here", "allowed_signers", "uid:0"}},
		{"signed for this host by an operator's key", resigned(t, whole, o.key, "host"), cli.Refused, []string{"allowed_signers", "uid:0"}},
		{"signed by an operator", resigned(t, whole, o.key, "operator"), cli.Refused, []string{"class operator is not among its classes", "uid:0"}},
	} {
		if err := os.WriteFile(path, c.image, 0o600); err != nil {
			t.Fatal(err)
		}
		res := o.run(harness.Alice, o.suid, "--detach", in)
		refusal(t, res, c.code, c.words...)
		if harness.Exists(j.pid) {
			t.Fatalf("%s: it is there", c.what)
		}
	}
	// What a ckpt leaves that was killed before it could sign is root's to restore, and nobody else's.
	if err := os.WriteFile(path+".unsigned", resigned(t, whole, "", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", in+".unsigned"), cli.Failure, "no name of an image")
	rewind := j.rewinds()
	rstr, left := o.rstr("rstr", 0o755), "/var/lib/ckpt/spool/"+filepath.Base(path)+".unsigned"
	refusal(t, o.run(harness.Superuser, rstr, "--detach", left), cli.BadSign, "signature missing")
	if res := o.run(harness.Superuser, rstr, "--detach", "--trust-unsigned", left); !res.OK() {
		t.Fatal(res)
	}
	j.goesOn(2)
	if err := harness.KillTree(j.pid); err != nil {
		t.Fatal(err)
	}
	rewind()
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	refusal(t, o.run(harness.Alice, o.suid, "--detach", in), cli.Consumed, "already restored")
	if harness.Exists(j.pid) {
		t.Fatal("it is there")
	}
}

// resigned is an image that claims to be signed by the owner of a key, in a class, and is; without a key it has no signature, and claims what it did
// unless a class is named.
func resigned(t *testing.T, whole []byte, key, class string) []byte {
	t.Helper()
	o := &original{data: whole}
	m := o.decode(t)
	for _, b := range m.Blobs {
		raw, err := o.reader.ReadBlob(b, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		o.blobs = append(o.blobs, raw)
	}
	if class != "" {
		m.Header.Signer, m.Header.Class = "", class
	}
	var signers []*sign.Signer
	if key != "" {
		c, _ := sshsig.ClassNamed(class)
		s, err := sign.Open(key, sign.Options{Class: c})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		signers, m.Header.Signer = []*sign.Signer{s}, s.Claim()
	}
	var out bytes.Buffer
	w := image.NewWriter(&out, image.Options{})
	for i, b := range m.Blobs {
		if _, err := w.Blob(source{o.blobs[i], b.Extents}, b.Extents); err != nil {
			t.Fatal(err)
		}
	}
	fresh := &image.Manifest{Header: m.Header, PIDs: m.PIDs, Tree: m.Tree, Records: m.Records}
	if err := w.Close(fresh, func(b []byte) ([][]byte, error) { return sign.All(b, signers...) }); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSpoolKilled: whenever ckpt is killed, the image in the spool is signed only of a tree that is dead; and a tree that is dead has an image.
func TestSpoolKilled(t *testing.T) {
	t.Parallel()
	o, tool, _ := newSpool(t)
	spool := filepath.Join(o.Var, "lib/ckpt/spool")
	// images are those of the spool, by whether they have a signature.
	images := func() (signed, unsigned int) {
		files, _ := filepath.Glob(spool + "/*")
		for _, path := range files {
			b, err := os.ReadFile(path)
			if err != nil {
				continue // it was given its name
			}
			r, err := image.Open(bytes.NewReader(b), int64(len(b)))
			switch {
			case err == nil && len(r.Signatures()) > 0:
				signed++
			case err == nil && strings.HasSuffix(path, ".unsigned"):
				unsigned++
			case err == nil:
				t.Errorf("%s has no signature", path)
			}
		}
		return signed, unsigned
	}
	outcomes := map[string]int{}
	for i := range 24 {
		j := o.setuid("counter")
		pid, end, err := shared.reaper.Start(o.As(harness.Alice, tool, "--spool", "--kill", strconv.Itoa(j.pid)), os.ProcAttr{Dir: "/", Files: make([]*os.File, 3)})
		if err != nil {
			t.Fatal(err)
		}
		// At any moment, or as soon as there is an image, or one that is signed.
		limit := time.Now().Add(20*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond))))
		for harness.Exists(pid) {
			if files, _ := filepath.Glob(spool + "/*"); i%3 == 0 && time.Now().After(limit) || i%3 == 1 && len(files) > 0 ||
				i%3 == 2 && len(files) > 0 && !strings.HasSuffix(files[0], ".unsigned") {
				break
			}
		}
		_ = harness.Signal(pid, syscall.SIGKILL)
		<-end
		signed, unsigned := images()
		lives := harness.Exists(j.pid)
		outcomes[fmt.Sprintf("lives: %v, signed: %d, unsigned: %d", lives, signed, unsigned)]++
		switch {
		case lives && signed > 0:
			t.Error("the tree lives, and there is an image of it that could be restored")
		case !lives && signed+unsigned == 0:
			t.Error("the tree is dead, and there is no image of it")
		case lives:
			j.goesOn(2)
		}
		j.end()
		if err := os.RemoveAll(spool); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(outcomes)
}

// TestInputsChanged: a program that may be paused had read files of the administrator's. If one of them is another since, what it knows is no
// longer so, and it gets nothing back; nor where the image doesn't say what it held.
func TestInputsChanged(t *testing.T) {
	t.Parallel()
	o, tool, rules := newSpool(t)
	with := func(dump, restore string) {
		o.etc("policy.toml", strings.NewReplacer("[[dump]]\n", "[[dump]]\ninputs = ["+dump+"]\n", "[[restore]]\n", "[[restore]]\ninputs = ["+restore+"]\n").Replace(rules))
	}
	j := o.setuid("counter")
	kill := []string{tool, "--spool", "--kill", strconv.Itoa(j.pid)}
	with(`"/etc/passwd", "/etc/none", "/var/tmp/hers"`, "")
	if res := o.run(harness.Alice, "/bin/sh", "-c", "echo hers >/var/tmp/hers"); !res.OK() {
		t.Fatal(res)
	}
	refusal(t, o.run(harness.Alice, kill...), cli.Failure, "input /var/tmp/hers", "somebody else than root")
	j.goesOn(2)
	with(`"/etc/passwd", "/etc/none"`, `"/etc/passwd"`)
	in := o.spooled(tool, j)
	refused := func(word string) {
		t.Helper()
		refusal(t, o.run(harness.Alice, o.suid, "--detach", in), cli.Refused, word)
		if harness.Exists(j.pid) {
			t.Fatal("it is there")
		}
	}
	o.edit("passwd", func(s string) string { return s + "mallory:x:0:0::/:/bin/sh\n" })
	refused(`"/etc/passwd", which the program had read, does not hold what it did`)
	o.edit("passwd", func(s string) string { return strings.TrimSuffix(s, "mallory:x:0:0::/:/bin/sh\n") })
	if err := os.WriteFile(filepath.Join(o.Etc, "none"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(`"/etc/none", which the program had read`)
	if err := os.Remove(filepath.Join(o.Etc, "none")); err != nil {
		t.Fatal(err)
	}
	with("", `"/etc/passwd", "/etc/group"`)
	refused("does not say what /etc/group held")
	with("", `"/etc/passwd"`)
	was := j.progress().Seq
	if res := o.run(harness.Alice, o.suid, "--detach", in); !res.OK() {
		t.Fatal(res)
	}
	j.reach(was + 2)
}

// spoiled has the image in the spool changed by root for a moment: rstr refuses it.
func (o *office) spoiled(file, name string, change func([]byte) []byte) {
	o.t.Helper()
	path := filepath.Join(o.Var, strings.TrimPrefix(file, "/var"))
	whole, err := os.ReadFile(path)
	if err != nil {
		o.t.Fatal(err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	write(change(append([]byte(nil), whole...)))
	if res := o.run(harness.Alice, o.suid, "--detach", name); res.Code() != cli.BadImage && res.Code() != cli.BadSign {
		o.t.Errorf("a spoiled image: %v", res)
	}
	write(whole)
}
