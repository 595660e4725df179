package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// sockAddr is the address of a socket. For the Internet families IP has 4 or
// 16 bytes; for unix sockets Name is a path, or with Abstract a name without
// its leading NUL. All fields empty: no address.
type sockAddr struct {
	IP       []byte `cbor:"1,keyasint,omitempty"`
	Port     uint16 `cbor:"2,keyasint,omitempty"`
	Scope    uint32 `cbor:"3,keyasint,omitempty"` // sin6_scope_id
	Flow     uint32 `cbor:"4,keyasint,omitempty"` // sin6_flowinfo, as in memory
	Name     []byte `cbor:"5,keyasint,omitempty"`
	Abstract bool   `cbor:"6,keyasint,omitempty"`
}

// sizeofSockaddr is sizeof(struct sockaddr_storage).
const sizeofSockaddr = 128

// offsetofSunPath is where struct sockaddr_un keeps its name.
const offsetofSunPath = 2

// decodeSockaddr reads what getsockname(2) filled in.
func decodeSockaddr(b []byte) (a sockAddr, err error) {
	if len(b) < 2 {
		return a, nil
	}
	switch family := binary.LittleEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= 8:
		return sockAddr{IP: b[4:8:8], Port: binary.BigEndian.Uint16(b[2:])}, nil
	case family == unix.AF_INET6 && len(b) >= 28:
		return sockAddr{IP: b[8:24:24], Port: binary.BigEndian.Uint16(b[2:]),
			Flow: binary.LittleEndian.Uint32(b[4:]), Scope: binary.LittleEndian.Uint32(b[24:])}, nil
	case family == unix.AF_UNIX:
		return decodeUnix(b[offsetofSunPath:]), nil
	default:
		return a, fmt.Errorf("an address of family %d", family)
	}
}

// decodeUnix reads sun_path: a path ends at its NUL, an abstract name at the
// end of the buffer (unix(7)).
func decodeUnix(name []byte) sockAddr {
	if len(name) == 0 {
		return sockAddr{}
	}
	if name[0] == 0 {
		return sockAddr{Name: name[1:], Abstract: true}
	}
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	return sockAddr{Name: name}
}

// encode gives the struct sockaddr of a family.
func (a sockAddr) encode() []byte {
	switch {
	case len(a.IP) == 4:
		b := binary.LittleEndian.AppendUint16(nil, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, a.Port)
		return append(append(b, a.IP...), make([]byte, 8)...)
	case len(a.IP) == 16:
		b := binary.LittleEndian.AppendUint16(nil, unix.AF_INET6)
		b = binary.BigEndian.AppendUint16(b, a.Port)
		b = append(binary.LittleEndian.AppendUint32(b, a.Flow), a.IP...)
		return binary.LittleEndian.AppendUint32(b, a.Scope)
	}
	b := binary.LittleEndian.AppendUint16(nil, unix.AF_UNIX)
	if a.Abstract {
		return append(append(b, 0), a.Name...)
	}
	return append(append(b, a.Name...), 0)
}

// bound says whether the address is one that bind(2) gives.
func (a sockAddr) bound() bool { return a.Port != 0 || len(a.Name) > 0 || a.Abstract }

func (a sockAddr) check() error {
	ip := len(a.IP) > 0
	switch {
	case len(a.IP) != 0 && len(a.IP) != 4 && len(a.IP) != 16:
		return fmt.Errorf("an IP address of %d bytes", len(a.IP))
	case ip && (len(a.Name) > 0 || a.Abstract), !ip && (a.Port != 0 || a.Scope != 0 || a.Flow != 0),
		len(a.IP) == 4 && (a.Scope != 0 || a.Flow != 0):
		return errors.New("an address of two families")
	case len(a.Name) > 107:
		return fmt.Errorf("a name of %d bytes", len(a.Name))
	}
	for _, c := range a.Name {
		if c == 0 && !a.Abstract {
			return errors.New("a path with a NUL")
		}
	}
	return nil
}

func (a sockAddr) String() string {
	if ip, ok := netip.AddrFromSlice(a.IP); ok {
		return netip.AddrPortFrom(ip, a.Port).String()
	}
	if a.Abstract {
		return fmt.Sprintf("@%+q", a.Name)
	}
	if len(a.Name) == 0 {
		return "no address"
	}
	return fmt.Sprintf("%+q", a.Name)
}

// addressOf is getsockname(2), or with the number of getpeername(2) that.
func addressOf(f *kind.FileSite, nr uintptr) (sockAddr, error) {
	r, err := f.Do(plan.Call{Nr: nr, Args: []plan.Arg{
		self(f), plan.Out(sizeofSockaddr), plan.InOut([]byte{sizeofSockaddr, 0, 0, 0})}})
	if err != nil {
		return sockAddr{}, err
	}
	n := binary.LittleEndian.Uint32(r.Out[1])
	return decodeSockaddr(r.Out[0][:min(int(n), sizeofSockaddr)])
}

// bind is bind(2) in the tool.
func bind(fd plan.Arg, a sockAddr) plan.Call {
	b := a.encode()
	return plan.Call{Nr: unix.SYS_BIND, Args: []plan.Arg{fd, plan.Buf(b), plan.Int(len(b))}, Ret: plan.Exactly(0)}
}
