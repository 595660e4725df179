package abi

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEncodersAgainstHeaders compares each encoder with the bytes that a C
// compiler lays out for the same values.
func TestEncodersAgainstHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	const big = 0x1122334455667788
	rows := []struct {
		typ, init string
		got       []byte
	}{
		{"struct timespec", "1, 2", Timespec{1, 2}.Encode()},
		{"struct timeval", "1, 2", Timeval{1, 2}.Encode()},
		{"struct itimerspec", "{1, 2}, {3, 4}", Itimerspec{Timespec{1, 2}, Timespec{3, 4}}.Encode()},
		{"struct itimerval", "{1, 2}, {3, 4}", Itimerval{Timeval{1, 2}, Timeval{3, 4}}.Encode()},
		{"struct rlimit64", "5, ~0ull", Rlimit{5, RlimInfinity}.Encode()},
		{"stack_t", ".ss_sp = (void *)0x7000, .ss_flags = SS_DISABLE, .ss_size = 99", Stack{0x7000, SSDisable, 99}.Encode()},
		{"struct sigevent", ".sigev_value.sival_ptr = (void *)0x1122334455667788, .sigev_signo = 10, .sigev_notify = SIGEV_THREAD_ID, ._sigev_un._tid = 77",
			Sigevent{big, 10, SigevThreadID, 77}.Encode()},
		{"struct prctl_mm_map", "1,2,3,4,5,6,7,8,9,10,11,(void *)12,13,-1",
			(&MMMap{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, NoExeFD}).Encode()},
		{"struct sched_attr", "56, 1, 2, -3, 4, 5, 6, 7, 8, 9", (&SchedAttr{1, 2, -3, 4, 5, 6, 7, 8, 9}).Encode()},
		{"struct flock", ".l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -4, .l_len = 5, .l_pid = 6", Flock{unix.F_WRLCK, 2, -4, 5, 6}.Encode()},
		{"struct f_owner_ex", "F_OWNER_PGRP, 8", FOwnerEx{2, 8}.Encode()},
		{"struct open_how", "1, 2, 3", OpenHow{1, 2, 3}.Encode()},
		{"struct user_desc", ".entry_number = 1, .base_addr = 2, .limit_in_pages = 1, .limit = 3", UserDesc{1, 2, 3, 1 << 4}.Encode()},
		{"struct kcmp_epoll_slot", "1, 2, 3", KcmpEpollSlot{1, 2, 3}.Encode()},
		{"struct __user_cap_header_struct", "_LINUX_CAPABILITY_VERSION_3, 5", CapHeader(5)},
		{"struct caps2", "{{1, 3, 5}, {2, 4, 6}}", CapData(2<<32|1, 4<<32|3, 6<<32|5)},
		{"struct ksigaction", "1, 2, 3, 4", Sigaction{1, 2, 3, 4}.Encode()},
	}
	out := evaluate(t, gcc, func(b *bytes.Buffer) {
		fmt.Fprintln(b, "struct caps2 { struct __user_cap_data_struct d[2]; }; struct ksigaction { long handler; unsigned long flags; long restorer; unsigned long mask; };")
		for _, r := range rows {
			fmt.Fprintf(b, "\t{ static %s v = {%s}; for (unsigned i = 0; i < sizeof v; i++) printf(\"%%02x\", ((unsigned char *)&v)[i]); printf(\"\\n\"); }\n", r.typ, r.init)
		}
	})
	for i, want := range strings.Fields(out) {
		if got := fmt.Sprintf("%x", rows[i].got); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", rows[i].typ, got, want)
		}
	}
}

// TestSiginfoAgainstHeaders compares with siginfo_t, by its member names.
func TestSiginfoAgainstHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	out := evaluate(t, gcc, func(b *bytes.Buffer) {
		for _, r := range siginfos {
			fmt.Fprintf(b, "\t{ siginfo_t v; memset(&v, 0, sizeof v); v.si_signo = %d; v.si_code = %d; %s\n", r.s.Signo, r.s.Code, r.c)
			fmt.Fprintln(b, "\tfor (unsigned i = 0; i < sizeof v; i++) printf(\"%02x\", ((unsigned char *)&v)[i]); printf(\"\\n\"); }")
		}
	})
	for i, want := range strings.Fields(out) {
		if got := fmt.Sprintf("%x", siginfos[i].s.Encode()); got != want {
			t.Errorf("%+v\ngot  %s\nwant %s", siginfos[i].s, got, want)
		}
	}
}

