package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// socketSort is what a socket is: the three numbers of socket(2).
type socketSort struct {
	Domain int32 `cbor:"1,keyasint"`
	Type   int32 `cbor:"2,keyasint"`
	Proto  int32 `cbor:"3,keyasint,omitempty"`
}

// socketClass sorts sockets further than fileClass does.
type socketClass uint8

const (
	socketUnsupported socketClass = iota
	socketListening
	socketPaired // a unix socket with a peer
	socketPlain  // neither connected nor listening
	socketStream // a TCP connection that is a standard stream, as inetd(8) gives it
)

func isSocket(c socketClass) func(*kind.FileSite) bool {
	return func(f *kind.FileSite) bool { return classOf(f) == classSocket && socketClassOf(f) == c }
}

func socketClassOf(f *kind.FileSite) socketClass {
	s, err := sortOf(f)
	if err != nil {
		return socketUnsupported
	}
	listening, _ := getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case s.Domain == unix.AF_UNIX && listening != 0:
		return socketListening
	case s.Domain == unix.AF_UNIX && hasPeer(f):
		return socketPaired
	case s.Domain == unix.AF_UNIX:
		return socketPlain
	case s.isTCP() && listening != 0:
		return socketListening
	case s.isTCP() && streamsOf(f) != 0 && hasPeer(f):
		return socketStream
	case s.isTCP() && tcpState(f) == tcpClose && !failed(f), s.isUDP() && !hasPeer(f):
		return socketPlain
	}
	return socketUnsupported
}

func (s socketSort) isInet() bool { return s.Domain == unix.AF_INET || s.Domain == unix.AF_INET6 }

// isTCP also takes multipath TCP, which Go's listeners are by default.
func (s socketSort) isTCP() bool {
	return s.isInet() && s.Type == unix.SOCK_STREAM && (s.Proto == unix.IPPROTO_TCP || s.Proto == unix.IPPROTO_MPTCP)
}

func (s socketSort) isUDP() bool {
	return s.isInet() && s.Type == unix.SOCK_DGRAM && s.Proto == unix.IPPROTO_UDP
}

func (s socketSort) isUnix() bool {
	return s.Domain == unix.AF_UNIX && s.Proto == 0 &&
		(s.Type == unix.SOCK_STREAM || s.Type == unix.SOCK_DGRAM || s.Type == unix.SOCK_SEQPACKET)
}

func sortOf(f *kind.FileSite) (s socketSort, err error) {
	for name, dst := range map[int]*int32{unix.SO_DOMAIN: &s.Domain, unix.SO_TYPE: &s.Type, unix.SO_PROTOCOL: &s.Proto} {
		if *dst, err = getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, name); err != nil {
			return s, err
		}
	}
	return s, nil
}

func hasPeer(f *kind.FileSite) bool {
	_, err := addressOf(f, unix.SYS_GETPEERNAME)
	return err == nil
}

// failed says whether an error waits to be reported (SO_ERROR would take it).
func failed(f *kind.FileSite) bool { return gone(f, unix.POLLERR) }

// States of a TCP socket (net/tcp_states.h).
const tcpClose = 7

var tcpStates = map[byte]string{1: "established", 2: "connecting", 3: "connecting", 4: "closing", 5: "closing", 6: "closing",
	7: "closed", 8: "closed by its peer", 9: "closing", 10: "listening", 11: "closing"}

func tcpState(f *kind.FileSite) byte {
	b, err := getsockopt(f.Do, self(f), unix.SOL_TCP, unix.TCP_INFO, 1)
	if err != nil || len(b) < 1 {
		return 0
	}
	return b[0]
}

// makeSocket is socket(2) in the tool, with the options set.
func makeSocket(s socketSort, nonblock bool, o sockOptions, h *kind.Host) plan.Step {
	t := s.Type | unix.SOCK_CLOEXEC
	if nonblock {
		t |= unix.SOCK_NONBLOCK
	}
	create := plan.Call{Nr: unix.SYS_SOCKET, Args: []plan.Arg{plan.Int(s.Domain), plan.Int(t), plan.Int(s.Proto)}, Out: h.Self}
	return plan.Step{Stage: plan.Create, Text: "make a socket", Needs: o.needs(),
		Ops: append([]plan.Op{create}, asOps(o.set(plan.FD(h.Self)))...)}
}

// socketFlags are the status flags of a socket (O_RDWR from birth).
const socketFlags = unix.O_RDWR | unix.O_NONBLOCK | unix.O_ASYNC

// UnsupportedSocket claims the sockets that no other kind does, to refuse
// them by name.
func UnsupportedSocket() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, noRecord]{
		Name:   "unsupportedsocket",
		At:     plan.OpenFile,
		Claims: true,
		Match:  isSocket(socketUnsupported),
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (noRecord, error) {
			return noRecord{}, unsupportedSocket(f)
		},
		Check: func(noRecord) error { return errors.New("no image holds a record of this kind") },
		Plan:  func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

var socketFamilies = map[int32]string{
	unix.AF_NETLINK: "a netlink socket", unix.AF_PACKET: "a packet socket", unix.AF_VSOCK: "a vsock socket",
	unix.AF_BLUETOOTH: "a bluetooth socket", unix.AF_ALG: "a socket of the kernel's cryptography (AF_ALG)",
	unix.AF_XDP: "an XDP socket", unix.AF_CAN: "a CAN socket", unix.AF_TIPC: "a TIPC socket", unix.AF_RDS: "an RDS socket",
	unix.AF_QIPCRTR: "a QRTR socket", unix.AF_SMC: "an SMC socket", unix.AF_KEY: "an IPsec key socket",
}

func unsupportedSocket(f *kind.FileSite) error {
	s, err := sortOf(f)
	if err != nil {
		return fmt.Errorf("asking what sort of socket it is: %w", err)
	}
	if name := socketFamilies[s.Domain]; name != "" {
		return kind.Unsupportedf("%s", name)
	}
	if !s.isInet() {
		return kind.Unsupportedf("a socket of family %d, type %d, protocol %d", s.Domain, s.Type, s.Proto)
	}
	local, _ := addressOf(f, unix.SYS_GETSOCKNAME)
	peer, err := addressOf(f, unix.SYS_GETPEERNAME)
	switch {
	case s.isTCP() && err == nil:
		return &kind.Unsupported{Why: fmt.Sprintf("a TCP connection (%s) from %v to %v", tcpStates[tcpState(f)], local, peer),
			Hint: "end the connection first; connections come with a later version"}
	case s.isTCP():
		return kind.Unsupportedf("a TCP socket at %v that is %s", local, tcpStates[tcpState(f)])
	case s.isUDP():
		return kind.Unsupportedf("a UDP socket connected from %v to %v", local, peer)
	}
	return kind.Unsupportedf("an Internet socket of type %d, protocol %d at %v", s.Type, s.Proto, local)
}

// backlogOf reads how many connections wait at a listening TCP socket, and
// how many may: tcpi_unacked and tcpi_sacked, which stand for them while it
// listens (tcp_get_info in net/ipv4/tcp.c).
func backlogOf(f *kind.FileSite) (waiting, most uint32, err error) {
	b, err := getsockopt(f.Do, self(f), unix.SOL_TCP, unix.TCP_INFO, 32)
	if err != nil || len(b) < 32 {
		return 0, 0, fmt.Errorf("asking for the backlog: %w", err)
	}
	return binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[28:]), nil
}
