// The architecture, as a test.
//
// The table below says which package may import which; a package that is not in it, or an import that its line does not
// name, fails here. Change the table only together with the reason beside it.
package ckpt_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ckptool/ckpt/"

// layer is one line of the import table: the packages of this module that pkg may name, and why it may name no others.
type layer struct {
	pkg string
	may []string
	why string
}

var layers = []layer{
	{"pkg/image", nil,
		"the format is a contract with other programs: it builds on any OS and knows no kernel, key or kind"},
	{"pkg/verify/sshsig", nil,
		"the signature codec is shared by signer and verifier and may drag neither into the other"},
	{"pkg/verify/allowed", []string{"pkg/verify/sshsig"},
		"reads trust files as text; what they are trusted for is verify's business"},
	{"pkg/verify/quote", nil,
		"the quote codec is shared by signer and verifier, as that of signatures is"},
	{"pkg/verify", []string{"pkg/image", "pkg/verify/sshsig", "pkg/verify/allowed", "pkg/verify/quote"},
		"a verdict is a pure function of bytes and facts"},
	{"pkg/sign", []string{"pkg/image", "pkg/verify/sshsig", "pkg/verify/quote"},
		"signing sees a manifest, never a process"},
	{"pkg/credmap", nil,
		"mapping identities is arithmetic; what it maps is typed, so it needs to know no record"},

	{"internal/abi", nil,
		"numbers and layouts of the kernel interface, true without anything of ours"},
	{"internal/plan", []string{"internal/abi"},
		"a plan is data: it can be printed, compared and judged without a kernel"},
	{"internal/kernelio", []string{"internal/abi"},
		"the only package that makes system calls has nothing above it to be confused by"},
	{"internal/inject", []string{"internal/abi", "internal/kernelio"},
		"runs calls in a stopped task and knows neither images nor kinds"},
	{"internal/calls", []string{"internal/abi", "internal/plan", "internal/kernelio", "internal/inject"},
		"runs the calls of plans, here or in a stopped task, for both engines; what they are for it does not know"},
	{"internal/kind", []string{"pkg/image", "pkg/credmap", "internal/plan", "internal/abi"},
		"what it is to support a resource is pure; the engines do the acting"},
	{"internal/kinds", []string{"internal/kind", "internal/plan", "internal/abi", "pkg/credmap", "pkg/image"},
		"a kind describes and plans; one that could make a system call would escape the ledger"},
	{"internal/dump", []string{"pkg/image", "internal/kind", "internal/plan", "internal/abi", "internal/kernelio",
		"internal/inject", "internal/calls", "pkg/credmap"},
		"the engine knows no kind by name, and a dump holds no key while it is attached to a target"},
	{"internal/policy", []string{"internal/plan", "pkg/credmap", "pkg/verify"},
		"yes or no is a pure function of needs, credentials and facts"},
	{"internal/host", []string{"internal/kernelio", "pkg/verify", "internal/abi", "internal/policy"},
		"facts of this host, gathered for judges that may not gather them"},
	{"internal/restore", []string{"pkg/image", "pkg/verify", "internal/kind", "internal/plan", "internal/abi",
		"internal/kernelio", "internal/inject", "internal/calls", "pkg/credmap", "internal/policy"},
		"the engine knows no kind by name and takes only what was verified"},
	{"internal/cli", []string{"pkg/image", "pkg/verify", "internal/kernelio"},
		"turns errors into messages and exit codes; it decides nothing"},
}

// open lists the packages whose imports are free, with the reason.
var open = []layer{
	{"cmd/ckpt", nil, "puts the parts together"},
	{"cmd/rstr", nil, "puts the parts together"},
	{"internal/kind/kindtest", nil, "a suite for tests, linked into no command (TestTestCodeStaysOut)"},
	{"test/harness", nil, "runs the built commands in tests and benchmarks, linked into no command"},
	{"test/e2e", nil, "tests only"},
	{"test/kernel", nil, "tests only"},
	{"test/vm", nil, "runs programs in virtual machines for tests, linked into no command"},
	{"test/vm/init", nil, "PID 1 of those machines"},
	{"bench", nil, "measures the built commands, linked into no command"},
}

