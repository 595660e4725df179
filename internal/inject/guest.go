package inject

import (
	"encoding/binary"

	"github.com/ckptool/ckpt/internal/abi"
)

// guest makes the slot of a thread: its way out, and for others than the home
// thread a frame. From the first of them on, the Space stays when the tool
// dies.
func (s *Space) guest(t *Thread, sl *slot) error {
	h := s.home
	if t == h.thread && h.scratch != 0 {
		sl.leave = h.frameA()
		return nil
	}
	if t != h.thread {
		if err := t.CanInject(); err != nil {
			return err
		}
		own, err := t.context(true)
		if err != nil {
			return err
		}
		if err := s.leaveCritical(t, own); err != nil {
			return err
		}
		if err := s.share(); err != nil {
			return err
		}
		t.own = own
	}
	return s.writeFrame(sl, t.own.frame(0))
}

// writeFrame makes the slot's frame in the Space.
func (s *Space) writeFrame(sl *slot, f *abi.SigFrame) error {
	at, err := s.data.take(f.Len())
	if err != nil {
		return err
	}
	if _, err := s.mem.WriteAt(f.Encode(at), int64(at)); err != nil {
		return err
	}
	sl.frame, sl.leave = at, at
	return nil
}

// share changes the home thread's way out to the one that leaves the Space
// mapped.
func (s *Space) share() error {
	h := s.home
	sl := s.slots[h.thread]
	if h.scratch == 0 || sl.leave == h.frameB() {
		return nil
	}
	sl.leave = h.frameB()
	if sl.running != nil {
		at := int64(sl.running.control + controlLeave)
		_, err := s.mem.WriteAt(binary.LittleEndian.AppendUint64(nil, sl.leave), at)
		return err
	}
	r, err := h.thread.getRegs()
	if err != nil {
		return err
	}
	return h.thread.setRegs(s.leaving(r, sl))
}
