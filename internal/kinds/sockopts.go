package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// sockOptions is how a socket differs from a fresh one.
type sockOptions struct {
	Ints       []sockInt `cbor:"1,keyasint,omitempty"`
	RcvTimeout int64     `cbor:"2,keyasint,omitempty"` // microseconds
	SndTimeout int64     `cbor:"3,keyasint,omitempty"` // microseconds
	Linger     int32     `cbor:"4,keyasint,omitempty"` // seconds, plus 1; 0: off
	RcvBuf     int32     `cbor:"5,keyasint,omitempty"` // as getsockopt gives it: doubled
	SndBuf     int32     `cbor:"6,keyasint,omitempty"`
	Device     string    `cbor:"7,keyasint,omitempty"` // SO_BINDTODEVICE
	Congestion string    `cbor:"8,keyasint,omitempty"` // TCP_CONGESTION
}

// sockInt is an option whose value is an int.
type sockInt struct {
	Level int32 `cbor:"1,keyasint"`
	Name  int32 `cbor:"2,keyasint"`
	Value int32 `cbor:"3,keyasint"`
}

// knownInts are the options that are compared and set. Left out are those
// that only report, those that follow the traffic (SO_INCOMING_CPU,
// TCP_QUICKACK), and those below that have fields of their own.
var knownInts = []sockInt{
	{Level: unix.SOL_SOCKET, Name: unix.SO_DEBUG}, {Level: unix.SOL_SOCKET, Name: unix.SO_REUSEADDR},
	{Level: unix.SOL_SOCKET, Name: unix.SO_DONTROUTE}, {Level: unix.SOL_SOCKET, Name: unix.SO_BROADCAST},
	{Level: unix.SOL_SOCKET, Name: unix.SO_KEEPALIVE}, {Level: unix.SOL_SOCKET, Name: unix.SO_OOBINLINE},
	{Level: unix.SOL_SOCKET, Name: unix.SO_NO_CHECK}, {Level: unix.SOL_SOCKET, Name: unix.SO_PRIORITY},
	{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEPORT}, {Level: unix.SOL_SOCKET, Name: unix.SO_PASSCRED},
	{Level: unix.SOL_SOCKET, Name: unix.SO_RCVLOWAT}, {Level: unix.SOL_SOCKET, Name: unix.SO_TIMESTAMP},
	{Level: unix.SOL_SOCKET, Name: unix.SO_TIMESTAMPNS}, {Level: unix.SOL_SOCKET, Name: unix.SO_PASSSEC},
	{Level: unix.SOL_SOCKET, Name: unix.SO_MARK}, {Level: unix.SOL_SOCKET, Name: unix.SO_RXQ_OVFL},
	{Level: unix.SOL_SOCKET, Name: unix.SO_PEEK_OFF}, {Level: unix.SOL_SOCKET, Name: unix.SO_BUSY_POLL},
	{Level: unix.SOL_SOCKET, Name: unix.SO_ZEROCOPY}, {Level: unix.SOL_SOCKET, Name: unix.SO_SELECT_ERR_QUEUE},
	{Level: unix.SOL_SOCKET, Name: unix.SO_PASSPIDFD},
	{Level: unix.SOL_IP, Name: unix.IP_TOS}, {Level: unix.SOL_IP, Name: unix.IP_TTL},
	{Level: unix.SOL_IP, Name: unix.IP_MTU_DISCOVER}, {Level: unix.SOL_IP, Name: unix.IP_FREEBIND},
	{Level: unix.SOL_IP, Name: unix.IP_TRANSPARENT}, {Level: unix.SOL_IP, Name: unix.IP_MINTTL},
	{Level: unix.SOL_IP, Name: unix.IP_RECVERR}, {Level: unix.SOL_IP, Name: unix.IP_PKTINFO},
	{Level: unix.SOL_IP, Name: unix.IP_RECVTOS}, {Level: unix.SOL_IP, Name: unix.IP_RECVTTL},
	{Level: unix.SOL_IP, Name: unix.IP_BIND_ADDRESS_NO_PORT},
	{Level: unix.SOL_IPV6, Name: unix.IPV6_V6ONLY}, {Level: unix.SOL_IPV6, Name: unix.IPV6_UNICAST_HOPS},
	{Level: unix.SOL_IPV6, Name: unix.IPV6_TCLASS}, {Level: unix.SOL_IPV6, Name: unix.IPV6_RECVPKTINFO},
	{Level: unix.SOL_IPV6, Name: unix.IPV6_MTU_DISCOVER}, {Level: unix.SOL_IPV6, Name: unix.IPV6_RECVERR},
	{Level: unix.SOL_IPV6, Name: unix.IPV6_FREEBIND}, {Level: unix.SOL_IPV6, Name: unix.IPV6_TRANSPARENT},
	{Level: unix.SOL_IPV6, Name: unix.IPV6_MINHOPCOUNT}, {Level: unix.SOL_IPV6, Name: unix.IPV6_AUTOFLOWLABEL},
	{Level: unix.SOL_TCP, Name: unix.TCP_NODELAY}, {Level: unix.SOL_TCP, Name: unix.TCP_MAXSEG},
	{Level: unix.SOL_TCP, Name: unix.TCP_CORK}, {Level: unix.SOL_TCP, Name: unix.TCP_KEEPIDLE},
	{Level: unix.SOL_TCP, Name: unix.TCP_KEEPINTVL}, {Level: unix.SOL_TCP, Name: unix.TCP_KEEPCNT},
	{Level: unix.SOL_TCP, Name: unix.TCP_SYNCNT}, {Level: unix.SOL_TCP, Name: unix.TCP_LINGER2},
	{Level: unix.SOL_TCP, Name: unix.TCP_DEFER_ACCEPT}, {Level: unix.SOL_TCP, Name: unix.TCP_WINDOW_CLAMP},
	{Level: unix.SOL_TCP, Name: unix.TCP_USER_TIMEOUT}, {Level: unix.SOL_TCP, Name: unix.TCP_FASTOPEN},
	{Level: unix.SOL_TCP, Name: unix.TCP_NOTSENT_LOWAT}, {Level: unix.SOL_TCP, Name: unix.TCP_SAVE_SYN},
	{Level: unix.SOL_TCP, Name: unix.TCP_FASTOPEN_CONNECT}, {Level: unix.SOL_TCP, Name: unix.TCP_INQ},
}