// unreachable are the bans that hold through any number of imports.
var unreachable = []struct{ from, to, why string }{
	{"pkg/verify", "internal/kernelio", "a verdict that can ask the kernel can be raced"},
	{"pkg/credmap", "internal/kernelio", "a mapping depends on the map alone"},
	{"internal/plan", "internal/kernelio", "a plan does nothing"},
	{"internal/policy", "internal/kernelio", "a judgement depends on the facts it was given"},
	{"internal/kinds", "internal/kernelio", "a kind acts only through steps that name their needs"},
	{"internal/dump", "internal/kinds", "engines are tested with toy kinds and know none by name"},
	{"internal/restore", "internal/kinds", "engines are tested with toy kinds and know none by name"},
	{"internal/dump", "pkg/sign", "no key in the process's hands while it reads a target's memory"},
	{"cmd/rstr", "pkg/sign", "what runs with privilege on forged input holds no signing code"},
	{"cmd/rstr", "internal/dump", "rstr never reads a process"},
	{"cmd/ckpt", "internal/restore", "ckpt never builds one"},
	{"cmd/ckpt", "test/harness", "test code stays in tests"},
	{"cmd/rstr", "test/harness", "test code stays in tests"},
	{"cmd/ckpt", "internal/kind/kindtest", "test code stays in tests"},
	{"cmd/rstr", "internal/kind/kindtest", "test code stays in tests"},
}

// syscallers may call into syscall and x/sys/unix; everybody else may only name their constants and types.
var syscallers = []string{"internal/kernelio", "internal/inject", "test/harness", "test/vm/init", "bench"}

// harmless are functions of syscall and x/sys/unix that compute and never enter the kernel.
var harmless = []string{
	"BytePtrFromString", "BytePtrToString", "ByteSliceFromString", "ByteSliceToString", "CmsgLen", "CmsgSpace", "ErrnoName",
	"Major", "Minor", "Mkdev", "NsecToTimespec", "NsecToTimeval", "ParseSocketControlMessage", "ParseUnixRights", "SignalName",
	"SignalNum", "TimespecToNsec", "TimevalToNsec", "UnixRights",
}

// pkgInfo is the part of go list -json that the checks use.
type pkgInfo struct {
	ImportPath, Dir  string
	GoFiles, Imports []string
	IgnoredGoFiles   []string
	Deps             []string
	Error            *struct{ Err string }
}

func (p pkgInfo) short() string { return strings.TrimPrefix(p.ImportPath, module) }

// ours keeps the module's own packages of paths and cuts the module's name off.
func ours(paths []string) []string {
	var own []string
	for _, path := range paths {
		if name, ok := strings.CutPrefix(path, module); ok {
			own = append(own, name)
		}
	}
	return own
}

func goList(t *testing.T, args ...string) []pkgInfo {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-e", "-json"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	var list []pkgInfo
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkgInfo
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("reading what go list printed: %v", err)
		}
		list = append(list, p)
	}
}

// shipped are the module's packages with Go files outside tests.
func shipped(t *testing.T) []pkgInfo {
	return slices.DeleteFunc(goList(t, "./..."), func(p pkgInfo) bool { return len(p.GoFiles) == 0 })
}

func find(table []layer, pkg string) (layer, bool) {
	i := slices.IndexFunc(table, func(l layer) bool { return l.pkg == pkg })
	if i < 0 {
		return layer{}, false
	}
	return table[i], true
}

