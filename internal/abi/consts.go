package abi

// Numbers that golang.org/x/sys/unix lacks, by header.

// linux/futex.h
const (
	FutexWait           = 0
	FutexWake           = 1
	FutexPrivate        = 128
	FutexWaiters        = 0x80000000
	FutexOwnerDied      = 0x40000000
	FutexTIDMask        = 0x3fffffff
	RobustListOpPending = 16 // offset in struct robust_list_head
)

// linux/timerfd.h: sets the ticks of an expired timerfd (CONFIG_CHECKPOINT_RESTORE).
const TFDIocSetTicks = 0x40085400

// linux/pidfd.h
const (
	PidfdThread   = 0x80  // O_EXCL, Linux 6.9
	PidfdNonblock = 0x800 // O_NONBLOCK
)

// asm/prctl.h
const (
	ArchSetGS       = 0x1001
	ArchSetFS       = 0x1002
	ArchGetFS       = 0x1003
	ArchGetGS       = 0x1004
	ArchGetCPUID    = 0x1011
	ArchSetCPUID    = 0x1012
	ArchMapVdso64   = 0x2003
	ArchShstkStatus = 0x5005
)

// linux/prctl.h: keeps the ids that timer_create is given (Linux 6.16).
const (
	PrTimerCreateRestoreIDs    = 77
	PrTimerCreateRestoreIDsOff = 0
	PrTimerCreateRestoreIDsOn  = 1
)

// linux/mman.h and asm-generic/mman-common.h
const (
	PkeyDisableAccess = 1
	PkeyDisableWrite  = 2
)

// linux/userfaultfd.h; UffdioAPI to UffdioWriteprotect are ioctls of a userfaultfd.
const (
	UffdAPI              = 0xaa
	UffdUserModeOnly     = 1
	UffdioAPI            = 0xc018aa3f
	UffdioRegister       = 0xc020aa00
	UffdioUnregister     = 0x8010aa01
	UffdioWake           = 0x8010aa02
	UffdioCopy           = 0xc028aa03
	UffdioZeropage       = 0xc020aa04
	UffdioMove           = 0xc028aa05
	UffdioWriteprotect   = 0xc018aa06
	UffdioContinue       = 0xc020aa07
	UffdioPoison         = 0xc020aa08
	UserfaultfdIocNew    = 0xaa00 // ioctl of /dev/userfaultfd
	UffdRegisterMissing  = 1
	UffdRegisterWP       = 2
	UffdRegisterMinor    = 4
	UffdFeatureWPAsync   = 1 << 15
	UffdFeatureWPUnpop   = 1 << 13
	UffdFeatureEventFork = 1 << 1
)

// linux/auxvec.h
const (
	AtPhdr        = 3
	AtPhent       = 4
	AtPhnum       = 5
	AtPagesz      = 6
	AtBase        = 7
	AtEntry       = 9
	AtClktck      = 17
	AtSecure      = 23
	AtRandom      = 25
	AtExecfn      = 31
	AtSysinfoEhdr = 33
)
