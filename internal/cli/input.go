package cli

import (
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/pkg/image"
)

// Input is where an image comes from.
type Input struct {
	Path     string   // "", "-": In
	In       *os.File // standard input, or what stands for it
	Limit    int64    // bytes that may be spooled
	Progress *Progress
	Instead  string // the command line that would work on a terminal
}

// Open opens the image for reading at random, and tells its size. A pipe is
// stored first, since its signatures stand at its end. The result may be In.
func (i *Input) Open() (*os.File, int64, error) {
	file := i.In
	if i.Path != "" && i.Path != "-" {
		// A FIFO without a writer, or a terminal, must not hold us up before we look.
		f, err := os.OpenFile(i.Path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, 0, err
		}
		file = f
	}
	st, err := file.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case st.IsDir():
		return nil, 0, Fail(BadImage, "%s is a directory, not an image", file.Name())
	case st.Mode().IsRegular():
		return file, st.Size(), nil
	case IsTerminal(int(file.Fd())):
		return nil, 0, WithHint(Misuse("no image was named, and standard input is a terminal"), "%s", i.Instead)
	}
	return i.spool(file)
}

// spool stores what a pipe holds. Unless somebody watches, nothing stands
// between the two files, so that the kernel can move the pages by itself.
func (i *Input) spool(from *os.File) (*os.File, int64, error) {
	var r io.Reader = from
	if i.Progress != nil {
		c := &counter{r: from}
		i.Progress.Watch("received", 0, c.n.Load)
		r = c
	}
	return image.Spool(r, spoolDir(), i.Limit)
}

// spoolDir is where large temporary files go: what the caller says, else
// /var/tmp, since /tmp may be memory (file-hierarchy(7)).
func spoolDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if st, err := os.Stat("/var/tmp"); err == nil && st.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n atomic.Uint64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(uint64(n))
	return n, err
}