var siginfos = []struct {
	s      Siginfo
	layout SiginfoLayout
	c      string
}{
	{Siginfo{Signo: 15, Code: SIUser, PID: 3, UID: 4}, SiginfoKill, "v.si_pid = 3; v.si_uid = 4;"},
	{Siginfo{Signo: 15, Code: -6, PID: 3, UID: 4, Value: 9}, SiginfoQueue, "v.si_pid = 3; v.si_uid = 4; v.si_ptr = (void *)9;"},
	{Siginfo{Signo: 34, Code: -1, PID: 3, UID: 4, Value: 1<<63 + 5}, SiginfoQueue, "v.si_pid = 3; v.si_uid = 4; v.si_ptr = (void *)(1ul<<63 | 5);"},
	{Siginfo{Signo: 34, Errno: 2, Code: SIMesgq, PID: 3, UID: 4, Value: 7}, SiginfoQueue, "v.si_errno = 2; v.si_pid = 3; v.si_uid = 4; v.si_int = 7;"},
	{Siginfo{Signo: 14, Code: SITimer, TimerID: 3, Overrun: 4, Value: 5}, SiginfoTimer, "v.si_timerid = 3; v.si_overrun = 4; v.si_ptr = (void *)5;"},
	{Siginfo{Signo: 29, Code: 1, Band: -2, FD: 7}, SiginfoPoll, "v.si_band = -2; v.si_fd = 7;"},
	{Siginfo{Signo: 40, Code: 2, Band: 2, FD: 7}, SiginfoPoll, "v.si_band = 2; v.si_fd = 7;"},
	{Siginfo{Signo: 40, Code: SISigio, Band: 2, FD: 7}, SiginfoPoll, "v.si_band = 2; v.si_fd = 7;"},
	{Siginfo{Signo: 17, Code: 1, PID: 3, UID: 4, Status: 5, Utime: 6, Stime: 7}, SiginfoChild,
		"v.si_pid = 3; v.si_uid = 4; v.si_status = 5; v.si_utime = 6; v.si_stime = 7;"},
	{Siginfo{Signo: 11, Code: 1, Addr: 0xdead000}, SiginfoFault, "v.si_addr = (void *)0xdead000;"},
	{Siginfo{Signo: 11, Code: segvBndErr, Addr: 1, Lower: 2, Upper: 3}, SiginfoFault,
		"v.si_addr = (void *)1; v.si_lower = (void *)2; v.si_upper = (void *)3;"},
	{Siginfo{Signo: 11, Code: segvPkuErr, Addr: 1, Pkey: 9}, SiginfoFault, "v.si_addr = (void *)1; v.si_pkey = 9;"},
	{Siginfo{Signo: 7, Code: busMceerrAO, Addr: 1, AddrLSB: 12}, SiginfoFault, "v.si_addr = (void *)1; v.si_addr_lsb = 12;"},
	{Siginfo{Signo: 5, Code: trapPerf, Addr: 1, Perf: PerfSiginfo{2, 3, 4}}, SiginfoFault,
		"v.si_addr = (void *)1; memcpy((char *)&v + 24, (unsigned long[]){2}, 8); memcpy((char *)&v + 32, (int[]){3, 4}, 8);"},
	{Siginfo{Signo: 31, Code: 1, Addr: 1, Syscall: 2, Arch: 3}, SiginfoSys, "v.si_call_addr = (void *)1; v.si_syscall = 2; v.si_arch = 3;"},
	{Siginfo{Signo: 11, Code: SIKernel, PID: 0}, SiginfoKill, ""},
	{Siginfo{Signo: 5, Code: 0x80 + 1}, SiginfoKill, ""},
}

func TestSiginfoRoundTrip(t *testing.T) {
	for _, r := range siginfos {
		if r.s.Layout() != r.layout {
			t.Errorf("%+v is laid out as %d", r.s, r.s.Layout())
		}
		got, err := DecodeSiginfo(r.s.Encode())
		if err != nil || got != r.s {
			t.Errorf("got  %+v %v\nwant %+v", got, err, r.s)
		}
	}
	if _, err := DecodeSiginfo(make([]byte, 127)); err == nil {
		t.Error("a short struct is taken")
	}
}

func TestDecodersUndoEncoders(t *testing.T) {
	its := Itimerspec{Timespec{1, 2}, Timespec{3, -4}}
	equal(t, DecodeItimerspec(its.Encode()), its)
	itv := Itimerval{Timeval{1, 2}, Timeval{3, 4}}
	equal(t, DecodeItimerval(itv.Encode()), itv)
	rl := Rlimit{1, RlimInfinity}
	equal(t, DecodeRlimit(rl.Encode()), rl)
	sa := Sigaction{1, SaRestorer | SaResethand, 3, 1 << 63}
	equal(t, DecodeSigaction(sa.Encode()), sa)
	ss := Stack{1, -1 << 31, 3}
	equal(t, DecodeStack(ss.Encode()), ss)
	fl := Flock{1, 2, -3, 4, -1}
	equal(t, DecodeFlock(fl.Encode()), fl)
	ow := FOwnerEx{1, -5}
	equal(t, DecodeFOwnerEx(ow.Encode()), ow)
	ud := UserDesc{1, 2, 3, 4}
	equal(t, DecodeUserDesc(ud.Encode()), ud)
	at := SchedAttr{1, 2, -3, 4, 5, 6, 7, 8, 9}
	got, err := DecodeSchedAttr(at.Encode())
	equal(t, got, at)
	if _, short := DecodeSchedAttr(make([]byte, 48)); err != nil || short == nil {
		t.Error(err, short)
	}
	equal(t, DecodeRSeqCS(append(append32(nil, 1, 2), words(3, 4, 5)...)), RSeqCS{1, 2, 3, 4, 5})
}
