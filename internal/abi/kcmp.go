package abi

// Types of kcmp(2) (linux/kcmp.h).
const (
	KcmpFile     = 0
	KcmpVM       = 1
	KcmpFiles    = 2
	KcmpFS       = 3
	KcmpSighand  = 4
	KcmpIO       = 5
	KcmpSysvsem  = 6
	KcmpEpollTFD = 7
)

// KcmpEpollSlot is struct kcmp_epoll_slot: the N-th registration (from 0) of
// descriptor TFD in the epoll instance EFD.
type KcmpEpollSlot struct{ EFD, TFD, Toff uint32 }

// Encode gives the 12 bytes of the struct.
func (s KcmpEpollSlot) Encode() []byte {
	return append32(nil, s.EFD, s.TFD, s.Toff)
}
