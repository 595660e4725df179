package kinds

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/abi"
	"github.com/ckptool/ckpt/internal/kind"
)

// Every flag that VmFlags shows (show_smap_vma_flags in fs/proc/task_mmu.c)
// is somebody's:
//
//	rd wr ex        the claimer: protection
//	sh ms           the claimer: MAP_SHARED, and whether the file may be written
//	mr mw me        the claimer: they follow from the mode in which a file is opened and from its mount
//	gd nr dp        anon: MAP_GROWSDOWN, MAP_NORESERVE, MAP_DROPPABLE
//	ac              the claimer: it follows from having been writable
//	ht de           filemap: memory of huge pages
//	lo lf           mlock
//	sr rr dc wf dd  madvise
//	hg nh mg        madvise
//	gu              guard
//	sl              mseal
//	sd              nobody: whether it was written since somebody last asked describes no state
//
// The rest, and all flags that a newer kernel adds, are refused by name.
const (
	flagsOfMapping = abi.VMFlagRead | abi.VMFlagWrite | abi.VMFlagExec |
		abi.VMFlagMayRead | abi.VMFlagMayWrite | abi.VMFlagMayExec | abi.VMFlagAccount | abi.VMFlagSoftDirty
	flagsOfContributors = abi.VMFlagLocked | abi.VMFlagLockOnFault | abi.VMFlagSeqRead | abi.VMFlagRandRead |
		abi.VMFlagDontCopy | abi.VMFlagWipeOnFork | abi.VMFlagDontDump | abi.VMFlagHugePage | abi.VMFlagNoHugePage |
		abi.VMFlagMergeable | abi.VMFlagMaybeGuard | abi.VMFlagSealed
	flagsOfSharing = abi.VMFlagShared | abi.VMFlagMayShare | abi.VMFlagNoReserve

	flagsOfAnon    = flagsOfMapping | flagsOfContributors | abi.VMFlagGrowsDown | abi.VMFlagNoReserve | abi.VMFlagDroppable
	flagsOfFile    = flagsOfMapping | flagsOfContributors | flagsOfSharing
	flagsOfHuge    = flagsOfFile | abi.VMFlagHugeTLB | abi.VMFlagDontExpand
	flagsOfSpecial = flagsOfMapping | abi.VMFlagIO | abi.VMFlagPFNMap | abi.VMFlagMixedMap |
		abi.VMFlagDontExpand | abi.VMFlagDontDump
)

// flagWords say what a flag that is refused stands for.
var flagWords = []struct {
	flag abi.VMFlags
	why  string
}{
	{abi.VMFlagUffdMissing, "it is registered with a userfaultfd"},
	{abi.VMFlagUffdWP, "it is write-protected by a userfaultfd"},
	{abi.VMFlagUffdMinor, "it is registered with a userfaultfd"},
	{abi.VMFlagShadowStack, "it is a shadow stack"},
	{abi.VMFlagIO, "it is memory of a device"},
	{abi.VMFlagPFNMap, "it is memory of a device"},
	{abi.VMFlagMixedMap, "it holds pages of a device"},
	{abi.VMFlagArch1, "it is memory of a device with a cache mode of its own"},
	{abi.VMFlagSync, "it is synchronous persistent memory (MAP_SYNC)"},
	{abi.VMFlagHugeTLB, "it consists of huge pages of a file"},
	{abi.VMFlagSealed, "it is sealed (mseal), so nobody can move it to its place"},
	{abi.VMFlagDontExpand, "a driver forbids it to grow"},
	{abi.VMFlagGrowsDown, "a file is mapped into it and it grows down"},
}

// refuseFlags says why a mapping can't be saved: flags beyond those that are
// accounted for, and protection keys.
func refuseFlags(v *abi.SmapsVMA, accounted abi.VMFlags) error {
	if len(v.UnknownFlags) > 0 {
		return kind.Unsupportedf("its VmFlags have %s, which ckpt does not know", strings.Join(v.UnknownFlags, " "))
	}
	left := v.Flags &^ accounted
	for _, w := range flagWords {
		if left.Has(w.flag) {
			return kind.Unsupportedf("%s (VmFlags %v)", w.why, left)
		}
	}
	if left != 0 {
		return kind.Unsupportedf("its VmFlags have %v, which ckpt can't restore", left)
	}
	return refuseKey(v)
}

// refuseKey refuses protection keys. The kernel itself takes one for memory
// that may only be executed (pkeys(7), execute_only_pkey), and takes it again
// when such memory is mapped.
func refuseKey(v *abi.SmapsVMA) error {
	if v.ProtectionKey != 0 && v.Prot != unix.PROT_EXEC {
		return kind.Unsupportedf("it is under memory protection key %d", v.ProtectionKey)
	}
	return nil
}
