package kernelio

import (
	"fmt"
	"slices"

	"github.com/ckptool/ckpt/internal/abi"
	"golang.org/x/sys/unix"
)

// MappedAs says which device and inode /proc/PID/maps shows for mappings of a
// file, a regular one with something in it. They are those of stat(2) nearly
// everywhere; where a filesystem has several names for itself (btrfs, overlayfs)
// there is no telling but by mapping the file and looking.
func MappedAs(fd int) (dev, ino uint64, err error) {
	own, err := Reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return 0, 0, err
	}
	defer own.Close()
	at, err := Syscall(unix.SYS_MMAP, Int(0), Int(4096), Int(unix.PROT_READ), Int(unix.MAP_PRIVATE), Int(own.Int()), Int(0))
	if err != nil {
		return 0, 0, failed(err, "mmap", own.name)
	}
	defer Syscall(unix.SYS_MUNMAP, Int(at), Int(4096))
	maps, err := inProc(unix.Getpid(), (*ProcDir).Maps)
	if err != nil {
		return 0, 0, err
	}
	i := slices.IndexFunc(maps, func(v abi.VMA) bool { return v.Start == uint64(at) })
	if i < 0 {
		return 0, 0, fmt.Errorf("/proc/self/maps does not show the mapping of %s at %x", own.name, at)
	}
	return maps[i].Dev, maps[i].Inode, nil
}

// MemoryDevice is the device number of the kernel's own mount of tmpfs, on
// which memfds and shared anonymous memory live (shm_mnt in mm/shmem.c).
func MemoryDevice() (uint64, error) {
	n, err := unix.MemfdCreate("", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, failed(err, "memfd_create", "")
	}
	fd := NewFD(n, "memfd")
	defer fd.Close()
	st, err := Fstat(n)
	return st.Dev, err
}
