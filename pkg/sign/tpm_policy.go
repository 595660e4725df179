package sign

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// tpmPolicy is what a key wants besides, or instead of, its password.
type tpmPolicy struct {
	pcrs      tpm2.TPMLPCRSelection
	pcrDigest []byte // of their values; empty for no PCRs
	password  bool
}

// selection is PCRs of the SHA-256 bank.
func selection(pcrs []uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)},
	}}
}

// currentPolicy binds to the values that the PCRs have now.
func currentPolicy(tpm transport.TPM, pcrs []uint, password bool) (*tpmPolicy, error) {
	p := &tpmPolicy{pcrs: selection(pcrs), password: password}
	h := sha256.New()
	for _, pcr := range pcrs {
		// One at a time: a TPM gives at most eight in a response.
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection([]uint{pcr})}.Execute(tpm)
		if err != nil {
			return nil, tpmError("read PCRs", err)
		}
		if len(rsp.PCRValues.Digests) != 1 {
			return nil, fmt.Errorf("read PCRs: %w has no PCR %d in its SHA-256 bank", ErrTPM, pcr)
		}
		h.Write(rsp.PCRValues.Digests[0].Buffer)
	}
	p.pcrDigest = h.Sum(nil)
	return p, nil
}

func (p *tpmPolicy) pcrCommand() tpm2.PolicyPCR {
	return tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: p.pcrDigest}, Pcrs: p.pcrs}
}

// digest is what the key is made with.
func (p *tpmPolicy) digest() ([]byte, error) {
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if err := p.pcrCommand().Update(calc); err != nil {
		return nil, err
	}
	if p.password {
		if err := (tpm2.PolicyAuthValue{}).Update(calc); err != nil {
			return nil, err
		}
	}
	return calc.Hash().Digest, nil
}

// satisfy runs the policy in a session.
func (p *tpmPolicy) satisfy(tpm transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
	cmd := p.pcrCommand()
	cmd.PolicySession = session
	if _, err := cmd.Execute(tpm); err != nil {
		return tpmError(doingPolicy, err)
	}
	if p.password {
		if _, err := (tpm2.PolicyAuthValue{PolicySession: session}).Execute(tpm); err != nil {
			return tpmError(doingPolicy, err)
		}
	}
	return nil
}

// commands is the policy as a TSS2 PEM file holds it: each command's code and its
// parameters but handles, as on the wire.
func (p *tpmPolicy) commands() []*keyfile.TPMPolicy {
	digest := binary.BigEndian.AppendUint16(nil, uint16(len(p.pcrDigest)))
	list := []*keyfile.TPMPolicy{{
		CommandCode:   int(tpm2.TPMCCPolicyPCR),
		CommandPolicy: append(append(digest, p.pcrDigest...), tpm2.Marshal(p.pcrs)...),
	}}
	if p.password {
		list = append(list, &keyfile.TPMPolicy{CommandCode: int(tpm2.TPMCCPolicyAuthValue)})
	}
	return list
}

// parsePolicy reads a key file's policy: PolicyPCR, and then perhaps
// PolicyAuthValue. It is nil for no policy; any other is not ours to run.
func parsePolicy(list []*keyfile.TPMPolicy) (*tpmPolicy, error) {
	if len(list) == 0 {
		return nil, nil
	}
	p := &tpmPolicy{password: len(list) == 2}
	if len(list) > 2 || list[0].CommandCode != int(tpm2.TPMCCPolicyPCR) ||
		p.password && (list[1].CommandCode != int(tpm2.TPMCCPolicyAuthValue) || len(list[1].CommandPolicy) != 0) {
		return nil, fmt.Errorf("%w: its policy is not of PCRs and a password", ErrTPMKey)
	}
	b := list[0].CommandPolicy
	if len(b) < 2+sha256.Size || binary.BigEndian.Uint16(b) != sha256.Size {
		return nil, fmt.Errorf("%w: malformed PCR policy", ErrTPMKey)
	}
	p.pcrDigest = bytes.Clone(b[2 : 2+sha256.Size])
	pcrs, err := tpm2.Unmarshal[tpm2.TPMLPCRSelection](b[2+sha256.Size:])
	if err != nil {
		return nil, fmt.Errorf("%w: malformed PCR policy: %w", ErrTPMKey, err)
	}
	p.pcrs = *pcrs
	return p, nil
}
