package main

import (
	"os"
	"time"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
	"github.com/ckptool/ckpt/pkg/verify"
	"github.com/ckptool/ckpt/pkg/verify/quote"
	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const signUsage = `usage: ckpt sign [options] [IMAGE]

Adds a signature to an image. The IMAGE is replaced as a whole, unless -o says
where the result goes; from standard input it goes to standard output. The
signatures that are there already must be right, and so must be the data.

`

// defaultSpool is how much of a piped image is stored at most, in bytes.
const defaultSpool = 1 << 40

// signImage is "ckpt sign".
func signImage(args []string, s *streams) error {
	var keys keyOptions
	var to outputOptions
	f := flagSet("ckpt sign", s.out, signUsage)
	f.StringArrayVarP(&keys.keys, "key", "k", nil, "sign with `KEY`, as ckpt --sign=KEY; may be repeated; default: the user's own key")
	f.StringVar(&keys.tpm, "tpm", os.Getenv("CKPT_TPM"), "the TPM: a device, a unix socket or `HOST:PORT`")
	to.add(f)
	limit := f.Int64("spool-limit", defaultSpool, "store at most `BYTES` of an image that comes from a pipe")
	if err := parse(f, args, "one IMAGE", 0, 1); err != nil {
		return err
	}
	to.fdGiven = f.Changed("output-fd")
	if path := f.Arg(0); path != "" && path != "-" && to.path == "" && !to.fdGiven {
		to.path, to.force = path, true
	}
	if len(keys.keys) == 0 {
		keys.keys = []string{defaultKey}
	}
	if err := to.check("ckpt sign -o FILE"); err != nil {
		return err
	}
	progress := cli.NewProgress(s.errs, "ckpt")
	defer progress.Stop()
	in := cli.Input{Path: f.Arg(0), In: s.in, Limit: *limit, Progress: progress, Instead: "ckpt sign IMAGE"}
	err := addSignature(&in, &keys, &to, s)
	if err != nil {
		to.giveUp(err)
	}
	return err
}

func addSignature(in *cli.Input, keys *keyOptions, to *outputOptions, s *streams) error {
	file, size, err := in.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := whole(file, size)
	if err != nil {
		return err
	}
	if err := kernelio.SetDumpable(0); err != nil {
		return err
	}
	signers, err := keys.open(s)
	if err != nil {
		return err
	}
	defer closeAll(signers)
	sigs := r.Signatures()
	for _, key := range signers {
		blob, err := key.Sign(r.ManifestBytes())
		if err != nil {
			return err
		}
		sigs = sign.Add(sigs, blob)
	}
	if err := fits(r, sigs); err != nil {
		return err
	}
	out, err := to.open()
	if err != nil {
		return err
	}
	defer out.Close()
	if err := r.WriteSigned(out, sigs); err != nil {
		return err
	}
	return out.Commit()
}

// whole reads an image and holds all its data against its manifest: nobody
// should sign what can't be restored.
func whole(file *os.File, size int64) (*image.Reader, error) {
	r, m, err := decoded(file, size)
	if err != nil {
		return nil, err
	}
	return r, allData(m, r.EachRun)
}

// decoded reads the manifest of an image whose signatures are right, be they
// anybody's.
func decoded(file *os.File, size int64) (*image.Reader, *image.Manifest, error) {
	if _, err := verify.Check(file, size, verify.Options{Now: time.Now()}); err != nil {
		return nil, nil, err
	}
	r, err := image.Open(file, size)
	if err != nil {
		return nil, nil, err
	}
	m, err := r.Decode()
	return r, m, err
}

// allData reads all blobs of an image, each chunk of which is verified.
func allData(m *image.Manifest, each func(image.Blob, int, func([]byte, []image.Extent) error) error) error {
	for _, b := range m.Blobs {
		if err := each(b, 0, func([]byte, []image.Extent) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// fits refuses signatures that no verifier would take.
func fits(r *image.Reader, sigs [][]byte) error {
	seen, quotes := map[string]bool{}, 0
	for _, blob := range sigs {
		if quote.Is(blob) {
			quotes++
			continue
		}
		sig, err := sshsig.Parse(blob)
		if err != nil {
			return err
		}
		name := sig.Namespace + " " + sshsig.Fingerprint(sig.Key)
		if seen[name] {
			return cli.Misuse("the image has a signature by %s already", sshsig.Fingerprint(sig.Key))
		}
		seen[name] = true
	}
	if len(sigs) == len(r.Signatures()) {
		return cli.Misuse("the image has this very signature already")
	}
	if n := len(sigs) - quotes; n > verify.MaxSignatures {
		return cli.Fail(cli.BadSign, "%w: the image would have %d, at most %d are allowed", verify.ErrTooMany, n, verify.MaxSignatures)
	}
	return nil
}
