package main

import (
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/sign"
)

// lineageOptions say where an image stands among those of the same job. Without
// any, it comes behind the last image of the tree that is known here.
type lineageOptions struct {
	from   string // an image
	serial string // a number, or tpm[:INDEX]
}

func (o *lineageOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.from, "lineage", "", "continue the lineage of `IMAGE`, and name it as the parent; default: the tree's own")
	f.StringVar(&o.serial, "serial", "", "`N`, the place in the lineage; tpm or tpm:INDEX: what a counter in the TPM says that never goes back")
}

func (o *lineageOptions) check() error {
	if _, counted := sign.CounterSpec(o.serial); o.serial == "" || counted {
		return nil
	}
	if _, err := strconv.ParseUint(o.serial, 10, 63); err != nil {
		return cli.Misuse("--serial=%s is neither a number nor tpm", o.serial)
	}
	return nil
}

// place puts lineage, serial and parent into the header of an image of pid.
func (o *lineageOptions) place(h *image.Header, pid int, tpm string, s *streams) error {
	last, err := o.last(pid, s)
	if err != nil {
		return err
	}
	h.Serial = 1
	if last != nil {
		h.Lineage, h.Parent = last.ID, last.Last
		h.Serial = last.Serial + 1
	}
	if last != nil && last.Serial == math.MaxUint64 {
		return fmt.Errorf("the lineage has no number left behind serial %d", last.Serial)
	}
	if o.serial == "" {
		return nil
	}
	if h.Serial, err = o.number(tpm); err != nil {
		return err
	}
	if last != nil && h.Serial <= last.Serial {
		return cli.Misuse("serial %d does not come behind %d, the last one of the lineage", h.Serial, last.Serial)
	}
	return nil
}

func (o *lineageOptions) number(tpm string) (uint64, error) {
	if index, ok := sign.CounterSpec(o.serial); ok {
		return sign.Count(index, sign.Options{TPM: tpm, Passphrase: cli.Passphrase})
	}
	return strconv.ParseUint(o.serial, 10, 63)
}

// last is the image to come behind, nil for none. What is remembered of the tree
// is a help only: where it can't be read, a lineage begins.
func (o *lineageOptions) last(pid int, s *streams) (*host.Lineage, error) {
	if o.from == "" {
		known, err := lineages()
		var last *host.Lineage
		if err == nil {
			last, err = known.Of(pid)
		}
		if err != nil {
			s.speaker.Detail("the image begins a new lineage: %v", err)
		}
		return last, nil
	}
	file, size, err := (&cli.Input{Path: o.from}).Open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, m, err := decoded(file, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.from, err)
	}
	return &host.Lineage{ID: m.Header.Lineage, Serial: m.Header.Serial, Last: image.ManifestDigest(r.ManifestBytes())}, nil
}

func lineages() (host.Lineages, error) {
	home, err := cli.Home()
	return host.OwnLineages(home, os.Getenv("XDG_STATE_HOME")), err
}

// remember lets the next image of the tree come behind this one.
func remember(pid int, h *image.Header, manifest []byte) error {
	known, err := lineages()
	if err != nil {
		return err
	}
	return known.Remember(pid, host.Lineage{ID: h.Lineage, Serial: h.Serial, Last: image.ManifestDigest(manifest)})
}
