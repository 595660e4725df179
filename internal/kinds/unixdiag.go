package kinds

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// unixFacts is what sock_diag(7) says of a unix socket.
type unixFacts struct {
	Peer     uint32 // inode of the other socket; 0: it was closed
	HasPeer  bool
	File     uint32 // inode of the socket file it is bound to
	Dev      uint64
	Waiting  uint32 // listening: connections not accepted yet
	Most     uint32 // listening: the backlog
	Shutdown uint8  // 1: receiving, 2: sending
}

// Attributes and flags of linux/unix_diag.h.
const (
	unixDiagVFS      = 1
	unixDiagPeer     = 2
	unixDiagRQLen    = 4
	unixDiagShutdown = 6
	unixShow         = 1<<1 | 1<<2 | 1<<4 // VFS, PEER, RQLEN; the shutdown mask comes always
	sockDiagByFamily = 20
)

// unixFactsOf asks for one socket by its inode. The tool must be in the same
// network namespace.
func unixFactsOf(f *kind.FileSite) (u unixFacts, err error) {
	s, err := f.Do(plan.Call{Nr: unix.SYS_SOCKET, Args: []plan.Arg{
		plan.Int(unix.AF_NETLINK), plan.Int(unix.SOCK_RAW | unix.SOCK_CLOEXEC), plan.Int(unix.NETLINK_SOCK_DIAG)}})
	if err != nil {
		return u, fmt.Errorf("opening sock_diag: %w", err)
	}
	defer closeOwn(f.Do, s.Ret)
	req := unixDiagRequest(uint32(f.Stat.Ino))
	if _, err := f.Do(plan.Call{Nr: unix.SYS_SENDTO, Ret: plan.Exactly(int64(len(req))), Args: []plan.Arg{
		plan.Int(s.Ret), plan.Buf(req), plan.Int(len(req)), plan.Int(0), plan.Int(0), plan.Int(0)}}); err != nil {
		return u, fmt.Errorf("asking sock_diag: %w", err)
	}
	r, err := f.Do(plan.Call{Nr: unix.SYS_RECVFROM, Args: []plan.Arg{
		plan.Int(s.Ret), plan.Out(4096), plan.Int(4096), plan.Int(unix.MSG_DONTWAIT), plan.Int(0), plan.Int(0)}})
	if err != nil {
		return u, fmt.Errorf("asking sock_diag: %w", err)
	}
	return parseUnixDiag(r.Out[0][:r.Ret])
}

// unixDiagRequest is a struct nlmsghdr and a struct unix_diag_req.
func unixDiagRequest(ino uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 16+24)
	b = le.AppendUint16(b, sockDiagByFamily)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence, port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = le.AppendUint32(b, ^uint32(0)) // states
	b = le.AppendUint32(b, ino)
	b = le.AppendUint32(b, unixShow)
	return le.AppendUint64(b, ^uint64(0)) // no cookie
}

func parseUnixDiag(b []byte) (u unixFacts, err error) {
	le := binary.LittleEndian
	if len(b) < 32 || le.Uint16(b[4:]) != sockDiagByFamily {
		return u, fmt.Errorf("sock_diag does not know the socket")
	}
	for b = b[32:]; len(b) >= 4; { // past nlmsghdr and unix_diag_msg
		size, attr := int(le.Uint16(b)), le.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return u, fmt.Errorf("sock_diag: an attribute of %d bytes", size)
		}
		u.set(attr, b[4:size])
		b = b[min(len(b), (size+3)&^3):]
	}
	return u, nil
}

func (u *unixFacts) set(attr uint16, v []byte) {
	le := binary.LittleEndian
	switch {
	case attr == unixDiagVFS && len(v) >= 8:
		dev := le.Uint32(v[4:]) // MKDEV of linux/kdev_t.h
		u.File, u.Dev = le.Uint32(v), unix.Mkdev(dev>>20, dev&(1<<20-1))
	case attr == unixDiagPeer && len(v) >= 4:
		u.Peer, u.HasPeer = le.Uint32(v), true
	case attr == unixDiagRQLen && len(v) >= 8:
		u.Waiting, u.Most = le.Uint32(v), le.Uint32(v[4:])
	case attr == unixDiagShutdown && len(v) >= 1:
		u.Shutdown = v[0]
	}
}
