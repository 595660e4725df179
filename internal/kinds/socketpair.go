package kinds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type socketpairRecord struct {
	Socket socketRecord `cbor:"1,keyasint"`
	Peer   kind.FileRef `cbor:"2,keyasint,omitempty"` // 0: it was closed
	// Queue is what waits to be received here: the bytes of a stream, or one
	// blob for each message, 0 for an empty one.
	Queue    []kind.BlobRef `cbor:"3,keyasint,omitempty"`
	Shutdown uint8          `cbor:"4,keyasint,omitempty"` // 1: receiving, 2: sending
	// Outside is set for a standard stream whose peer is outside the tree;
	// then the rest is empty.
	Outside streamsRecord `cbor:"5,keyasint"`
	// Maker is who made the pair (SO_PEERCRED), or if that is nobody of the
	// tree's, a process that has this end.
	Maker kind.PID `cbor:"6,keyasint,omitempty"`
}

// Socketpair claims unix sockets that are connected and have no address:
// those of socketpair(2), both inside the tree or one already closed. One
// whose peer is outside becomes rstr's own standard stream, if it was one.
//
// The two ends are made by the process that made them the first time, which
// SO_PEERCRED shows, or if that is gone by one that has them; but by rstr if
// they are somebody else's than the caller's.
func Socketpair() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, socketpairRecord]{
		Name:   "socketpair",
		At:     plan.OpenFile,
		Claims: true,
		Match:  isSocket(socketPaired),
		Dump:   dumpSocketpair,
		Check:  checkSocketpair,
		Plan:   planSocketpair,
	})
}

func dumpSocketpair(d kind.Dump, f *kind.FileSite, _ []plan.Result) (r socketpairRecord, err error) {
	u, err := unixFactsOf(f)
	if err != nil {
		return r, err
	}
	peer := peerOf(d, u)
	if peer == nil && u.Peer != 0 {
		r.Outside, err = dumpStreams(f, outsidePeer(f))
		return r, err
	}
	if r.Socket, err = dumpSocket(f); err != nil {
		return r, err
	}
	if err := refusePaired(f, r.Socket); err != nil {
		return r, err
	}
	if r.Shutdown = u.Shutdown; peer != nil {
		r.Peer = peer.Ref()
	}
	if _, r.Maker, err = peerCred(f); err != nil {
		return r, err
	}
	if !d.InTree(r.Maker) {
		r.Maker = f.Task.PID
	}
	r.Queue, err = r.dumpQueue(d, f)
	return r, err
}

func peerOf(d kind.Dump, u unixFacts) *kind.FileSite {
	s, ok := d.(kind.Sockets)
	if !ok || u.Peer == 0 {
		return nil
	}
	return s.Socket(uint64(u.Peer))
}

// outsidePeer says where a connection leads.
func outsidePeer(f *kind.FileSite) string {
	if a, err := addressOf(f, unix.SYS_GETPEERNAME); err == nil && a.bound() {
		return fmt.Sprintf("a connection to the unix socket %v", a)
	}
	return "a unix socket whose other end is outside the tree"
}

func refusePaired(f *kind.FileSite, s socketRecord) error {
	peer, err := addressOf(f, unix.SYS_GETPEERNAME)
	switch {
	case err != nil:
		return fmt.Errorf("asking for the peer: %w", err)
	case s.Local.bound():
		return kind.Unsupportedf("a connection that was accepted at the unix socket %v", s.Local)
	case peer.bound():
		return kind.Unsupportedf("a connection to the unix socket %v", peer)
	case f.Info.SCMFds != nil && *f.Info.SCMFds > 0:
		return kind.Unsupportedf("a unix socket with %d descriptors on the way (SCM_RIGHTS)", *f.Info.SCMFds)
	case failed(f):
		return kind.Unsupportedf("a unix socket with an error that is not read yet")
	}
	return nil
}

