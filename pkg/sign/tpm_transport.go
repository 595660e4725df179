package sign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// DefaultTPM is the kernel's resource manager for the machine's TPM (tpm(4)).
const DefaultTPM = "/dev/tpmrm0"

const (
	tpmDial    = 5 * time.Second
	tpmCommand = 30 * time.Second // a slow chip makes an RSA key in that time
	tpmBackoff = 5 * time.Millisecond
	tpmHeader  = 10   // tag, size, response code
	tpmMax     = 4096 // TPM2_MAX_RESPONSE_SIZE, TCG PC Client profile
)

// tpmConn sends commands to a TPM: with a deadline, again when it asks for that,
// and without believing what it says of its own response's size.
type tpmConn struct {
	rw      io.ReadWriteCloser
	timeout time.Duration
	broken  error
	users   int
	parents map[tpm2.TPMHandle]*tpmParent // that are loaded, or were

	ask           func(what string) ([]byte, error) // for the owner's password; nil: nobody
	ownerPassword []byte
}

// dialTPM connects to what address names: a device or a unix socket by its path,
// else a TCP host:port; empty is DefaultTPM.
func dialTPM(address string) (*tpmConn, error) {
	if address == "" {
		address = DefaultTPM
	}
	rw, err := patiently(address)
	switch {
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EAGAIN):
		return nil, fmt.Errorf("%w: another program has %q: %w", ErrTPMBusy, address, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: no right to use it: %w", ErrTPMMissing, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is none at %q", ErrTPMMissing, address)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTPMMissing, err)
	}
	return &tpmConn{rw: rw, timeout: tpmCommand, users: 1, parents: map[tpm2.TPMHandle]*tpmParent{}}, nil
}

// patiently waits while another program has the TPM: /dev/tpm0 is for one at a time
// (EBUSY), and a socket has a short queue (EAGAIN).
func patiently(address string) (io.ReadWriteCloser, error) {
	for until := time.Now().Add(tpmDial); ; time.Sleep(tpmBackoff) {
		rw, err := openTPM(address)
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN) || time.Now().After(until) {
			return rw, err
		}
	}
}

func openTPM(address string) (io.ReadWriteCloser, error) {
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, ".") {
		return net.DialTimeout("tcp", address, tpmDial)
	}
	fi, err := os.Stat(address)
	if err != nil {
		return nil, err
	}
	switch fi.Mode().Type() {
	case fs.ModeSocket:
		return net.DialTimeout("unix", address, tpmDial)
	case fs.ModeDevice | fs.ModeCharDevice:
		f, err := os.OpenFile(address, os.O_RDWR, 0)
		if err == nil {
			// A TPM's device that is read before its answer is there says that it has
			// none (drivers/char/tpm/tpm-dev-common.c), unless it may block. Fd sees to that.
			f.Fd()
		}
		return f, err
	}
	return nil, fmt.Errorf("%q is neither a device nor a socket", address)
}

// Close closes the connection, if nobody else has it; sessions and keys that are
// still loaded are the resource manager's to flush.
func (c *tpmConn) Close() error {
	if c.users--; c.users > 0 {
		return nil
	}
	return c.rw.Close()
}

// Send is one command and its response. Responses that ask to try again are
// answered by trying again, until the deadline of the whole.
func (c *tpmConn) Send(command []byte) ([]byte, error) {
	until := time.Now().Add(c.timeout)
	for pause := tpmBackoff; ; pause *= 2 {
		response, err := c.exchange(command, time.Until(until))
		if err != nil {
			return nil, err
		}
		if !tryAgain(tpm2.TPMRC(binary.BigEndian.Uint32(response[6:]))) {
			return response, nil
		}
		if time.Now().Add(pause).After(until) {
			return nil, fmt.Errorf("%w: no answer but to try again for %v", ErrTPMBusy, c.timeout)
		}
		time.Sleep(pause)
	}
}

func tryAgain(rc tpm2.TPMRC) bool {
	switch rc {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
		return true
	}
	return false
}

// exchange gives up after limit and closes the connection then: what comes later
// would be taken for the answer to another command.
func (c *tpmConn) exchange(command []byte, limit time.Duration) ([]byte, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	type result struct {
		response []byte
		err      error
	}
	done := make(chan result, 1)
	go func() {
		response, err := c.roundTrip(command)
		done <- result{response, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			c.broken = r.err
		}
		return r.response, r.err
	case <-timer.C:
		c.broken = fmt.Errorf("%w: no answer in %v", ErrTPMBusy, c.timeout)
		return nil, errors.Join(c.broken, c.rw.Close())
	}
}

func (c *tpmConn) roundTrip(command []byte) ([]byte, error) {
	if _, err := c.rw.Write(command); err != nil {
		return nil, fmt.Errorf("%w: write: %w", ErrTPM, err)
	}
	// The device wants to be read in one go, a socket may take several.
	b := make([]byte, tpmMax)
	n, err := io.ReadAtLeast(c.rw, b, tpmHeader)
	if err != nil {
		return nil, fmt.Errorf("%w: read: %w", ErrTPM, err)
	}
	size := int(binary.BigEndian.Uint32(b[2:]))
	if size < max(n, tpmHeader) || size > tpmMax {
		return nil, fmt.Errorf("%w: response of %d bytes that says %d", ErrTPM, n, size)
	}
	if _, err := io.ReadFull(c.rw, b[n:size]); err != nil {
		return nil, fmt.Errorf("%w: read: %w", ErrTPM, err)
	}
	return b[:size], nil
}
