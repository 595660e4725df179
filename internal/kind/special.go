package kind

import "github.com/ckptool/ckpt/internal/plan"

// Slots of an MM: where the mappings are that the kernel itself made in a
// new address space. The restore engine moves each of them out of the way of
// everything that the image maps, and publishes its address as the result
// Ref{MM, id, slot}. What no kind has taken from there by the end of Create is
// to be unmapped, since the image doesn't have it.
const (
	SlotVVar uint8 = 1 + iota
	SlotVVarClock
	SlotVDSO
	SlotMMOther // kinds number their own from here
)

// SpecialSlot is the slot of a mapping of the kernel by its name in
// /proc/PID/maps, such as "[vdso]"; 0 if it has none. [vsyscall] has none: it
// is part of no address space.
func SpecialSlot(name string) uint8 {
	switch name {
	case "[vvar]":
		return SlotVVar
	case "[vvar_vclock]":
		return SlotVVarClock
	case "[vdso]":
		return SlotVDSO
	}
	return 0
}

// SpecialRef is the name of the address of such a mapping in mm.
func SpecialRef(mm plan.Ref, name string) plan.Ref {
	mm.Slot = SpecialSlot(name)
	return mm
}