// dumpQueue copies what waits to be received and leaves it there.
func (r *socketpairRecord) dumpQueue(d kind.Dump, f *kind.FileSite) ([]kind.BlobRef, error) {
	messages, err := peekStream(f)
	if r.Socket.Sort.Type != unix.SOCK_STREAM {
		messages, err = peekMessages(f)
	}
	if err != nil {
		return nil, err
	}
	if len(messages) > 0 && r.Socket.Options.has(unix.SOL_SOCKET, unix.SO_PASSCRED) {
		return nil, kind.Unsupportedf("a unix socket with messages that carry their sender's credentials (SO_PASSCRED)")
	}
	refs := make([]kind.BlobRef, len(messages))
	for i, m := range messages {
		if len(m) == 0 {
			continue
		}
		if refs[i], err = storeBytes(d, m); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// peek is recvfrom(2) with MSG_PEEK; ok is false if there is nothing.
func peek(f *kind.FileSite, n int) (b []byte, ok bool, err error) {
	r, err := f.Do(plan.Call{Nr: unix.SYS_RECVFROM, Args: []plan.Arg{self(f), plan.Out(n), plan.Int(n),
		plan.Int(unix.MSG_PEEK | unix.MSG_DONTWAIT | unix.MSG_TRUNC), plan.Int(0), plan.Int(0)}})
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("peeking into a socket: %w", err)
	case r.Ret > int64(n):
		return nil, false, fmt.Errorf("peeking into a socket: a message of %d bytes", r.Ret)
	}
	return r.Out[0][:r.Ret], true, nil
}

func peekStream(f *kind.FileSite) ([][]byte, error) {
	n, err := ioctlInt(f.Do, self(f), unix.TIOCINQ)
	if err != nil || n == 0 {
		return nil, err
	}
	b, _, err := peek(f, int(n))
	if err == nil && len(b) < int(n) {
		err = kind.Unsupportedf("a unix socket with urgent data or messages of several senders")
	}
	return [][]byte{b}, err
}

// maxMessage is more than net.core.wmem_max usually allows.
const maxMessage = 1 << 20

// peekMessages walks through the messages by SO_PEEK_OFF (socket(7)), and
// sets it back.
func peekMessages(f *kind.FileSite) (all [][]byte, err error) {
	off, err := getsockoptInt(f.Do, self(f), unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil {
		return nil, err
	}
	// Only if there is something: ckpt may be killed in between.
	if revents, err := poll(f.Do, self(f), unix.POLLIN); err != nil || revents&unix.POLLIN == 0 {
		return nil, err
	}
	if err := setPeekOff(f, 0); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, setPeekOff(f, off)) }()
	for {
		b, ok, err := peek(f, maxMessage)
		if err != nil || !ok || len(b) == 0 && ended(f) {
			return all, err
		}
		all = append(all, b)
	}
}

// ended says whether a receiver can be told the end of the messages, which
// then looks like an empty one.
func ended(f *kind.FileSite) bool {
	revents, err := poll(f.Do, self(f), unix.POLLRDHUP)
	return err == nil && revents&unix.POLLRDHUP != 0
}

func setPeekOff(f *kind.FileSite, off int32) error {
	_, err := f.Do(plan.Call{Nr: unix.SYS_SETSOCKOPT, Args: []plan.Arg{self(f), plan.Int(unix.SOL_SOCKET), plan.Int(unix.SO_PEEK_OFF),
		plan.Buf(binary.LittleEndian.AppendUint32(nil, uint32(off))), plan.Int(4)}})
	return err
}

func checkSocketpair(r socketpairRecord) error {
	if r.Outside.Streams != 0 {
		return checkStreams(r.Outside)
	}
	switch {
	case !r.Socket.Sort.isUnix():
		return fmt.Errorf("a pair of family %d, type %d, protocol %d", r.Socket.Sort.Domain, r.Socket.Sort.Type, r.Socket.Sort.Proto)
	case r.Socket.Local.bound():
		return errors.New("a pair with an address")
	case r.Shutdown > 3:
		return fmt.Errorf("shutdown %d", r.Shutdown)
	case r.Socket.Sort.Type == unix.SOCK_STREAM && (len(r.Queue) > 1 || len(r.Queue) == 1 && r.Queue[0] == 0):
		return fmt.Errorf("a stream in %d parts", len(r.Queue))
	}
	return r.Socket.check()
}
