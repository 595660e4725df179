package sign

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// How long an agent may take: to answer, and to have a person confirm or touch.
const (
	agentDial = 5 * time.Second
	agentSign = 2 * time.Minute
)

// openAgent opens the agent's key that wanted describes: a comment, a fingerprint,
// a key in wire format, or, empty, the only one it has.
func openAgent(wanted string, o Options) (*Signer, error) {
	if o.AgentSocket == "" {
		return nil, fmt.Errorf("%w: SSH_AUTH_SOCK is not set", ErrAgent)
	}
	conn, err := net.DialTimeout("unix", o.AgentSocket, agentDial)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	s, err := agentSigner(conn, wanted)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	return s, nil
}

func agentSigner(conn net.Conn, wanted string) (*Signer, error) {
	if err := conn.SetDeadline(time.Now().Add(agentDial)); err != nil {
		return nil, err
	}
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		return nil, err
	}
	found, err := pick(keys, wanted)
	if err != nil {
		return nil, err
	}
	pub, err := ssh.ParsePublicKey(found.Blob)
	if err != nil {
		return nil, err
	}
	key := &agentKey{client: client, conn: conn, pub: pub}
	return &Signer{key: key, what: fmt.Sprintf("agent key %q", found.Comment), closer: conn}, nil
}

// pick chooses the one key that wanted describes. A key goes before certificates
// for it: a line of allowed_signers for the key does not match the certificate.
func pick(keys []*agent.Key, wanted string) (*agent.Key, error) {
	var plain, certs []*agent.Key
	for _, k := range keys {
		switch cert, ok := describes(wanted, k); {
		case ok && cert:
			certs = append(certs, k)
		case ok:
			plain = append(plain, k)
		}
	}
	if len(plain) == 0 {
		plain = certs
	}
	switch len(plain) {
	case 1:
		return plain[0], nil
	case 0:
		return nil, fmt.Errorf("no such key in it; it has %s", comments(keys))
	}
	return nil, fmt.Errorf("%d keys fit, name one by its fingerprint; it has %s", len(plain), comments(keys))
}

func describes(wanted string, k *agent.Key) (cert, ok bool) {
	pub, err := ssh.ParsePublicKey(k.Blob)
	if err != nil {
		return false, false // a type we do not know is none we can sign with
	}
	_, cert = pub.(*ssh.Certificate)
	return cert, wanted == "" || wanted == k.Comment || isKey(pub, wanted) || hasFingerprint(pub, wanted)
}

func comments(keys []*agent.Key) string {
	if len(keys) == 0 {
		return "none"
	}
	var names []string
	for _, k := range keys {
		names = append(names, fmt.Sprintf("%.80q", k.Comment))
	}
	return strings.Join(names, ", ")
}

// agentKey is an ssh.AlgorithmSigner whose private half is in an agent.
type agentKey struct {
	client agent.ExtendedAgent
	conn   net.Conn
	pub    ssh.PublicKey
}

func (k *agentKey) PublicKey() ssh.PublicKey { return k.pub }

func (k *agentKey) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(random, data, "")
}

func (k *agentKey) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	var flags agent.SignatureFlags
	if algorithm == ssh.KeyAlgoRSASHA512 {
		flags = agent.SignatureFlagRsaSha512
	}
	if err := k.conn.SetDeadline(time.Now().Add(agentSign)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	sig, err := k.client.SignWithFlags(k.pub, data, flags)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgent, err)
	}
	return sig, nil
}
