package main

import (
	"fmt"
	"time"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/kinds"
	"github.com/ckptool/ckpt/internal/plan"
	"github.com/ckptool/ckpt/pkg/image"
	"github.com/ckptool/ckpt/pkg/verify"
)

// report is what "ckpt show" says. The names of its fields in JSON are a
// promise to scripts; sizes are in bytes, times in RFC 3339.
type report struct {
	Refused   string        `json:"refused,omitempty"` // why a restore would refuse it
	ID        string        `json:"id"`
	Manifest  string        `json:"manifest"` // what rstr --expect takes
	Size      int64         `json:"size"`
	Signature signatureInfo `json:"signature"`
	Others    []otherInfo   `json:"other_signatures,omitempty"`
	Quote     *quoteInfo    `json:"quote,omitempty"`
	Made      madeInfo      `json:"made"`
	Content   contentInfo   `json:"content"`
	Processes []processInfo `json:"processes"`
}

type signatureInfo struct {
	Signed    bool     `json:"signed"`
	Trusted   bool     `json:"trusted"`
	Grants    bool     `json:"grants"` // may open more than the caller has
	Class     string   `json:"class,omitempty"`
	Signer    string   `json:"signer,omitempty"`
	Key       string   `json:"key,omitempty"`
	CA        string   `json:"ca,omitempty"`
	Algorithm string   `json:"algorithm,omitempty"`
	TrustedBy string   `json:"trusted_by,omitempty"` // a file
	Reasons   []string `json:"reasons,omitempty"`    // why it is not trusted, or grants nothing
}

type otherInfo struct {
	Class     string   `json:"class"`
	Signer    string   `json:"signer,omitempty"`
	Key       string   `json:"key"`
	Algorithm string   `json:"algorithm"`
	Trusted   bool     `json:"trusted"`
	Reasons   []string `json:"reasons,omitempty"`
}

// quoteInfo is what a TPM stated of the machine of the dump.
type quoteInfo struct {
	Key     string `json:"key"`
	PCRs    string `json:"pcrs"`              // sha256:0,7
	Digest  string `json:"digest"`            // of their values
	Machine string `json:"machine,omitempty"` // as the system's list knows it
	Reason  string `json:"reason,omitempty"`  // why no list believes it
}

type madeInfo struct {
	At         string   `json:"at"`
	NotAfter   string   `json:"not_after,omitempty"`
	For        string   `json:"for,omitempty"` // a host
	UID        uint32   `json:"uid"`
	GID        uint32   `json:"gid"`
	Host       string   `json:"host,omitempty"`
	Kernel     string   `json:"kernel"`
	Arch       string   `json:"arch"`
	CPU        []string `json:"cpu,omitempty"`
	Lineage    string   `json:"lineage"`
	Serial     uint64   `json:"serial"`
	Parent     string   `json:"parent,omitempty"`
	Once       bool     `json:"once,omitempty"`
	NoRollback bool     `json:"no_rollback,omitempty"`
}

type contentInfo struct {
	Records int            `json:"records"`
	Raw     uint64         `json:"raw"`    // bytes of data
	Stored  uint64         `json:"stored"` // the same, compressed
	Read    bool           `json:"read"`   // the data was read and verified (--data)
	Threads int            `json:"threads"`
	Files   map[string]int `json:"files"`  // open file descriptions by kind
	Mapped  map[string]int `json:"mapped"` // mapped files and memory, by how ckpt came by them
}

type processInfo struct {
	PID     int32          `json:"pid"`
	Parent  int32          `json:"parent,omitempty"` // 0: whoever restores
	Name    string         `json:"name"`
	State   string         `json:"state"`
	Threads []int32        `json:"threads,omitempty"`
	Mapped  uint64         `json:"mapped"` // bytes of address space in use
	Saved   uint64         `json:"saved"`  // bytes of it that the image holds
	Files   map[string]int `json:"files,omitempty"`
	depth   int
}

func newReport(v *verify.Report, size int64) (*report, error) {
	h, m := &v.Header, v.Manifest
	var t kind.Tree
	if err := image.Unmarshal(m.Tree, &t); err != nil {
		return nil, fmt.Errorf("the tree: %w", err)
	}
	r := &report{ID: fmt.Sprintf("%x", h.ID), Manifest: fmt.Sprintf("sha256:%x", v.Verdict.Manifest), Size: size, Made: made(h)}
	if v.Refusal != nil {
		r.Refused = v.Refusal.Error()
	}
	r.signatures(&v.Verdict)
	files := fileKinds(m)
	r.Content = contentInfo{Records: len(m.Records), Raw: m.Totals.Raw, Stored: m.Totals.Stored, Files: map[string]int{}, Mapped: kinds.MapRoutes(m.Records)}
	for _, name := range files {
		r.Content.Files[name]++
	}
	r.processes(&t, m, files)
	return r, nil
}

