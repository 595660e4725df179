package sign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// DefaultCounter is the NV index of the counter that Count uses, in the range that
// the TCG leaves to the owner (Registry of Reserved TPM 2.0 Handles, 2.2).
const DefaultCounter = 0x0183636b

const maxOwnerIndex = 0x01bfffff

// CounterSpec reads tpm[:INDEX], a counter in the TPM.
func CounterSpec(spec string) (index uint32, ok bool) {
	if spec == "tpm" {
		return DefaultCounter, true
	}
	text, ok := strings.CutPrefix(spec, "tpm:")
	n, err := strconv.ParseUint(text, 0, 32)
	return uint32(n), ok && err == nil && n>>24 == 0x01 && n <= maxOwnerIndex // TPM_HT_NV_INDEX
}

// Count moves a counter of the TPM on by one and returns its value, which no later
// Count returns again: a TPM never lets a counter go back, not even one that was
// deleted and made anew. The first use makes it. Errors wrap ErrTPM.
func Count(index uint32, o Options) (n uint64, err error) {
	conn, err := o.TPMs.dial(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if n, err = conn.count(tpm2.TPMHandle(index)); err != nil {
		return 0, fmt.Errorf("counter 0x%08x: %w", index, err)
	}
	return n, nil
}

func (c *tpmConn) count(index tpm2.TPMHandle) (uint64, error) {
	nv, err := c.counter(index)
	if errors.Is(err, tpm2.TPMRCHandle) {
		if err = c.makeCounter(index); err == nil {
			nv, err = c.counter(index)
		}
	}
	if err != nil {
		return 0, err
	}
	if _, err := (tpm2.NVIncrement{AuthHandle: nv, NVIndex: nv.named()}).Execute(c); err != nil {
		return 0, tpmError("increment", err)
	}
	// The first increment changes what the index is called.
	if nv, err = c.counter(index); err != nil {
		return 0, err
	}
	rsp, err := tpm2.NVRead{AuthHandle: nv, NVIndex: nv.named(), Size: 8}.Execute(c)
	if err != nil {
		return 0, tpmError("read", err)
	}
	if len(rsp.Data.Buffer) != 8 {
		return 0, fmt.Errorf("read: %w: %d bytes", ErrTPM, len(rsp.Data.Buffer))
	}
	return binary.BigEndian.Uint64(rsp.Data.Buffer), nil
}

// nvIndex authorizes the use of an index by its own password, which is empty.
type nvIndex struct{ tpm2.AuthHandle }

func (n nvIndex) named() tpm2.NamedHandle {
	return tpm2.NamedHandle{Handle: n.Handle, Name: n.Name}
}

// counter finds an index and makes sure that it can only go up.
func (c *tpmConn) counter(index tpm2.TPMHandle) (nvIndex, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(c)
	if err != nil {
		return nvIndex{}, tpmError("look it up", err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nvIndex{}, tpmError("look it up", err)
	}
	if public.Attributes.NT != tpm2.TPMNTCounter || public.DataSize != 8 {
		return nvIndex{}, fmt.Errorf("%w: somebody uses the index for something that is no counter", ErrTPM)
	}
	return nvIndex{tpm2.AuthHandle{Handle: index, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)}}, nil
}

func (c *tpmConn) makeCounter(index tpm2.TPMHandle) error {
	return c.asOwner(func(owner tpm2.AuthHandle) error {
		_, err := tpm2.NVDefineSpace{
			AuthHandle: owner,
			PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
				NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
				Attributes: tpm2.TPMANV{NT: tpm2.TPMNTCounter, OwnerWrite: true, AuthWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
			}),
		}.Execute(c)
		if err != nil {
			return tpmError("make it", err)
		}
		return nil
	})
}
