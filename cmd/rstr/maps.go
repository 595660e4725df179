package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ckptool/ckpt/internal/cli"
	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/pkg/credmap"
	"github.com/ckptool/ckpt/pkg/image"
)

// maxMapFile bounds a file of ranges.
const maxMapFile = 1 << 20

// maps are what the caller says of the ids in the image.
type maps struct {
	uids, gids []string // FROM:TO[:COUNT], or @FILE
	rest       string   // "identity", or empty
}

// each turns the names of map files into paths.
func (m *maps) each(path func(string) string) {
	for _, values := range [][]string{m.uids, m.gids} {
		for i, v := range values {
			if name, isFile := strings.CutPrefix(v, "@"); isFile {
				values[i] = "@" + path(name)
			}
		}
	}
}

// restIdentity is the one value of --map-rest.
const restIdentity = "identity"

// of makes the map for an image; nil where nothing is to be mapped. What the
// caller does not map stays as it is in an image of this host, whose ids mean
// the same; in another host's it is an error unless she says so.
func (m *maps) of(h *image.Header, here string) (*credmap.Map, error) {
	if m.rest != "" && m.rest != restIdentity {
		return nil, cli.Misuse("--map-rest=%s: it can only be %s", m.rest, restIdentity)
	}
	same := h.Host == here || m.rest == restIdentity
	if same && len(m.uids)+len(m.gids) == 0 {
		return nil, nil
	}
	uids, err := ranges("--uidmap", m.uids, host.UserID)
	if err != nil {
		return nil, err
	}
	gids, err := ranges("--gidmap", m.gids, host.GroupID)
	if err != nil {
		return nil, err
	}
	out, err := credmap.New(uids, gids, same)
	if err != nil {
		return nil, cli.Misuse("%w", err)
	}
	return out, nil
}

func ranges(option string, values []string, find func(string) (uint32, error)) ([]credmap.Range, error) {
	var out []credmap.Range
	lookup := func(name string) (uint32, bool) {
		id, err := find(name)
		return id, err == nil
	}
	for _, v := range values {
		more, err := rangesOf(v, lookup)
		if err != nil {
			return nil, cli.Misuse("%s=%s: %w", option, v, err)
		}
		out = append(out, more...)
	}
	return out, nil
}

func rangesOf(v string, find credmap.Lookup) ([]credmap.Range, error) {
	name, isFile := strings.CutPrefix(v, "@")
	if !isFile {
		r, err := credmap.ParseRange(v, find)
		return []credmap.Range{r}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMapFile+1))
	if err == nil && len(text) > maxMapFile {
		err = fmt.Errorf("it is larger than %d bytes", maxMapFile)
	}
	if err != nil {
		return nil, err
	}
	return credmap.ParseFile(text, find)
}