// privileged are the options that take a capability whatever their value
// (sk_setsockopt in net/core/sock.c, do_ip_setsockopt in net/ipv4/ip_sockglue.c).
var privileged = map[[2]int32]string{
	{unix.SOL_SOCKET, unix.SO_DEBUG}:       "cap:net_admin",
	{unix.SOL_SOCKET, unix.SO_MARK}:        "cap:net_admin",
	{unix.SOL_IP, unix.IP_TRANSPARENT}:     "cap:net_admin",
	{unix.SOL_IPV6, unix.IPV6_TRANSPARENT}: "cap:net_admin",
}

// getsockopt gives up to n bytes of an option.
func getsockopt(do kind.Doer, fd plan.Arg, level, name, n int) ([]byte, error) {
	r, err := do(plan.Call{Nr: unix.SYS_GETSOCKOPT, Args: []plan.Arg{fd, plan.Int(level), plan.Int(name),
		plan.Out(n), plan.InOut(binary.LittleEndian.AppendUint32(nil, uint32(n)))}})
	if err != nil {
		return nil, err
	}
	return r.Out[0][:min(n, int(binary.LittleEndian.Uint32(r.Out[1])))], nil
}

func getsockoptInt(do kind.Doer, fd plan.Arg, level, name int) (int32, error) {
	b, err := getsockopt(do, fd, level, name, 4)
	if err == nil && len(b) < 4 {
		err = fmt.Errorf("socket option %d has %d bytes", name, len(b))
	}
	if err != nil {
		return 0, err
	}
	return int32(binary.LittleEndian.Uint32(b)), nil
}

