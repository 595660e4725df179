package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Demand is a Need's demand, taken apart. The terms are those of the table in
// docs/security.md; what is none of them is granted by nobody.
type Demand struct {
	Term string // "uid", "file", "pid:here"
	ID   uint32 // of uid, gid, group+, group-, open-as; the owner of own
	GID  uint32 // of own
	Name string // of cap, rlimit, loosen, limit, ns; the path of file and memory
	Mode string // of file: "r", "w", "rw", or "x": to reach it
}

// plainTerms are demands that consist of their term alone.
var plainTerms = [...]string{"pid:here", "label", "sched", "oom", "exe-link", "map-files", "seccomp-no-nnp", "uffd-kernel", "root-dir"}

// ParseDemand takes a demand apart. An object without a path stands in the
// place of one by its Ref: "file:inode 7:rw".
func ParseDemand(s string) (Demand, error) {
	if slices.Contains(plainTerms[:], s) {
		return Demand{Term: s}, nil
	}
	for _, sign := range []string{"group+", "group-"} {
		if id, ok := strings.CutPrefix(s, sign); ok {
			return demandOfID(s, sign, id)
		}
	}
	term, rest, _ := strings.Cut(s, ":")
	d := Demand{Term: term, Name: rest}
	switch term {
	case "uid", "gid", "open-as":
		return demandOfID(s, term, rest)
	case "own":
		return demandOfOwner(s, rest)
	case "file":
		i := strings.LastIndexByte(rest, ':')
		if i <= 0 || !slices.Contains([]string{"r", "w", "rw", "x"}, rest[i+1:]) {
			return Demand{}, unknownDemand(s)
		}
		d.Name, d.Mode = rest[:i], rest[i+1:]
	case "cap", "rlimit", "loosen", "limit", "ns", "memory":
		if rest == "" {
			return Demand{}, unknownDemand(s)
		}
	default:
		return Demand{}, unknownDemand(s)
	}
	return d, nil
}

func unknownDemand(s string) error { return fmt.Errorf("%+q is no demand that anybody could grant", s) }

func demandOfID(s, term, text string) (Demand, error) {
	id, err := parseID(text)
	if err != nil {
		return Demand{}, unknownDemand(s)
	}
	return Demand{Term: term, ID: id}, nil
}

func demandOfOwner(s, rest string) (Demand, error) {
	u, g, _ := strings.Cut(rest, ":")
	uid, err1 := parseID(u)
	gid, err2 := parseID(g)
	if err1 != nil || err2 != nil {
		return Demand{}, unknownDemand(s)
	}
	return Demand{Term: "own", ID: uid, GID: gid}, nil
}

// parseID takes ids as they are printed, and so never -1, which means none.
func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 1<<32-1 || strconv.FormatUint(id, 10) != s {
		return 0, fmt.Errorf("id %+q", s)
	}
	return uint32(id), nil
}
