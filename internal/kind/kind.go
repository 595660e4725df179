package kind

import (
	"fmt"
	"io"

	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
)

// Kind is a Spec whose types are erased, as the engines use it. A site is a
// pointer to the struct of site.go that belongs to Site.
type Kind interface {
	Name() string
	Version() uint16
	Site() plan.Site
	Claims() bool
	// Always says that the kind contributes to every site of the sort: a
	// record that is not there was left out by whoever made the image.
	Always() bool
	Match(site any) bool
	Ask(site any) []plan.Call
	// Dump gives the record, encoded. It may return an *Unsupported.
	Dump(d Dump, site any, asked []plan.Result) ([]byte, error)
	// Prepare makes ahead of time what encoding the first record takes.
	Prepare()
	// Decode reads a body strictly and checks it; the result is a pointer to
	// the record.
	Decode(version uint16, body []byte) (any, error)
	Check(record any) error
	Plan(record any, h *Host) []plan.Step
}

// Table is the list of kinds that a program supports.
type Table []Kind

// Named finds a kind by the name that images use; nil if there is none.
func (t Table) Named(name string) Kind {
	for _, k := range t {
		if k.Name() == name {
			return k
		}
	}
	return nil
}

// Of lists the kinds of one site.
func (t Table) Of(site plan.Site) []Kind {
	var out []Kind
	for _, k := range t {
		if k.Site() == site {
			out = append(out, k)
		}
	}
	return out
}

// Dump is what a kind may ask of the engine while it makes a record.
type Dump interface {
	// File finds the description behind a descriptor of a task; 0 if the
	// task has none of that number.
	File(t *TaskSite, num int) FileRef
	// FileOf finds the description that tfd, as it was known to an epoll of
	// task t when it was added, stands for now: num is only where it was.
	// It compares with kcmp(2); 0 if no descriptor of the tree leads to it.
	EpollTarget(epoll *FileSite, num int, offset uint32) FileRef
	// InTree says whether pid is a task or thread of the tree.
	InTree(pid PID) bool
	// Content stores the bytes of an inode that the tool holds a readable
	// descriptor of, leaving out holes.
	Content(i *InodeSite) (BlobRef, error)
	// Blob stores any bytes. They are read when the image is written, at
	// the latest before the tree runs on.
	Blob(src io.ReaderAt, extents []image.Extent) (BlobRef, error)
}

// Host is what a plan may depend on beside its record.
type Host struct {
	Self   plan.Ref // the object that the record belongs to
	Caller Caller
	Kernel string // release, as uname -r shows it
	// Within resolves the object that contains this one: the address space
	// of a mapping, the task of a thread.
	Within plan.Ref
	// InTree says whether a recorded pid belongs to the tree.
	InTree func(PID) bool
	// Here: the image was made on this very host, where a file keeps its inode.
	Here bool
	// NoTerminal: rstr's controlling terminal is not for the tree, which may have
	// another user's rights.
	NoTerminal bool
	// Executed: the engine makes every address space by executing its file, which
	// gives it the link to that; no kind is to see to it.
	Executed bool
	// NoMapFiles: links in map_files can't be opened here.
	NoMapFiles bool
}

// Unsupported says that something can't be saved, in the words that a user
// needs. The engine collects all of them before it gives up.
type Unsupported struct {
	Object string // "fd 7 of 4242 (python3)"; empty: the engine fills it in
	Why    string // "an established TCP connection to 10.0.0.1:22"
	Hint   string // what the user could do
}

func (u *Unsupported) Error() string {
	if u.Object == "" {
		return u.Why
	}
	return u.Object + ": " + u.Why
}

// Unsupportedf makes an Unsupported without a hint.
func Unsupportedf(format string, a ...any) error {
	return &Unsupported{Why: fmt.Sprintf(format, a...)}
}