// dumpOptions compares a socket with a fresh one of its sort.
func dumpOptions(f *kind.FileSite, domain, sort, proto int32) (o sockOptions, err error) {
	r, err := f.Do(plan.Call{Nr: unix.SYS_SOCKET, Args: []plan.Arg{
		plan.Int(domain), plan.Int(sort | unix.SOCK_CLOEXEC), plan.Int(proto)}})
	if err != nil {
		return o, fmt.Errorf("making a socket to compare with: %w", err)
	}
	defer closeOwn(f.Do, r.Ret)
	fresh := plan.Int(r.Ret)
	for _, k := range knownInts {
		was, err1 := getsockoptInt(f.Do, self(f), int(k.Level), int(k.Name))
		def, err2 := getsockoptInt(f.Do, fresh, int(k.Level), int(k.Name))
		if err1 == nil && err2 == nil && was != def {
			o.Ints = append(o.Ints, sockInt{k.Level, k.Name, was})
		}
	}
	return o, o.dumpOthers(f, fresh)
}

func (o *sockOptions) dumpOthers(f *kind.FileSite, fresh plan.Arg) error {
	o.RcvTimeout = timeoutOf(f, unix.SO_RCVTIMEO)
	o.SndTimeout = timeoutOf(f, unix.SO_SNDTIMEO)
	if b, err := getsockopt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_LINGER, 8); err == nil && len(b) == 8 {
		if on, secs := pair(b); on != 0 {
			o.Linger = int32(secs) + 1
		}
	}
	o.dumpBuffers(f)
	if b, err := getsockopt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, unix.IFNAMSIZ); err == nil {
		o.Device = cString(b)
	}
	own, err := getsockopt(f.Do, self(f), unix.SOL_TCP, unix.TCP_CONGESTION, 16)
	if def, err2 := getsockopt(f.Do, fresh, unix.SOL_TCP, unix.TCP_CONGESTION, 16); err == nil && err2 == nil && cString(own) != cString(def) {
		o.Congestion = cString(own)
	}
	return refuseOptions(f)
}

// dumpBuffers records the sizes that the program has set: SO_BUF_LOCK tells
// (Linux 5.16), and it is the only use of the kernel's that is not its own.
func (o *sockOptions) dumpBuffers(f *kind.FileSite) {
	const sndLock, rcvLock = 1, 2 // SOCK_SNDBUF_LOCK, SOCK_RCVBUF_LOCK
	lock, err := getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return
	}
	if lock&rcvLock != 0 {
		o.RcvBuf, _ = getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	if lock&sndLock != 0 {
		o.SndBuf, _ = getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_SNDBUF)
	}
}

// refuseOptions refuses what can't be read back or set.
func refuseOptions(f *kind.FileSite) error {
	// With no room the count of instructions comes back as the length
	// (sk_get_filter in net/core/filter.c); EACCES is an eBPF filter.
	r, err := f.Do(plan.Call{Nr: unix.SYS_GETSOCKOPT, Args: []plan.Arg{self(f), plan.Int(unix.SOL_SOCKET), plan.Int(unix.SO_GET_FILTER),
		plan.Int(0), plan.InOut(make([]byte, 4))}})
	if errors.Is(err, unix.EACCES) || err == nil && binary.LittleEndian.Uint32(r.Out[0]) != 0 {
		return kind.Unsupportedf("a socket with a packet filter (SO_ATTACH_FILTER)")
	}
	if b, err := getsockopt(f.Do, self(f), unix.SOL_IP, unix.IP_OPTIONS, 40); err == nil && len(b) > 0 {
		return kind.Unsupportedf("a socket with IP options")
	}
	if b, err := getsockopt(f.Do, self(f), unix.SOL_TCP, unix.TCP_ULP, 16); err == nil && cString(b) != "" && cString(b) != "mptcp" {
		return kind.Unsupportedf("a socket with the protocol %q on top (TCP_ULP)", cString(b))
	}
	return nil
}

