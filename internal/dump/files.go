package dump

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
)

// open is one entry of a descriptor table, on the way to its description.
type open struct {
	pid, num int
	site     *kind.FileSite
}

// fileKey is what two entries of one description must have in common, so
// that few need to be compared with kcmp.
type fileKey struct {
	dev, ino uint64
	pos      int64
	flags    uint32
}

// gatherFDs lists the descriptors of every table and finds the descriptions
// behind them.
func (s *session) gatherFDs() error {
	s.filesBy = map[fileKey]*classes[*open]{}
	s.opens = map[*kind.FileSite]*kernelio.FD{}
	for _, t := range s.fdtables {
		p := s.byPID[int(t.Task.PID)]
		nums, err := p.dir.FDs()
		if err != nil {
			return err
		}
		for _, num := range nums {
			if err := s.gatherFD(t, p, num); err != nil {
				return fmt.Errorf("fd %d of %s: %w", num, p.name(), err)
			}
		}
	}
	return nil
}

func (s *session) gatherFD(t *kind.FDTableSite, p *process, num int) error {
	info, err := p.dir.FDInfo(num)
	if err != nil {
		return err
	}
	fd, err := kernelio.PidfdGetfd(p.pidfd, num)
	if err != nil {
		return err
	}
	st, err := statFD(fd.Int())
	if err != nil {
		fd.Close()
		return err
	}
	f, err := s.description(t, p, num, info, st, fd)
	if err != nil {
		return err
	}
	f.Holders = append(f.Holders, kind.Holder{Table: t, Num: num})
	t.FDs = append(t.FDs, kind.FDNode{Num: int32(num), File: f.Ref(), CloExec: info.Flags&unix.O_CLOEXEC != 0})
	return nil
}

// description finds the site of the description that fd stands for, or makes
// it; in the first case fd is closed.
func (s *session) description(t *kind.FDTableSite, p *process, num int, info *abi.FDInfo, st kind.Stat, fd *kernelio.FD) (*kind.FileSite, error) {
	key := fileKey{st.Dev, st.Ino, info.Pos, info.Flags &^ unix.O_CLOEXEC}
	group := s.filesBy[key]
	if group == nil {
		group = &classes[*open]{compare: func(a, b *open) (int, error) {
			return kernelio.Kcmp(a.pid, b.pid, abi.KcmpFile, uint64(a.num), uint64(b.num))
		}}
		s.filesBy[key] = group
	}
	o := &open{pid: p.pid, num: num}
	cl, fresh, err := group.add(o)
	if err != nil || !fresh {
		fd.Close()
		if err != nil {
			return nil, err
		}
		return cl.first.site, nil
	}
	s.keep(fd)
	f := &kind.FileSite{ID: uint32(len(s.files) + 1), Task: t.Task, Num: num, Info: info, Stat: st}
	if f.Link, err = p.dir.Link("fd/" + strconv.Itoa(num)); err != nil {
		return nil, err
	}
	f.Do = s.doer(held{f.Ref().Main(): fd.Int()})
	o.site = f
	s.files = append(s.files, f)
	s.opens[f] = fd
	return f, s.inodeOfFile(f, fd)
}

// File implements kind.Dump.
func (s *session) File(t *kind.TaskSite, num int) kind.FileRef {
	for _, fd := range t.FDTable.FDs {
		if int(fd.Num) == num {
			return fd.File
		}
	}
	return 0
}

// EpollTarget implements kind.Dump: KCMP_EPOLL_TFD compares a description
// with the target of an epoll instance (kcmp(2), kernel/kcmp.c).
func (s *session) EpollTarget(epoll *kind.FileSite, num int, offset uint32) kind.FileRef {
	if f := s.File(epoll.Task, num); f != 0 && s.isTarget(epoll, epoll.Task, num, num, offset) {
		return f
	}
	for _, t := range s.fdtables {
		for _, fd := range t.FDs {
			if s.isTarget(epoll, t.Task, int(fd.Num), num, offset) {
				return fd.File
			}
		}
	}
	return 0
}

func (s *session) isTarget(epoll *kind.FileSite, holder *kind.TaskSite, held, num int, offset uint32) bool {
	same, err := kernelio.KcmpEpoll(int(holder.PID), int(epoll.Task.PID), held, epoll.Num, num, offset)
	return err == nil && same
}

// Socket implements kind.Sockets: sockets know each other by their inodes.
func (s *session) Socket(ino uint64) *kind.FileSite {
	for _, f := range s.files {
		if f.Inode == nil && f.Stat.Format() == unix.S_IFSOCK && f.Stat.Ino == ino {
			return f
		}
	}
	return nil
}

// InTree implements kind.Dump.
func (s *session) InTree(pid kind.PID) bool {
	if s.byPID[int(pid)] != nil {
		return true
	}
	return slices.ContainsFunc(s.threads, func(t *kind.ThreadSite) bool { return t.TID == pid })
}
