package sign

import (
	"github.com/google/go-tpm/tpm2"
)

// TPMs lets several keys share a connection and a storage root key. A TPM behind a
// socket talks to one at a time, and has room for three keys, the root among them.
// The nil TPMs shares nothing. It is not for use by several goroutines at a time.
type TPMs struct{ open map[string]*tpmConn }

// NewTPMs shares what is opened with it.
func NewTPMs() *TPMs { return &TPMs{open: map[string]*tpmConn{}} }

// dial connects, or takes a connection that is there. Each must be closed.
func (s *TPMs) dial(o Options) (*tpmConn, error) {
	if s != nil && s.open[o.TPM] != nil && s.open[o.TPM].users > 0 {
		c := s.open[o.TPM]
		c.users++
		return c, nil
	}
	c, err := dialTPM(o.TPM)
	if err != nil {
		return nil, err
	}
	c.ask = o.Passphrase
	if s != nil {
		s.open[o.TPM] = c
	}
	return c, nil
}

// parent loads a storage key, or takes one that is loaded. Each must be unloaded.
func (c *tpmConn) parent(handle tpm2.TPMHandle) (*tpmParent, error) {
	if p := c.parents[handle]; p != nil && p.users > 0 {
		p.users++
		return p, nil
	}
	p, err := loadParent(c, handle)
	if err != nil {
		return nil, err
	}
	p.users = 1
	c.parents[handle] = &p
	return &p, nil
}

// unload makes room in a TPM without a resource manager.
func (p *tpmParent) unload(tpm *tpmConn) {
	if p.users--; p.users == 0 && p.flush {
		_, _ = tpm2.FlushContext{FlushHandle: p.Handle}.Execute(tpm)
	}
}
