package main

import (
	"fmt"
	"os"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const showUsage = `usage: ckpt show [options] IMAGE

Says what an image holds, who signed it and whether that signer is trusted
here. --manifest and --signature print the two files that
"ssh-keygen -Y verify" needs.

`

func show(args []string, s *streams) error {
	f := flagSet("ckpt show", s.out, showUsage)
	manifest := f.Bool("manifest", false, "print the signed bytes")
	signature := f.Bool("signature", false, "print the signature, armored")
	if err := parse(f, args, "one IMAGE", 1); err != nil {
		return err
	}
	file, err := os.Open(f.Arg(0))
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	switch {
	case *manifest || *signature:
		return showRaw(file, st.Size(), *manifest, s)
	}
	return showReport(file, st.Size(), s)
}

func showRaw(file *os.File, size int64, manifest bool, s *streams) error {
	r, err := image.Open(file, size)
	if err != nil {
		return err
	}
	if manifest {
		_, err = s.out.Write(r.ManifestBytes())
		return err
	}
	if len(r.Signatures()) == 0 {
		return verify.ErrUnsigned
	}
	for _, blob := range r.Signatures() {
		if _, err := s.out.Write(sshsig.Armor(blob)); err != nil {
			return err
		}
	}
	return nil
}

func showReport(file *os.File, size int64, s *streams) error {
	p, err := places()
	if err != nil {
		return err
	}
	trust, err := host.TrustFiles(map[string]verify.Source{sign.SystemTrust: verify.System, p.Trust(): verify.Own})
	if err != nil {
		return err
	}
	r, err := verify.Inspect(file, size, verify.Options{Trust: trust, Caller: uint32(os.Getuid()), Now: time.Now()})
	if err != nil {
		return err
	}
	if r.Refusal != nil {
		fmt.Fprintf(s.out, "BAD IMAGE: %v\n", r.Refusal)
	}
	showSigner(r, s)
	if err := showTree(r, s); err != nil {
		return err
	}
	return r.Refusal
}

func showSigner(r *verify.Report, s *streams) {
	v := &r.Verdict
	switch {
	case !v.Signed:
		fmt.Fprintf(s.out, "signed     no\n")
	case v.Trusted:
		fmt.Fprintf(s.out, "signed     by %+q, %s %s, trusted by %s\n", v.Signer, v.Algorithm, v.Key, v.Path)
	default:
		fmt.Fprintf(s.out, "signed     by %+q, %s %s, not trusted here\n", v.Signer, v.Algorithm, v.Key)
	}
	for _, why := range v.Reasons {
		fmt.Fprintf(s.out, "           %v\n", why)
	}
	fmt.Fprintf(s.out, "manifest   sha256:%x\n", v.Manifest)
	h := &r.Header
	fmt.Fprintf(s.out, "made       %s by user %d, kernel %+q, host %+q\n", time.Unix(h.Created, 0).UTC().Format(time.RFC3339), h.Caller.UID, h.Kernel, h.Host)
}

var stateNames = map[kind.State]string{kind.Running: "", kind.Stopped: " stopped", kind.Zombie: " zombie", kind.Vacant: " gone leader"}

func showTree(r *verify.Report, s *streams) error {
	var t kind.Tree
	if err := image.Unmarshal(r.Manifest.Tree, &t); err != nil {
		return fmt.Errorf("the tree: %w", err)
	}
	m := r.Manifest
	fmt.Fprintf(s.out, "content    %d records, %s of data in %s\n", len(m.Records), cli.Bytes(m.Totals.Raw), cli.Bytes(m.Totals.Stored))
	for i := range t.Tasks {
		n := &t.Tasks[i]
		fmt.Fprintf(s.out, "process    %d %+q%s, %d threads\n", n.PID, n.Comm, stateNames[n.State], len(n.Threads))
	}
	return nil
}
