package kinds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

type fifoRecord struct {
	Path     []byte       `cbor:"1,keyasint"`
	Capacity uint32       `cbor:"2,keyasint"`
	Contents kind.BlobRef `cbor:"3,keyasint,omitempty"`
}

// fifoHolder is open for both directions, so that opening one end does not
// wait for the other (fifo(7)).
const fifoHolder = kind.SlotWrite

// FIFO claims named pipes whose ends are all inside the tree: what is in one
// vanishes with its last end, and is put back.
func FIFO() kind.Kind {
	return kind.New(kind.Spec[*kind.InodeSite, fifoRecord]{
		Name:   "fifo",
		At:     plan.Inode,
		Claims: true,
		Match: func(i *kind.InodeSite) bool {
			return i.Stat.Format() == unix.S_IFIFO && i.Stat.FSType != unix.PIPEFS_MAGIC
		},
		Dump:  dumpFIFO,
		Check: checkFIFO,
		Plan:  planFIFO,
	})
}

func dumpFIFO(d kind.Dump, i *kind.InodeSite, _ []plan.Result) (fifoRecord, error) {
	r := fifoRecord{Path: []byte(i.Path)}
	readers, writers := ends(i)
	all := append(readers, writers...)
	switch {
	case len(all) == 0:
		return r, kind.Unsupportedf("a FIFO that is held by its path only (O_PATH)")
	case i.Deleted:
		return r, kind.Unsupportedf("a FIFO that was removed while it is open")
	case leadsOut(i):
		return r, kind.Unsupportedf("a FIFO of which the tree has only one end")
	}
	size, err := fcntl(all[0].Do, self(all[0]), unix.F_GETPIPE_SZ)
	if err != nil {
		return r, err
	}
	r.Capacity = uint32(size)
	if len(readers) > 0 {
		if r.Contents, err = fifoContents(d, readers[0], r.Capacity); err != nil {
			return r, err
		}
	}
	return r, leadsBack(i)
}

func fifoContents(d kind.Dump, reader *kind.FileSite, capacity uint32) (kind.BlobRef, error) {
	parts, err := peekPipe(reader, capacity)
	if err != nil || len(parts) == 0 {
		return 0, err
	}
	if len(parts) > 1 {
		return 0, kind.Unsupportedf("a FIFO that holds packets")
	}
	return storeBytes(d, parts[0])
}

func checkFIFO(r fifoRecord) error {
	if badCapacity(r.Capacity) {
		return fmt.Errorf("capacity %d", r.Capacity)
	}
	return checkPath(r.Path)
}

// planFIFO opens the FIFO in both directions at once, so that nothing else
// that opens it waits, whatever the image says of it.
func planFIFO(r fifoRecord, h *kind.Host) []plan.Step {
	find := plan.Step{Stage: plan.Create, Text: fmt.Sprintf("find the FIFO %+q", r.Path), Ops: []plan.Op{
		openObject(r.Path, 0, h.Self), statx(plan.FD(h.Self), wantType(unix.S_IFIFO))}}
	holder := slot(h.Self, fifoHolder)
	find.Ops = append(find.Ops,
		plan.Call{Nr: unix.SYS_OPENAT, Args: []plan.Arg{atCwd, plan.FDPath(h.Self), plan.Int(unix.O_RDWR | unix.O_CLOEXEC)}, Out: holder},
		plan.Call{Nr: unix.SYS_IOCTL, Args: []plan.Arg{plan.FD(holder), plan.Int(unix.TIOCINQ), plan.Out(4)},
			Expect: []plan.Field{{Want: make([]byte, 4), Name: "bytes in the FIFO", Form: plan.Number}}},
		setCapacity(holder, r.Capacity))
	find.Needs = append(capacityNeeds(r.Capacity), plan.Need{
		Demand: fmt.Sprintf("file:%v:rw", h.Self), Why: "the FIFO is held open while its ends are opened"})
	if r.Contents == 0 {
		return []plan.Step{find}
	}
	return []plan.Step{find, {Stage: plan.Fill, Text: "put back what was in the FIFO",
		Ops: []plan.Op{plan.Move{Blob: uint32(r.Contents), Into: holder, Stream: true}}}}
}
