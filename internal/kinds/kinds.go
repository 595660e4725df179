// Package kinds holds the resources that ckpt can save and rstr can restore,
// one to a file.
package kinds

import "github.com/ckptool/ckpt/internal/kind"

// All lists every kind. To add one, write its file and its test, and add its
// line here.
func All() kind.Table {
	return kind.Table{
		// Processes, threads and what they are in.
		Task(),
		Thread(),
		Creds(),
		AltStack(),
		RobustList(),
		RSeq(),
		ClearTID(),
		Sched(),
		Affinity(),
		IOPrio(),
		TimerSlack(),
		MemPolicy(),
		ParentDeathSignal(),
		TSC(),
		MCEKill(),
		Personality(),
		Speculation(),
		Label(),
		Seccomp(),
		IOFlusher(),
		SigActions(),
		FS(),
		SameNamespace(),

		// Address spaces and their mappings, and the inodes of filesystems and memory.
		MM(),
		CoredumpFilter(),
		THPDisable(),
		MDWE(),
		MemoryMerge(),
		Membarrier(),
		Special(),
		Anon(),
		Filemap(),
		Hugetlb(),
		UnsupportedMapping(),
		Madvise(),
		Guard(),
		VMAName(),
		Mlock(),
		Mseal(),
		Regfile(),
		Directory(),
		Chardev(),
		Ghost(),
		Memfd(),
		Shmem(),
		HugeInode(),
		UnsupportedInode(),

		// Open file descriptions, and the inodes that belong to them.
		File(),
		PipeEnd(),
		Pipe(),
		FIFO(),
		FIFOEnd(),
		Stdio(),
		StdioPipe(),
		TTY(),
		TTYInode(),
		Eventfd(),
		Epoll(),
		Timerfd(),
		Signalfd(),
		Pidfd(),
		Locks(),
		FDOwner(),
		UnsupportedFile(),
	}
}