func made(h *image.Header) madeInfo {
	out := madeInfo{At: stamp(h.Created), For: h.Audience, UID: h.Caller.UID, GID: h.Caller.GID, Host: h.Host, Kernel: h.Kernel,
		Arch: h.Arch, CPU: h.CPU, Lineage: fmt.Sprintf("%x", h.Lineage), Serial: h.Serial}
	out.Once, out.NoRollback = h.Options[verify.OptionOnce] != "", h.Options[verify.OptionNoRollback] != ""
	if h.NotAfter != 0 {
		out.NotAfter = stamp(h.NotAfter)
	}
	if h.Parent != [32]byte{} {
		out.Parent = fmt.Sprintf("sha256:%x", h.Parent)
	}
	return out
}

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

func (r *report) signatures(v *verify.Verdict) {
	r.Signature = signatureInfo{Signed: v.Signed, Trusted: v.Trusted, Grants: v.Grants, Signer: v.Signer, Key: v.Key, CA: v.CA,
		Algorithm: v.Algorithm, TrustedBy: v.Path, Reasons: texts(v.Reasons)}
	if v.Signed {
		r.Signature.Class = v.Class.String()
	}
	if q := v.Quote; q != nil {
		r.Quote = &quoteInfo{Key: q.Fingerprint(), PCRs: q.Selection(), Digest: fmt.Sprintf("%x", q.Digest), Machine: v.Attested}
		if v.NotAttested != nil {
			r.Quote.Reason = v.NotAttested.Error()
		}
	}
	for _, o := range v.Others {
		r.Others = append(r.Others, otherInfo{Class: o.Class.String(), Signer: o.Signer, Key: o.Key, Algorithm: o.Algorithm,
			Trusted: o.Trusted, Reasons: texts(o.Reasons)})
	}
}

func texts(errs []error) (out []string) {
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

// fileKinds names the kind of each open file description: the one that
// claims it, of all that have a record of it.
func fileKinds(m *image.Manifest) map[uint32]string {
	claims := map[string]bool{}
	for _, k := range kinds.All() {
		claims[k.Name()] = k.Claims()
	}
	out := map[uint32]string{}
	for _, rec := range m.Records {
		if known, ok := claims[rec.Kind]; plan.Site(rec.Site) == plan.OpenFile && (known || !ok) {
			out[rec.ID] = rec.Kind
		}
	}
	return out
}

func (r *report) processes(t *kind.Tree, m *image.Manifest, files map[uint32]string) {
	mms, tables := map[uint32]*kind.MMNode{}, map[uint32]*kind.FDTableNode{}
	for i := range t.MMs {
		mms[t.MMs[i].ID] = &t.MMs[i]
	}
	for i := range t.FDTables {
		tables[t.FDTables[i].ID] = &t.FDTables[i]
	}
	index := map[uint32]int{}
	for i := range t.Tasks {
		n := &t.Tasks[i]
		p := processInfo{PID: int32(n.PID), Name: string(n.Comm), State: stateName(n), Files: map[string]int{}}
		if at, ok := index[uint32(n.Parent)]; ok {
			p.Parent, p.depth = r.Processes[at].PID, r.Processes[at].depth+1
		}
		for _, th := range n.Threads {
			p.Threads = append(p.Threads, int32(th.TID))
		}
		p.memory(mms[n.MM], m)
		if table := tables[n.FDTable]; table != nil {
			for _, fd := range table.FDs {
				p.Files[files[uint32(fd.File)]]++
			}
		}
		r.Content.Threads += len(p.Threads)
		index[n.ID] = len(r.Processes)
		r.Processes = append(r.Processes, p)
	}
}

func (p *processInfo) memory(mm *kind.MMNode, m *image.Manifest) {
	if mm == nil {
		return
	}
	p.Mapped = mm.Used.Size()
	for _, n := range []int{int(mm.Pages), int(mm.Lent)} {
		if n > 0 && n <= len(m.Blobs) {
			p.Saved += m.Blobs[n-1].Size()
		}
	}
}

func stateName(n *kind.TaskNode) string {
	switch n.State {
	case kind.Running:
		return "running"
	case kind.Stopped:
		return "stopped"
	case kind.Zombie:
		return "zombie"
	case kind.Vacant:
		return "gone leader"
	}
	return fmt.Sprintf("unknown state %d", n.State)
}
