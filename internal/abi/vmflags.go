package abi

import "strings"

// VMFlags is the VmFlags line of smaps as a set. The bits are this package's
// own, not the kernel's VM_* values.
type VMFlags uint64

// The flags, with the mnemonic of show_smap_vma_flags (fs/proc/task_mmu.c).
const (
	VMRead        VMFlags = 1 << iota // rd
	VMWrite                           // wr
	VMExec                            // ex
	VMShared                          // sh
	VMMayRead                         // mr
	VMMayWrite                        // mw
	VMMayExec                         // me
	VMMayShare                        // ms
	VMGrowsDown                       // gd
	VMPFNMap                          // pf
	VMLocked                          // lo
	VMIO                              // io
	VMSeqRead                         // sr
	VMRandRead                        // rr
	VMDontCopy                        // dc
	VMDontExpand                      // de
	VMLockOnFault                     // lf
	VMAccount                         // ac
	VMNoReserve                       // nr
	VMHugeTLB                         // ht
	VMSync                            // sf
	VMArch1                           // ar
	VMWipeOnFork                      // wf
	VMDontDump                        // dd
	VMSoftDirty                       // sd
	VMMixedMap                        // mm
	VMHugePage                        // hg
	VMNoHugePage                      // nh
	VMMergeable                       // mg
	VMUffdMissing                     // um
	VMUffdWP                          // uw
	VMUffdMinor                       // ui
	VMShadowStack                     // ss
	VMSealed                          // sl
	VMDroppable                       // dp
	VMBTI                             // bt (arm64)
	VMMTE                             // mt (arm64)
	VMMaybeGuard                      // gu (6.19)
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
