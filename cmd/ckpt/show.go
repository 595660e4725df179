package main

import (
	"fmt"
	"os"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/quote"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const showUsage = `usage: ckpt show [options] [IMAGE]

Says what an image holds, who signed it and whether that signer is trusted
here; of a bad image it says so first, and ends with the code that rstr would
end with. --manifest and --signature print the two files that
"ssh-keygen -Y verify" needs.

`

// showOptions are the options of "ckpt show".
type showOptions struct {
	manifest, signature bool
	attestation         bool
	json                bool
	data                bool
	trust               string
	machines            string
	in                  cli.Input
}

func show(args []string, s *streams) error {
	o := showOptions{in: cli.Input{In: s.in, Instead: "ckpt show IMAGE"}}
	f := flagSet("ckpt show", s.out, showUsage)
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.data, "data", false, "read and verify all the data too")
	f.StringVar(&o.trust, "verify", "", "judge by a `FILE` of allowed signers too")
	f.StringVar(&o.machines, "attest", "", "judge the image's quote by a `FILE` of machines too")
	f.BoolVar(&o.manifest, "manifest", false, "print the signed bytes")
	f.BoolVar(&o.signature, "signature", false, "print the signatures, armored")
	f.BoolVar(&o.attestation, "attestation", false, "print the line by which a list for rstr --attest=FILE would believe the image's quote")
	f.Int64Var(&o.in.Limit, "spool-limit", defaultSpool, "store at most `BYTES` of an image that comes from a pipe")
	if err := parse(f, args, "one IMAGE", 0, 1); err != nil {
		return err
	}
	o.in.Path = f.Arg(0)
	switch {
	case count(o.manifest, o.signature, o.attestation, o.json) > 1:
		return cli.Misuse("--json, --manifest, --signature and --attestation exclude each other")
	case o.manifest && cli.IsTerminal(int(s.out.Fd())):
		return cli.WithHint(cli.Misuse("a manifest is not for a terminal"), "ckpt show --manifest %s > FILE", f.Arg(0))
	}
	file, size, err := o.in.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	if o.manifest || o.signature || o.attestation {
		return o.raw(file, size, s)
	}
	return o.report(file, size, s)
}

// raw prints a part of the image as it is.
func (o *showOptions) raw(file *os.File, size int64, s *streams) error {
	r, err := image.Open(file, size)
	if err != nil {
		return err
	}
	if o.manifest {
		_, err = s.out.Write(r.ManifestBytes())
		return err
	}
	found := false
	for _, blob := range r.Signatures() {
		if quote.Is(blob) != o.attestation {
			continue
		}
		text := sshsig.Armor(blob)
		if o.attestation {
			if text, err = enrolling(blob, r); err != nil {
				return err
			}
		}
		found = true
		if _, err := s.out.Write(text); err != nil {
			return err
		}
	}
	switch {
	case found:
		return nil
	case o.attestation:
		return fmt.Errorf("%w: the image has no quote", verify.ErrAttest)
	}
	return verify.ErrUnsigned
}

// enrolling is the line that would have the quote believed, if it is one.
func enrolling(blob []byte, r *image.Reader) ([]byte, error) {
	q, err := quote.Parse(blob)
	if err == nil {
		err = q.Verify(image.ManifestDigest(r.ManifestBytes()))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", verify.ErrSignature, err)
	}
	return []byte(q.Line("MACHINE")), nil
}

func count(set ...bool) (n int) {
	for _, b := range set {
		if b {
			n++
		}
	}
	return n
}

// report prints what the image holds, and ends as a restore that insists on
// nothing would.
func (o *showOptions) report(file *os.File, size int64, s *streams) error {
	trust, err := readTrust(o.trust)
	if err != nil {
		return err
	}
	vo, err := trust.Options(o.machines)
	if err != nil {
		return err
	}
	vo.Caller, vo.Now = uint32(os.Getuid()), time.Now()
	v, err := verify.Inspect(file, size, vo)
	if err != nil {
		return err
	}
	if o.data && v.Refusal == nil {
		v.Refusal = dataOf(file, size)
	}
	r, err := newReport(v, size)
	if err != nil {
		return err
	}
	r.Content.Read = o.data && v.Refusal == nil
	if o.json {
		err = r.json(s.out)
	} else {
		err = r.text(s.out)
	}
	if err != nil {
		return err
	}
	return v.Refusal
}

// dataOf is what is wrong with the data of an image.
func dataOf(file *os.File, size int64) error {
	r, err := image.Open(file, size)
	if err != nil {
		return err
	}
	m, err := r.Decode()
	if err != nil {
		return err
	}
	if err := allData(m, r.EachRun); err != nil {
		return fmt.Errorf("the data: %w", err)
	}
	return nil
}

func readTrust(extra string) (host.Trust, error) {
	home, err := cli.Home()
	if err != nil {
		return host.Trust{}, err
	}
	return host.ReadTrust(home, os.Getenv("XDG_CONFIG_HOME"), extra)
}