func TestImportTable(t *testing.T) {
	for _, p := range shipped(t) {
		if _, free := find(open, p.short()); free {
			continue
		}
		l, ok := find(layers, p.short())
		if !ok {
			t.Errorf("%s is not in the import table: add a line that says what it may import and why", p.short())
			continue
		}
		for _, imported := range ours(p.Imports) {
			if !slices.Contains(l.may, imported) {
				t.Errorf("%s imports %s: %s", l.pkg, imported, l.why)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	deps := map[string][]string{}
	for _, p := range shipped(t) {
		deps[p.short()] = ours(p.Deps)
	}
	for _, ban := range unreachable {
		if slices.Contains(deps[ban.from], ban.to) {
			t.Errorf("%s reaches %s: %s", ban.from, ban.to, ban.why)
		}
	}
}

func TestImportTableIsAcyclic(t *testing.T) {
	done := map[string]bool{}
	for len(done) < len(layers) {
		before := len(done)
		for _, l := range layers {
			if !slices.ContainsFunc(l.may, func(pkg string) bool { return !done[pkg] }) {
				done[l.pkg] = true
			}
		}
		if len(done) == before {
			t.Fatalf("the import table has a cycle or names a package without a line; resolved so far: %v", done)
		}
	}
}

// eachFile parses every non-test Go file of the module, those of other architectures included.
func eachFile(t *testing.T, visit func(pkg, name string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	for _, p := range shipped(t) {
		for _, name := range append(slices.Clone(p.GoFiles), p.IgnoredGoFiles...) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			visit(p.short(), name, f, fset)
		}
	}
}

func importPath(spec *ast.ImportSpec) string {
	path, _ := strconv.Unquote(spec.Path.Value)
	return path
}

func TestUnsafeLivesInItsFiles(t *testing.T) {
	eachFile(t, func(pkg, name string, f *ast.File, _ *token.FileSet) {
		for _, spec := range f.Imports {
			if importPath(spec) == "unsafe" && !isUnsafeFile(name) {
				t.Errorf("%s/%s imports unsafe; only *_unsafe.go may", pkg, name)
			}
		}
	})
}

// isUnsafeFile accepts x_unsafe.go and x_unsafe_amd64.go.
func isUnsafeFile(name string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".go"), "_amd64")
	return strings.HasSuffix(base, "_unsafe")
}

func TestNoInitAndNoBlankImports(t *testing.T) {
	eachFile(t, func(pkg, name string, f *ast.File, _ *token.FileSet) {
		for _, spec := range f.Imports {
			if spec.Name != nil && spec.Name.Name == "_" && importPath(spec) != "embed" {
				t.Errorf("%s/%s imports %s for its side effects", pkg, name, importPath(spec))
			}
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s/%s has func init: list things in plain functions", pkg, name)
			}
		}
	})
}

func TestOnlyTwoPackagesMakeSystemCalls(t *testing.T) {
	funcs := map[string]map[string]bool{
		"syscall":               exportedFuncs(t, "syscall"),
		"golang.org/x/sys/unix": exportedFuncs(t, "golang.org/x/sys/unix"),
	}
	eachFile(t, func(pkg, name string, f *ast.File, fset *token.FileSet) {
		if slices.Contains(syscallers, pkg) {
			return
		}
		for local, path := range localNames(f) {
			for _, sel := range selectors(f, local) {
				if funcs[path][sel.Sel.Name] && !slices.Contains(harmless, sel.Sel.Name) {
					t.Errorf("%s:%d: %s.%s: only %v make system calls", name, fset.Position(sel.Pos()).Line,
						local, sel.Sel.Name, syscallers[:2])
				}
			}
		}
	})
}

// oneThread are functions that change the credentials of the thread that calls them, and leave the other threads of a Go program as they were.
// Those of package syscall that change all would be found out by nobody: kernelio's wrappers ask /proc afterwards.
var oneThread = []string{"Setuid", "Setgid", "Seteuid", "Setegid", "Setreuid", "Setregid", "Setresuid", "Setresgid", "Setfsuid", "Setfsgid",
	"SetfsuidRetUid", "SetfsgidRetGid", "Setgroups", "Capset"}

func TestCredentialsChangeInAllThreads(t *testing.T) {
	eachFile(t, func(pkg, name string, f *ast.File, fset *token.FileSet) {
		for local, path := range localNames(f) {
			if path != "syscall" && path != "golang.org/x/sys/unix" {
				continue
			}
			for _, sel := range selectors(f, local) {
				if slices.Contains(oneThread, sel.Sel.Name) {
					t.Errorf("%s:%d: %s.%s: internal/kernelio has Drop, StepDown and TakeOn for that", name, fset.Position(sel.Pos()).Line, local, sel.Sel.Name)
				}
			}
		}
	})
}

// localNames maps the names a file uses for its imports to their paths.
func localNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		path := importPath(spec)
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

// selectors finds every pkg.X of f; X may be called or only taken as a value, which is a way to call it later.
func selectors(f *ast.File, pkg string) []*ast.SelectorExpr {
	var found []*ast.SelectorExpr
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == pkg {
				found = append(found, sel)
			}
		}
		return true
	})
	return found
}

// exportedFuncs are the names of a package's functions, read from its source; types and constants are not among them.
func exportedFuncs(t *testing.T, path string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, p := range goList(t, path) {
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.IsExported() {
					names[fn.Name.Name] = true
				}
			}
		}
	}
	if len(names) < 100 {
		t.Fatalf("found only %d functions in %s: the check would pass anything", len(names), path)
	}
	return names
}
