package kinds

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kind"
	"github.com/ckptool/ckpt/internal/plan"
)

// UnsupportedFile claims the descriptions that no other kind does, to refuse
// them in words.
func UnsupportedFile() kind.Kind {
	return kind.New(kind.Spec[*kind.FileSite, noRecord]{
		Name:   "unsupported",
		At:     plan.OpenFile,
		Claims: true,
		Match:  is(classUnsupported),
		Dump: func(_ kind.Dump, f *kind.FileSite, _ []plan.Result) (noRecord, error) {
			return noRecord{}, unsupportedFile(f)
		},
		Check: func(noRecord) error { return fmt.Errorf("no image holds a record of this kind") },
		Plan:  func(noRecord, *kind.Host) []plan.Step { return nil },
	})
}

// unsupportedLinks says in words what a description is whose link in
// /proc/PID/fd begins so.
var unsupportedLinks = []struct{ prefix, why, hint string }{
	{"anon_inode:[io_uring]", "an io_uring, whose requests in flight the kernel does not show",
		"start the program so that it does not use io_uring (node: UV_USE_IO_URING=0)"},
	{"anon_inode:[fanotify]", "a fanotify group", ""},
	{"anon_inode:[userfaultfd]", "a userfaultfd, whose registered memory belongs to another program's hands", ""},
	{"anon_inode:bpf-", "a BPF object, which lives in the kernel and not in the program", ""},
	{"anon_inode:bpf_", "a BPF object, which lives in the kernel and not in the program", ""},
	{"anon_inode:btf", "BPF type information loaded into the kernel", ""},
	{"anon_inode:[perf_event]", "a performance counter (perf_event_open)", ""},
	{"anon_inode:kvm", "a virtual machine (KVM)", ""},
	{"anon_inode:[vfio", "a device in the program's own hands (VFIO)", ""},
	{"anon_inode:[iommufd]", "a device in the program's own hands (IOMMUFD)", ""},
	{"anon_inode:sync_file", "a fence of a graphics device", ""},
	{"anon_inode:sync_obj", "a fence of a graphics device", ""},
	{"anon_inode:[fscontext]", "a filesystem that is being configured (fsopen)", ""},
	{"anon_inode:[secretmem]", "secret memory (memfd_secret), which nobody else can read", ""},
	{"anon_inode:seccomp notify", "a seccomp listener: the program judges another one's system calls", ""},
	{"anon_inode:[landlock-ruleset]", "a Landlock ruleset that is not yet enforced", ""},
	{"anon_inode:gpio", "lines of a GPIO chip", ""},
	{"anon_inode:iio", "an industrial I/O device", ""},
	{"/secretmem", "secret memory (memfd_secret), which nobody else can read", ""},
	{"/dmabuf:", "a buffer shared with a device (dma-buf)", ""},
	{"mnt:[", "a namespace held open", ""},
	{"net:[", "a namespace held open", ""},
	{"pid:[", "a namespace held open", ""},
	{"user:[", "a namespace held open", ""},
	{"uts:[", "a namespace held open", ""},
	{"ipc:[", "a namespace held open", ""},
	{"cgroup:[", "a namespace held open", ""},
	{"time:[", "a namespace held open", ""},
	{"/dev/kvm", "a virtual machine (KVM)", ""},
	{"/dev/fuse", "the server of a FUSE filesystem", ""},
	{"/dev/net/tun", "a virtual network interface (TUN/TAP)", ""},
	{"/dev/dri/", "a graphics device", ""},
	{"/dev/nvidia", "a graphics processor (NVIDIA)", ""},
	{"/dev/kfd", "a graphics processor (AMD)", ""},
	{"/dev/snd/", "a sound device", ""},
	{"/dev/input/", "an input device", ""},
	{"/dev/loop", "a loop device", ""},
	{"/dev/infiniband/", "an RDMA device", ""},
}

func unsupportedFile(f *kind.FileSite) error {
	for _, u := range unsupportedLinks {
		if strings.HasPrefix(f.Link, u.prefix) {
			return &kind.Unsupported{Why: u.why, Hint: u.hint}
		}
	}
	switch f.Stat.Format() {
	case unix.S_IFCHR:
		return unsupportedDevice("character", f)
	case unix.S_IFBLK:
		return unsupportedDevice("block", f)
	}
	return kind.Unsupportedf("ckpt does not know how to save this sort of descriptor")
}

func unsupportedDevice(sort string, f *kind.FileSite) error {
	major, minor := unix.Major(f.Stat.Rdev), unix.Minor(f.Stat.Rdev)
	if sort == "character" && (major == 5 && minor == 2 || f.Info.TTYIndex != nil) {
		return &kind.Unsupported{
			Why:  "the master of a pseudoterminal, whose state the kernel does not show",
			Hint: "checkpoint the program that runs inside the terminal, not the terminal",
		}
	}
	return kind.Unsupportedf("the %s device %d:%d, whose driver's state the kernel does not show", sort, major, minor)
}
