package abi

import (
	"bytes"
	"slices"
)

// SmapsVMA is one entry of /proc/PID/smaps: the area and what the kernel
// accounts and remembers about it. Sizes are in bytes.
type SmapsVMA struct {
	VMA
	// Flags are what the area was made or advised to be; they, the page size
	// and the protection key are state. The sizes only describe the moment.
	Flags          VMFlags
	KernelPageSize uint64 // 4096, or the size of a hugetlb page
	ProtectionKey  uint32
	Rss            uint64
	SharedClean    uint64 // of pages that others map too, with SharedDirty
	SharedDirty    uint64
	Anonymous      uint64
	Swap           uint64
	Locked         uint64
	SharedHugetlb  uint64
	PrivateHugetlb uint64
	UnknownFlags   []string // two-letter names that VMFlags does not have
	Unknown        []string // lines that this package does not know
}

// ParseSmaps reads the whole text of /proc/PID/smaps.
func ParseSmaps(text []byte) ([]SmapsVMA, error) {
	var s Smaps
	err := s.Add(text)
	return s.VMAs, err
}

// Smaps is /proc/PID/smaps, read in pieces: of many areas it is megabytes.
type Smaps struct {
	VMAs []SmapsVMA
	path string // of the last one
}

// Add reads the next piece, which ends with the end of a line.
func (s *Smaps) Add(text []byte) error {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if key, val, ok := smapsKey(line); ok {
			if len(s.VMAs) == 0 {
				return syntax("smaps", line, "no mapping before it")
			}
			if err := s.VMAs[len(s.VMAs)-1].set(key, val); err != nil {
				return err
			}
			continue
		}
		v, err := parseVMA("smaps", line, s.path)
		if err != nil {
			return err
		}
		s.path = v.Path
		if len(s.VMAs) == cap(s.VMAs) { // twice as many: append would move thousands several times more often
			s.VMAs = slices.Grow(s.VMAs, max(32, len(s.VMAs)))
		}
		s.VMAs = append(s.VMAs, SmapsVMA{VMA: v})
	}
	return nil
}

// smapsKey splits "Key: value"; keys begin with a capital letter, the line of
// an area with a small hexadecimal digit.
func smapsKey(line []byte) (key, val []byte, ok bool) {
	if len(line) == 0 || line[0] < 'A' || line[0] > 'Z' {
		return nil, nil, false
	}
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return nil, nil, false
	}
	return line[:i], trimLeft(line[i+1:]), true
}

func (v *SmapsVMA) set(key, val []byte) error {
	dst := (*uint64)(nil)
	switch string(key) {
	case "VmFlags":
		v.setFlags(val)
		return nil
	case "ProtectionKey":
		n, ok := parseUint(val, 10)
		v.ProtectionKey = uint32(n)
		return wrongUnless(ok, key, val)
	case "KernelPageSize":
		dst = &v.KernelPageSize
	case "Rss":
		dst = &v.Rss
	case "Shared_Clean":
		dst = &v.SharedClean
	case "Shared_Dirty":
		dst = &v.SharedDirty
	case "Anonymous":
		dst = &v.Anonymous
	case "Swap":
		dst = &v.Swap
	case "Locked":
		dst = &v.Locked
	case "Shared_Hugetlb":
		dst = &v.SharedHugetlb
	case "Private_Hugetlb":
		dst = &v.PrivateHugetlb
	default:
		if !smapsAccounting(key) {
			v.Unknown = append(v.Unknown, string(key)+": "+string(val))
		}
		return nil
	}
	n, rest, ok := leadUint(val, 10)
	*dst = n << 10
	return wrongUnless(ok && string(rest) == " kB", key, val)
}

func wrongUnless(ok bool, key, val []byte) error {
	if ok {
		return nil
	}
	return syntax("smaps", append(append(key[:len(key):len(key)], ": "...), val...), "not a size")
}

// smapsAccounting says whether the line is known to be a number that no
// checkpoint needs (proc_pid_smaps(5), Documentation/filesystems/proc.rst).
func smapsAccounting(key []byte) bool {
	switch string(key) {
	case "Size", "MMUPageSize", "Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem",
		"Private_Clean", "Private_Dirty", "Referenced",
		"KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped",
		"SwapPss", "THPeligible":
		return true
	}
	return false
}

func (v *SmapsVMA) setFlags(val []byte) {
	for len(val) > 0 {
		var f []byte
		f, val = cutField(val)
		if bit := vmFlag(f); bit != 0 {
			v.Flags |= bit
		} else if len(f) > 0 {
			v.UnknownFlags = append(v.UnknownFlags, string(f))
		}
	}
}
