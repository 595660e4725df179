package kinds

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// inodeClass sorts the inodes that a filesystem, or the kernel's memory in
// place of one, holds by who claims them. Pipes, FIFOs, sockets and terminals
// have their own files.
type inodeClass uint8

const (
	inodeElsewhere inodeClass = iota
	inodeUnsupported
	inodeRegular
	inodeDirectory
	inodeSymlink
	inodeDevice
	inodeGhost  // deleted
	inodeMemfd  // memfd_create(2)
	inodeShmem  // shared anonymous memory
	inodeHugeVM // behind anonymous huge pages
)

// inodes makes the Match of a kind that claims one class.
func inodes(c inodeClass) func(*kind.InodeSite) bool {
	return func(i *kind.InodeSite) bool { return inodeClassOf(i) == c }
}

func inodeClassOf(i *kind.InodeSite) inodeClass {
	switch i.Stat.Format() {
	case unix.S_IFREG:
		return regularInode(i)
	case unix.S_IFDIR:
		return absent(i, inodeDirectory)
	case unix.S_IFLNK:
		return absent(i, inodeSymlink)
	case unix.S_IFCHR:
		return deviceInode(i)
	case unix.S_IFIFO, unix.S_IFSOCK:
		return inodeElsewhere
	}
	return inodeUnsupported
}

// absent is class for an inode with a path, or unsupported.
func absent(i *kind.InodeSite, class inodeClass) inodeClass {
	if i.Deleted || !strings.HasPrefix(i.Path, "/") {
		return inodeUnsupported
	}
	return class
}

func deviceInode(i *kind.InodeSite) inodeClass {
	major, minor := unix.Major(i.Stat.Rdev), unix.Minor(i.Stat.Rdev)
	switch {
	case isTerminal(major, minor):
		return inodeElsewhere
	case isMemDevice(major, minor):
		return absent(i, inodeDevice)
	}
	return inodeUnsupported
}

func regularInode(i *kind.InodeSite) inodeClass {
	switch {
	case !strings.HasPrefix(i.Path, "/"), isInternal(i):
		return inodeUnsupported
	case !i.Deleted:
		return inodeRegular
	case i.Stat.FSType == unix.HUGETLBFS_MAGIC:
		return hugeInode(i)
	case i.Stat.FSType != unix.TMPFS_MAGIC:
		return inodeGhost
	}
	return memoryInode(i)
}

// isInternal knows the files of mounts that only the kernel itself uses.
func isInternal(i *kind.InodeSite) bool {
	switch i.Stat.FSType {
	case unix.SECRETMEM_MAGIC, unix.GUEST_MEMFD_MAGIC, unix.DMA_BUF_MAGIC, unix.NSFS_MAGIC, unix.PID_FS_MAGIC, aioMagic, mqueueMagic:
		return true
	}
	return strings.HasPrefix(i.Path, "/[") && i.Deleted // [aio], [kvm-gmem]
}

// AIO_RING_MAGIC (fs/aio.c) and MQUEUE_MAGIC (ipc/mqueue.c).
const (
	aioMagic    = 0x5a3c69f0
	mqueueMagic = 0x19800202
)

func hugeInode(i *kind.InodeSite) inodeClass {
	switch {
	case i.Path == "/anon_hugepage": // hugetlb_file_setup callers in mm/mmap.c
		return inodeHugeVM
	case strings.HasPrefix(i.Path, memfdPrefix):
		return inodeMemfd
	}
	return inodeUnsupported
}

// memoryInode tells apart what lives on the kernel's own mount of tmpfs by
// the names that the kernel gives there. A deleted file in the root of
// another tmpfs can have such a name too: only the kernel's has no parent to
// open it in, and a memory file serves such a file as well.
func memoryInode(i *kind.InodeSite) inodeClass {
	switch {
	case strings.HasPrefix(i.Path, memfdPrefix):
		return inodeMemfd
	case i.Path == "/dev/zero":
		return inodeShmem
	case strings.HasPrefix(i.Path, "/SYSV"):
		return inodeUnsupported
	}
	return inodeGhost
}

// isPseudo says whether the files of a filesystem are views of something
// else, whose times and sizes mean nothing.
func isPseudo(fstype uint32) bool {
	switch fstype {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC:
		return true
	}
	return false
}

// openObject opens what lies at a path without following a last symbolic
// link and without any effect on it (O_PATH), as the inode that h plans.
func openObject(path []byte, flags int, out plan.Ref) plan.Call {
	return plan.Call{
		Nr: unix.SYS_OPENAT,
		Args: []plan.Arg{atCwd, plan.Str(string(path)),
			plan.Int(unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC | flags)},
		Out: out,
	}
}
