package abi

import "strings"

// VMFlags is the VmFlags line of smaps as a set. The bits are this package's
// own, not the kernel's VM_* values.
type VMFlags uint64

// The flags, with the mnemonic of show_smap_vma_flags (fs/proc/task_mmu.c).
const (
	VMFlagRead        VMFlags = 1 << iota // rd
	VMFlagWrite                           // wr
	VMFlagExec                            // ex
	VMFlagShared                          // sh
	VMFlagMayRead                         // mr
	VMFlagMayWrite                        // mw
	VMFlagMayExec                         // me
	VMFlagMayShare                        // ms
	VMFlagGrowsDown                       // gd
	VMFlagPFNMap                          // pf
	VMFlagLocked                          // lo
	VMFlagIO                              // io
	VMFlagSeqRead                         // sr
	VMFlagRandRead                        // rr
	VMFlagDontCopy                        // dc
	VMFlagDontExpand                      // de
	VMFlagLockOnFault                     // lf
	VMFlagAccount                         // ac
	VMFlagNoReserve                       // nr
	VMFlagHugeTLB                         // ht
	VMFlagSync                            // sf
	VMFlagArch1                           // ar
	VMFlagWipeOnFork                      // wf
	VMFlagDontDump                        // dd
	VMFlagSoftDirty                       // sd
	VMFlagMixedMap                        // mm
	VMFlagHugePage                        // hg
	VMFlagNoHugePage                      // nh
	VMFlagMergeable                       // mg
	VMFlagUffdMissing                     // um
	VMFlagUffdWP                          // uw
	VMFlagUffdMinor                       // ui
	VMFlagShadowStack                     // ss
	VMFlagSealed                          // sl
	VMFlagDroppable                       // dp
	VMFlagBTI                             // bt (arm64)
	VMFlagMTE                             // mt (arm64)
	VMFlagMaybeGuard                      // gu (6.19)
)

const vmFlagNames = "rdwrexshmrmwmemsgdpfloiosrrrdcdelfacnrhtsfarwfddsdmmhgnhmgumuwuisssldpbtmtgu"

func vmFlag(name []byte) VMFlags {
	if len(name) != 2 {
		return 0
	}
	for i := 0; i < len(vmFlagNames); i += 2 {
		if vmFlagNames[i] == name[0] && vmFlagNames[i+1] == name[1] {
			return 1 << (i / 2)
		}
	}
	return 0
}

// Has says whether all of f are set.
func (v VMFlags) Has(f VMFlags) bool { return v&f == f }

// String lists the mnemonics, separated by blanks.
func (v VMFlags) String() string {
	var s []string
	for i := 0; i < len(vmFlagNames); i += 2 {
		if v&(1<<(i/2)) != 0 {
			s = append(s, vmFlagNames[i:i+2])
		}
	}
	return strings.Join(s, " ")
}
