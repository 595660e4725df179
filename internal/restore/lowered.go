package restore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/credmap"
)

// namesPath says whether a call finds an object by a path. That is never done
// by a grant, but as the caller, who could have put anything there; a grant
// opens once more what was found. What is mapped into rstr itself is
// nobody's to arrange.
func namesPath(op plan.Op) bool {
	c, ok := op.(plan.Call)
	return ok && (namesSocketFile(c) || slices.ContainsFunc(c.Args, func(a plan.Arg) bool {
		return a.Kind == plan.ArgBuf && bytes.HasPrefix(a.Buf, []byte("/")) && !bytes.HasPrefix(a.Buf, []byte(ownMappings))
	}))
}

// namesSocketFile says whether a call makes a file of a socket or finds one:
// its address is of AF_UNIX, and neither abstract nor empty (unix(7)).
func namesSocketFile(c plan.Call) bool {
	if c.Nr != unix.SYS_BIND && c.Nr != unix.SYS_CONNECT || len(c.Args) < 2 {
		return false
	}
	b := c.Args[1].Buf
	return len(b) > 2 && binary.NativeEndian.Uint16(b) == unix.AF_UNIX && b[2] != 0
}

// lowered are the calls by which a task makes a call as the caller would make
// it. Until tasks take on their own credentials they are root's, who could reach
// and make files that the caller can't, and that nobody granted; and who, with
// few capabilities, could not reach what is hers.
func (s *session) lowered(st *step, c plan.Call) []plan.Call {
	if !s.opts.Elevated || st.Stage >= plan.Creds || !s.hers(st, c) {
		return []plan.Call{c}
	}
	return slices.Concat(fileIDs(&s.opts.Caller.Creds), []plan.Call{c}, fileIDs(&s.opts.Caller.Born.Creds))
}

// fileIDs are the calls that give a task other ids towards files. The kernel
// takes the capabilities that have to do with files away with user 0, and gives
// them back (setfsuid(2)).
func fileIDs(c *kind.Creds) []plan.Call {
	return []plan.Call{
		setGroups(c.Groups),
		{Nr: unix.SYS_SETFSGID, Args: []plan.Arg{plan.Int(c.GID.FS)}},
		{Nr: unix.SYS_SETFSUID, Args: []plan.Arg{plan.Int(c.UID.FS)}},
	}
}

// hers says whether a call of a task that goes by the right to a file is to be
// made by the caller's: she has it, or nobody was asked for it.
func (s *session) hers(st *step, c plan.Call) bool {
	switch c.Nr {
	case unix.SYS_FCHDIR:
		return !st.granted
	case unix.SYS_BIND:
		return namesSocketFile(c)
	case unix.SYS_PRCTL: // of PR_SET_MM_MAP, the link to the executable file
		exe := false
		eachArg(c.Args, func(a *plan.Arg) {
			f := s.files[plan.Ref{Site: a.Ref.Site, ID: a.Ref.ID}.String()]
			exe = exe || a.Kind == plan.ArgFD && f != nil && f.exec
		})
		return exe
	}
	return false
}

// eachArg visits arguments and what is in their buffers.
func eachArg(args []plan.Arg, visit func(*plan.Arg)) {
	for i := range args {
		visit(&args[i])
		for j := range args[i].Relocs {
			eachArg([]plan.Arg{args[i].Relocs[j].Arg}, visit)
		}
	}
}

func setGroups(groups []credmap.GID) plan.Call {
	var ids []byte
	for _, g := range groups {
		ids = binary.LittleEndian.AppendUint32(ids, uint32(g))
	}
	return plan.Call{Nr: unix.SYS_SETGROUPS, Args: []plan.Arg{plan.Int(len(groups)), plan.Buf(append(ids, 0, 0, 0, 0))}}
}

// trueTo looks, before a call is made by a grant, whether the files that it
// names, which were judged where they are, are there under no other name: that
// could be outside of the tree that was granted.
func (s *session) trueTo(op plan.Op) error {
	c, ok := op.(plan.Call)
	if !ok {
		return nil
	}
	for _, a := range c.Args {
		f := s.files[a.Ref.String()]
		fd, made := s.made[a.Ref]
		if a.Kind != plan.ArgFDPath && a.Kind != plan.ArgFD || f == nil || !made {
			continue
		}
		st, err := kernelio.Fstat(int(fd))
		if err != nil {
			return err
		}
		if st.Type() == unix.S_IFREG && st.Nlink != 1 {
			return &HostError{fmt.Sprintf("%+q has %d names, and only one was granted", f.path, st.Nlink)}
		}
	}
	return nil
}
