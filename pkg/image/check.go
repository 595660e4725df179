package image

import (
	"fmt"
	"strings"
)

// Bounds of a manifest. They are part of the format: SPEC.md has the same numbers.
const (
	MaxManifest = 64 << 20 // bytes
	maxChunks   = 1 << 26  // 16 TiB of raw bytes
	maxPIDs     = 1 << 22  // PID_MAX_LIMIT, linux/threads.h
	maxString   = 255
	maxCeiling  = 256
	maxFeatures = 1024
	maxGroups   = 1 << 16 // NGROUPS_MAX, linux/limits.h
	maxMap      = 340     // UID_GID_MAP_MAX_EXTENTS, linux/user_namespace.h
	maxOptions  = 64
	maxValue    = 4096
	maxKind     = 64
	maxRecords  = 1 << 20
	maxTree     = 16 << 20
)

// check refuses what a Writer cannot have written.
func (m *Manifest) check() error {
	if m.Format != FormatVersion {
		return fmt.Errorf("format %d: %w", m.Format, ErrVersion)
	}
	if m.Digest != DigestSHA256 {
		return fmt.Errorf("digest algorithm %d: %w", m.Digest, ErrVersion)
	}
	if err := m.Header.check(); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if err := m.PIDs.check(); err != nil {
		return err
	}
	if len(m.Tree) > maxTree {
		return fmt.Errorf("tree of %d bytes: %w", len(m.Tree), ErrLimit)
	}
	if err := checkRecords(m.Records); err != nil {
		return err
	}
	return m.checkTable()
}

// checkTable checks that blobs, segments and totals describe one table.
func (m *Manifest) checkTable() error {
	if m.Totals.Chunks > maxChunks {
		return fmt.Errorf("%d chunks: %w", m.Totals.Chunks, ErrLimit)
	}
	raw, err := checkBlobs(m.Blobs, m.Totals.Chunks)
	if err != nil {
		return err
	}
	if raw != m.Totals.Raw {
		return fmt.Errorf("the blobs have %d bytes, not %d: %w", raw, m.Totals.Raw, ErrFormat)
	}
	return m.checkSegments()
}

func (m *Manifest) checkSegments() error {
	if n := segmentsOf(m.Totals.Chunks); uint64(len(m.Segments)) != n {
		return fmt.Errorf("%d table segments, not %d: %w", len(m.Segments), n, ErrFormat)
	}
	end := uint64(magicSize)
	for i, s := range m.Segments {
		if s.End < end {
			return fmt.Errorf("table segment %d ends before it starts: %w", i, ErrFormat)
		}
		end = s.End
	}
	if end-magicSize != m.Totals.Stored {
		return fmt.Errorf("the segments have %d bytes, not %d: %w", end-magicSize, m.Totals.Stored, ErrFormat)
	}
	return nil
}

func (h *Header) check() error {
	switch h.Class {
	case ClassSelf, ClassOperator, ClassHost:
	default:
		return fmt.Errorf("class %.40q: %w", h.Class, ErrFormat)
	}
	for _, s := range []string{h.Signer, h.Audience, h.Host, h.Kernel, h.Arch} {
		if err := checkString(s, maxString); err != nil {
			return err
		}
	}
	if err := checkStrings("ceiling", h.Ceiling, maxCeiling); err != nil {
		return err
	}
	if err := checkStrings("cpu features", h.CPU, maxFeatures); err != nil {
		return err
	}
	if err := h.Caller.check(); err != nil {
		return fmt.Errorf("caller: %w", err)
	}
	return checkOptions(h.Options)
}

func (c *Caller) check() error {
	if n := len(c.Groups); n > maxGroups {
		return fmt.Errorf("%d groups: %w", n, ErrLimit)
	}
	if n := max(len(c.UIDMap), len(c.GIDMap)); n > maxMap {
		return fmt.Errorf("id map of %d lines: %w", n, ErrLimit)
	}
	return nil
}

func checkString(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("string of %d bytes, at most %d: %w", len(s), limit, ErrLimit)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("string %.40q has a NUL: %w", s, ErrFormat)
	}
	return nil
}

func checkStrings(what string, list []string, limit int) error {
	if len(list) > limit {
		return fmt.Errorf("%s: %d entries, at most %d: %w", what, len(list), limit, ErrLimit)
	}
	for _, s := range list {
		if err := checkString(s, maxString); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func checkOptions(options map[string]string) error {
	if len(options) > maxOptions {
		return fmt.Errorf("%d options, at most %d: %w", len(options), maxOptions, ErrLimit)
	}
	for name, value := range options {
		if err := checkString(name, maxString); err != nil {
			return fmt.Errorf("option: %w", err)
		}
		if err := checkString(value, maxValue); err != nil {
			return fmt.Errorf("option %q: %w", name, err)
		}
	}
	return nil
}

func (p PIDs) check() error {
	if len(p) > maxPIDs {
		return fmt.Errorf("%d pids: %w", len(p), ErrLimit)
	}
	for _, pid := range p {
		if pid == 0 || pid > maxPIDs {
			return fmt.Errorf("pid %d: %w", pid, ErrFormat)
		}
	}
	return nil
}

func checkRecords(records Records) error {
	if len(records) > maxRecords {
		return fmt.Errorf("%d records: %w", len(records), ErrLimit)
	}
	for i, r := range records {
		if !kindName(r.Kind) {
			return fmt.Errorf("record %d: kind %.80q: %w", i, r.Kind, ErrFormat)
		}
		if len(r.Body) == 0 {
			return fmt.Errorf("record %d (%s) has no body: %w", i, r.Kind, ErrFormat)
		}
		if len(r.Body) > MaxBody {
			return fmt.Errorf("record %d (%s): body of %d bytes: %w", i, r.Kind, len(r.Body), ErrLimit)
		}
	}
	return nil
}

// kindName reports whether s may name a kind: 1 to 64 of a-z, 0-9, '-', '_', '.'.
func kindName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= maxKind
}
