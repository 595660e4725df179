package abi

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// TestAgainstHeaders lets a C compiler say what the numbers and sizes are.
func TestAgainstHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	rows := []struct {
		c    string
		want uint64
	}{
		{"FUTEX_WAIT", FutexWait}, {"FUTEX_WAKE", FutexWake}, {"FUTEX_PRIVATE_FLAG", FutexPrivate},
		{"(unsigned)FUTEX_WAITERS", FutexWaiters}, {"FUTEX_OWNER_DIED", FutexOwnerDied}, {"FUTEX_TID_MASK", FutexTIDMask},
		{"offsetof(struct robust_list_head, list_op_pending)", RobustListOpPending},
		{"sizeof(struct robust_list_head)", SizeofRobustListHead},
		{"_IOW('T', 0, __u64)", TFDIocSetTicks}, {"O_EXCL", PidfdThread}, {"O_NONBLOCK", PidfdNonblock},
		{"ARCH_SET_GS", ArchSetGS}, {"ARCH_SET_FS", ArchSetFS}, {"ARCH_GET_FS", ArchGetFS}, {"ARCH_GET_GS", ArchGetGS},
		{"ARCH_GET_CPUID", ArchGetCPUID}, {"ARCH_SET_CPUID", ArchSetCPUID}, {"ARCH_MAP_VDSO_64", ArchMapVdso64},
		{"PKEY_DISABLE_ACCESS", PkeyDisableAccess}, {"PKEY_DISABLE_WRITE", PkeyDisableWrite},
		{"UFFD_API", UffdAPI}, {"UFFDIO_API", UffdioAPI}, {"UFFDIO_REGISTER", UffdioRegister}, {"UFFDIO_UNREGISTER", UffdioUnregister},
		{"UFFDIO_WAKE", UffdioWake}, {"UFFDIO_COPY", UffdioCopy}, {"UFFDIO_ZEROPAGE", UffdioZeropage},
		{"UFFDIO_WRITEPROTECT", UffdioWriteprotect}, {"UFFDIO_CONTINUE", UffdioContinue},
		{"USERFAULTFD_IOC_NEW", UserfaultfdIocNew}, {"UFFDIO_REGISTER_MODE_MISSING", UffdRegisterMissing},
		{"UFFDIO_REGISTER_MODE_WP", UffdRegisterWP}, {"UFFDIO_REGISTER_MODE_MINOR", UffdRegisterMinor},
		{"UFFD_FEATURE_EVENT_FORK", UffdFeatureEventFork},
		{"AT_PHDR", AtPhdr}, {"AT_PHENT", AtPhent}, {"AT_PHNUM", AtPhnum}, {"AT_PAGESZ", AtPagesz}, {"AT_BASE", AtBase},
		{"AT_ENTRY", AtEntry}, {"AT_CLKTCK", AtClktck}, {"AT_SECURE", AtSecure}, {"AT_RANDOM", AtRandom},
		{"AT_EXECFN", AtExecfn}, {"AT_SYSINFO_EHDR", AtSysinfoEhdr},
		{"_LINUX_CAPABILITY_VERSION_3", CapVersion3}, {"sizeof(struct __user_cap_header_struct)", SizeofCapHeader},
		{"2*sizeof(struct __user_cap_data_struct)", SizeofCapData},
		{"KCMP_FILE", KcmpFile}, {"KCMP_VM", KcmpVM}, {"KCMP_FILES", KcmpFiles}, {"KCMP_FS", KcmpFS},
		{"KCMP_SIGHAND", KcmpSighand}, {"KCMP_IO", KcmpIO}, {"KCMP_SYSVSEM", KcmpSysvsem}, {"KCMP_EPOLL_TFD", KcmpEpollTFD},
		{"SI_TIMER", ^uint64(0) - 1}, {"SI_MESGQ", ^uint64(0) - 2}, {"SI_SIGIO", ^uint64(0) - 4}, {"SI_KERNEL", SIKernel},
		{"BUS_MCEERR_AR", busMceerrAR}, {"BUS_MCEERR_AO", busMceerrAO}, {"SEGV_BNDERR", segvBndErr}, {"SEGV_PKUERR", segvPkuErr},
		{"SA_NOCLDSTOP", SaNocldstop}, {"SA_NOCLDWAIT", SaNocldwait}, {"SA_SIGINFO", SaSiginfo}, {"SA_ONSTACK", SaOnstack},
		{"SA_RESTART", SaRestart}, {"SA_NODEFER", SaNodefer}, {"(unsigned)SA_RESETHAND", SaResethand},
		{"SIGEV_SIGNAL", SigevSignal}, {"SIGEV_NONE", SigevNone}, {"SIGEV_THREAD", SigevThread}, {"SIGEV_THREAD_ID", SigevThreadID},
		{"sizeof(siginfo_t)", SizeofSiginfo}, {"sizeof(stack_t)", SizeofStack}, {"sizeof(struct sigevent)", SizeofSigevent},
		{"offsetof(struct sigevent, _sigev_un)", SigeventTID},
		{"sizeof(struct prctl_mm_map)", SizeofMMMap}, {"offsetof(struct prctl_mm_map, auxv)", MMMapAuxv},
		{"offsetof(struct prctl_mm_map, auxv_size)", MMMapAuxvSize}, {"offsetof(struct prctl_mm_map, exe_fd)", MMMapExeFD},
		{"sizeof(struct open_how)", SizeofOpenHow}, {"sizeof(struct user_desc)", SizeofUserDesc},
		{"sizeof(struct f_owner_ex)", SizeofFOwnerEx}, {"sizeof(struct flock)", SizeofFlock},
		{"sizeof(struct itimerspec)", SizeofItimerspec}, {"sizeof(struct itimerval)", SizeofItimerval},
		{"sizeof(struct timespec)", SizeofTimespec}, {"sizeof(struct rlimit64)", SizeofRlimit},
		{"sizeof(struct rseq_cs)", SizeofRSeqCS}, {"sizeof(struct rseq)", SizeofRSeq}, {"offsetof(struct rseq, rseq_cs)", RSeqCSOffset},
	}
	out := evaluate(t, gcc, func(b *bytes.Buffer) {
		for _, r := range rows {
			fmt.Fprintf(b, "\tprintf(\"%%llu\\n\", (unsigned long long)(%s));\n", r.c)
		}
	})
	lines := strings.Fields(out)
	if len(lines) != len(rows) {
		t.Fatalf("%d answers to %d questions", len(lines), len(rows))
	}
	for i, r := range rows {
		if lines[i] != fmt.Sprint(r.want) {
			t.Errorf("%s is %s, not %d", r.c, lines[i], r.want)
		}
	}
}

// evaluate compiles and runs a C program whose main body f writes.
func evaluate(t *testing.T, gcc string, f func(*bytes.Buffer)) string {
	t.Helper()
	var src bytes.Buffer
	src.WriteString(headers + "int main(void) {\n")
	f(&src)
	src.WriteString("\treturn 0;\n}\n")
	exe := t.TempDir() + "/ask"
	cc := exec.Command(gcc, "-x", "c", "-", "-o", exe)
	cc.Stdin = &src
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(exe).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const headers = `#define _GNU_SOURCE
#include <stdio.h>
#include <stddef.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <sys/time.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/types.h>
#include <linux/sched/types.h>
#include <linux/auxvec.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/rseq.h>
#include <linux/userfaultfd.h>
#include <asm/ldt.h>
#include <asm/prctl.h>
`