func timeoutOf(f *kind.FileSite, name int) int64 {
	b, err := getsockopt(f.Do, self(f), unix.SOL_SOCKET, name, 16)
	if err != nil || len(b) < 16 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b))*1e6 + int64(binary.LittleEndian.Uint64(b[8:]))
}

func cString(b []byte) string { return unix.ByteSliceToString(b) }

func (o sockOptions) check() error {
	for _, i := range o.Ints {
		if !slices.Contains(knownInts, sockInt{Level: i.Level, Name: i.Name}) {
			return fmt.Errorf("socket option %d of level %d", i.Name, i.Level)
		}
	}
	switch {
	case o.RcvTimeout < 0, o.SndTimeout < 0, o.Linger < 0, o.RcvBuf < 0, o.SndBuf < 0:
		return errors.New("a negative time or size")
	case len(o.Device) >= unix.IFNAMSIZ, len(o.Congestion) >= 16:
		return errors.New("a name that is too long")
	case !utf8.ValidString(o.Device), !utf8.ValidString(o.Congestion):
		return errors.New("a name that is no text")
	}
	return nil
}

// set gives a socket its options.
func (o sockOptions) set(fd plan.Arg) []plan.Call {
	var calls []plan.Call
	opt := func(level, name int32, b []byte) {
		calls = append(calls, plan.Call{Nr: unix.SYS_SETSOCKOPT, Args: []plan.Arg{
			fd, plan.Int(level), plan.Int(name), plan.Buf(b), plan.Int(len(b))}, Ret: plan.Exactly(0)})
	}
	for _, i := range o.Ints {
		opt(i.Level, i.Name, binary.LittleEndian.AppendUint32(nil, uint32(i.Value)))
	}
	if o.RcvTimeout != 0 {
		opt(unix.SOL_SOCKET, unix.SO_RCVTIMEO, sockTimeval(o.RcvTimeout))
	}
	if o.SndTimeout != 0 {
		opt(unix.SOL_SOCKET, unix.SO_SNDTIMEO, sockTimeval(o.SndTimeout))
	}
	if o.Linger != 0 {
		opt(unix.SOL_SOCKET, unix.SO_LINGER, append([]byte{1, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, uint32(o.Linger-1))...))
	}
	if o.RcvBuf != 0 {
		opt(unix.SOL_SOCKET, unix.SO_RCVBUF, binary.LittleEndian.AppendUint32(nil, uint32(o.RcvBuf/2)))
	}
	if o.SndBuf != 0 {
		opt(unix.SOL_SOCKET, unix.SO_SNDBUF, binary.LittleEndian.AppendUint32(nil, uint32(o.SndBuf/2)))
	}
	if o.Device != "" {
		opt(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, append([]byte(o.Device), 0))
	}
	if o.Congestion != "" {
		opt(unix.SOL_TCP, unix.TCP_CONGESTION, []byte(o.Congestion))
	}
	return calls
}

func sockTimeval(us int64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(us/1e6)), uint64(us%1e6))
}

func (o sockOptions) needs() []plan.Need {
	var needs []plan.Need
	for _, i := range o.Ints {
		if cap := privileged[[2]int32{i.Level, i.Name}]; cap != "" {
			needs = append(needs, plan.Need{Demand: cap, Why: fmt.Sprintf("socket option %d of level %d is privileged", i.Name, i.Level)})
		}
		if i.Level == unix.SOL_SOCKET && i.Name == unix.SO_PRIORITY && (i.Value < 0 || i.Value > 6) {
			needs = append(needs, plan.Need{Demand: "cap:net_admin", Why: "the socket's priority is above 6"})
		}
	}
	if o.Congestion != "" && o.Congestion != "cubic" && o.Congestion != "reno" {
		needs = append(needs, plan.Need{Demand: "cap:net_admin", Why: fmt.Sprintf("congestion control by %+q may be closed to users", o.Congestion)})
	}
	return needs
}
