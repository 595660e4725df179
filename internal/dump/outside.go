package dump

import (
	"fmt"
	"os"
	"strings"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// findOutside notes what of the tree's a process above it has as well: pipes,
// sockets, descriptions of the anonymous inode, shared memory. Such things
// are inherited, so that the other one is there as a rule; to ask every process
// of the host would take too long.
func (s *session) findOutside() error {
	o := outside{s: s, files: map[string][]*kind.FileSite{}, memory: map[inodeKey]*kind.InodeSite{}}
	for _, f := range s.files {
		if anonymous(f.Link) || strings.HasPrefix(f.Link, "pipe:") {
			o.files[f.Link] = append(o.files[f.Link], f)
		}
	}
	for _, i := range s.inodes {
		if i.Deleted && len(i.Mappings) > 0 {
			o.memory[inodeKey{i.Stat.Dev, i.Stat.Ino}] = i
		}
	}
	if len(o.files)+len(o.memory) == 0 {
		return nil
	}
	for pid := s.procs[0].ppid; pid > 0; {
		d, err := kernelio.OpenProc(pid)
		if err != nil {
			return nil // it has ended, or belongs to another PID namespace
		}
		pid, err = o.ask(d)
		if d.Close(); err != nil {
			return err
		}
	}
	return nil
}

type outside struct {
	s      *session
	files  map[string][]*kind.FileSite
	memory map[inodeKey]*kind.InodeSite
}

// ask looks at one process, and gives its parent. What it may not see it
// passes over.
func (o *outside) ask(d *kernelio.ProcDir) (parent int, err error) {
	st, err := d.Stat()
	if kernelio.IsGone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("process %d (%s)", d.PID, quote(st.Comm))
	if d.PID == os.Getpid() { // the tool's own are those that it has of the tree
		return int(st.PPid), nil
	}
	if len(o.files) > 0 {
		nums, _ := d.FDs()
		for _, num := range nums {
			o.askFD(d, num, name)
		}
	}
	if len(o.memory) > 0 {
		vmas, _ := d.Maps()
		for _, v := range vmas {
			if i := o.memory[inodeKey{v.Dev, v.Inode}]; i != nil && v.Shared {
				i.Outside = name
			}
		}
	}
	return int(st.PPid), nil
}

// askFD compares descriptors: the link tells pipes and sockets apart.
func (o *outside) askFD(d *kernelio.ProcDir, num int, name string) {
	link, err := d.Link(fmt.Sprintf("fd/%d", num))
	if err != nil {
		return
	}
	for _, f := range o.files[link] {
		if strings.HasPrefix(link, "anon_inode:") {
			r, err := kernelio.Kcmp(d.PID, int(f.Task.PID), abi.KcmpFile, uint64(num), uint64(f.Num))
			if err != nil || r != 0 {
				continue
			}
		}
		f.Outside = name
	}
}
