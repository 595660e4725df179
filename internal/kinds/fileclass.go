package kinds

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// fileClass sorts open file descriptions by what the kernel says they are.
// Every class has exactly one kind that claims it; what has none is refused
// by the kind "unsupported", in words.
type fileClass uint8

const (
	classUnsupported fileClass = iota
	classFile                  // on a filesystem, or O_PATH of anything
	classPipeEnd
	classFIFO
	classTTY
	classStdio // a pipe that leads out of the tree
	classSocket
	classEventfd
	classEpoll
	classTimerfd
	classSignalfd
	classInotify
	classPidfd
)

// is makes the Match of a kind that claims one class.
func is(c fileClass) func(*kind.FileSite) bool {
	return func(f *kind.FileSite) bool { return classOf(f) == c }
}

var anonClasses = map[string]fileClass{
	"anon_inode:[eventfd]":   classEventfd,
	"anon_inode:[eventpoll]": classEpoll,
	"anon_inode:[timerfd]":   classTimerfd,
	"anon_inode:[signalfd]":  classSignalfd,
	"anon_inode:inotify":     classInotify,
	"anon_inode:[pidfd]":     classPidfd,
}

func classOf(f *kind.FileSite) fileClass {
	if f.Info.Flags&unix.O_PATH != 0 {
		return classFile
	}
	if strings.HasPrefix(f.Link, "anon_inode:") {
		return anonClasses[f.Link]
	}
	switch f.Stat.Format() {
	case unix.S_IFREG, unix.S_IFDIR:
		return regularClass(f)
	case unix.S_IFCHR:
		return deviceClass(f.Stat.Rdev)
	case unix.S_IFIFO:
		return fifoClass(f)
	case unix.S_IFSOCK:
		return classSocket
	}
	return classUnsupported
}

func regularClass(f *kind.FileSite) fileClass {
	switch f.Stat.FSType { // files that stand for objects of other sorts
	case unix.NSFS_MAGIC, unix.PID_FS_MAGIC, unix.DMA_BUF_MAGIC, unix.SECRETMEM_MAGIC, unix.GUEST_MEMFD_MAGIC:
		return classUnsupported
	}
	return classFile
}

// deviceClass knows devices by their numbers (admin-guide/devices.txt).
func deviceClass(rdev uint64) fileClass {
	major, minor := unix.Major(rdev), unix.Minor(rdev)
	switch {
	case isMemDevice(major, minor):
		return classFile
	case isTerminal(major, minor):
		return classTTY
	}
	return classUnsupported
}

// isMemDevice says whether the device is one without state: null, zero,
// full, random, urandom, kmsg's neighbours left out.
func isMemDevice(major, minor uint32) bool {
	return major == 1 && (minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9)
}

// isTerminal knows virtual consoles and serial lines (4), the controlling
// terminal and the console (5, but not ptmx), pty slaves (136 to 143) and the
// consoles of machines that have neither.
func isTerminal(major, minor uint32) bool {
	switch major {
	case 4, 204, 229:
		return true
	case 5:
		return minor != 2
	}
	return major >= 136 && major <= 143
}

func fifoClass(f *kind.FileSite) fileClass {
	switch {
	case f.Inode == nil || f.Stat.FSType != unix.PIPEFS_MAGIC:
		return classFIFO
	case leadsOut(f.Inode):
		return classStdio
	}
	return classPipeEnd
}

// leadsOut says whether one end of a pipe is nowhere in the tree and yet
// open. A reader sees POLLHUP once the last writer is gone, a writer POLLERR
// once the last reader is (pipe_poll in fs/pipe.c).
func leadsOut(pipe *kind.InodeSite) bool {
	readers, writers := ends(pipe)
	switch {
	case len(readers) == 0 && len(writers) > 0:
		return !gone(writers[0], unix.POLLERR)
	case len(writers) == 0 && len(readers) > 0:
		return !gone(readers[0], unix.POLLHUP)
	}
	return false
}

func gone(f *kind.FileSite, event uint16) bool {
	revents, err := poll(f.Do, plan.FD(f.Ref().Main()), 0)
	return err == nil && revents&event != 0
}

// ends lists the descriptions of a pipe that can be read and written.
func ends(pipe *kind.InodeSite) (readers, writers []*kind.FileSite) {
	for _, f := range pipe.Files {
		mode := f.Info.Flags & unix.O_ACCMODE
		switch {
		case f.Info.Flags&unix.O_PATH != 0:
			continue
		case mode == unix.O_RDONLY:
			readers = append(readers, f)
		case mode == unix.O_WRONLY:
			writers = append(writers, f)
		default:
			readers, writers = append(readers, f), append(writers, f)
		}
	}
	return readers, writers
}
