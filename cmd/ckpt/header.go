package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"runtime"
	"time"

	"github.com/ckptool/ckpt/internal/host"
	"github.com/ckptool/ckpt/internal/kernelio"
	"github.com/ckptool/ckpt/pkg/image"
)

// header says who made the image, and where.
func header() (image.Header, error) {
	h := image.Header{Class: image.ClassSelf, Created: time.Now().Unix(), Host: host.MachineID(), Arch: runtime.GOARCH}
	rand.Read(h.ID[:])
	rand.Read(h.Lineage[:])
	var err error
	if h.Caller, err = caller(); err != nil {
		return h, err
	}
	if h.Kernel, err = host.Kernel(); err != nil {
		return h, err
	}
	h.CPU, err = host.CPUFeatures()
	return h, err
}

// caller is who runs ckpt, and what its user namespace makes of ids.
func caller() (c image.Caller, err error) {
	if c.UID, c.GID, c.Groups, err = host.Caller(); err != nil {
		return c, err
	}
	if c.UIDMap, err = idMap("/proc/self/uid_map"); err != nil {
		return c, err
	}
	c.GIDMap, err = idMap("/proc/self/gid_map")
	return c, err
}

// idMap reads a mapping of ids (user_namespaces(7)).
func idMap(path string) ([]image.IDRange, error) {
	b, err := kernelio.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []image.IDRange
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var r image.IDRange
		if _, err := fmt.Sscan(lines.Text(), &r.Inside, &r.Outside, &r.Count); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		out = append(out, r)
	}
	return out, nil
}
