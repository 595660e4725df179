#include "textflag.h"

// The code that runs inside tasks. Each piece is copied from our own text to
// a Space (code_unsafe.go); nothing here is ever called in the tool.
//
// Rules: no stack, no data, no absolute address; only registers, the record
// that R12 points to and the control block that R13 points to. The syscall
// instruction clobbers AX, CX and R11. A piece ends in the mark "ckpt.end".

// Of a record (program.go).
#define rNR    0
#define rFLAGS 4
#define rARG0  8
#define rARG1  16
#define rARG2  24
#define rARG3  32
#define rARG4  40
#define rARG5  48
#define rRET   56

// Of the control block (space.go).
#define cSTATE 0
#define cLAST  8
#define cLEAVE 16
#define cTIME  24
#define cTICK  40
#define cTICKS 48
#define cTGID  56
#define cTID   60

#define SYS_read         0
#define SYS_ppoll        271
#define SYS_clone        56
#define SYS_exit         60
// CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM
#define CLONE_BARE       0x50f00
#define SYS_rt_sigreturn 15
#define SYS_getpid       39
#define SYS_kill         62
#define SYS_tgkill       234
#define ESRCH            3
#define EINTR            4
#define SYS_pause        34
#define SYS_exit_group   231

#define MARK BYTE $'c'; BYTE $'k'; BYTE $'p'; BYTE $'t'; BYTE $'.'; BYTE $'e'; BYTE $'n'; BYTE $'d'

// A result of -4095..-1 is an error: as unsigned, no less than -4095.
#define IF_OK(label) CMPQ AX, $-4095; JCS label

// boot makes the data writable by the one system call that its registers
// hold, and falls into run, which follows it in the copy.
TEXT ·boot(SB), NOSPLIT|NOFRAME, $0
	SYSCALL
	TESTQ AX, AX
	JZ    good
	MOVQ  cLEAVE(R13), CX
	LEAQ  8(CX), SP
	MOVL  $SYS_rt_sigreturn, AX
	SYSCALL
good:
	MARK

// run executes the records from R12 on, says in the control block how it
// went, and waits to be stopped. It leaves when the tool's thread is gone, or
// if nobody comes in time.
TEXT ·run(SB), NOSPLIT|NOFRAME, $0
next:
	MOVL rFLAGS(R12), R15
	MOVL R15, CX
	SHRL $8, CX
	JNZ  pseudo
	MOVL rNR(R12), AX
	MOVQ rARG0(R12), DI
	MOVQ rARG1(R12), SI
	MOVQ rARG2(R12), DX
	MOVQ rARG3(R12), R10
	MOVQ rARG4(R12), R8
	MOVQ rARG5(R12), R9
	SYSCALL
	TESTL $2, R15
	JNZ  cloned
returned:
	MOVQ AX, rRET(R12)
	TESTL $1, R15
	JZ   advance
	IF_OK(advance)
	JMP  failed

advance:
	ADDQ $64, R12
	JMP  next

	// A task that is born here has a program of its own: its first record
	// and control block are where clone3, of two arguments, has none. It
	// writes nothing that its cloner may share with it.
cloned:
	TESTQ AX, AX
	JNZ  returned
	MOVQ rARG3(R12), R13
	MOVQ rARG2(R12), R12
	JMP  next

pseudo:
	CMPL CX, $1
	JEQ  done
	CMPL CX, $6
	JEQ  spin
	MOVQ rARG0(R12), SI
	MOVQ (SI), AX
	CMPL CX, $2
	JEQ  move8
	CMPL CX, $3
	JEQ  move4
	CMPL CX, $4
	JEQ  equal

	// Tolerate: no error, or one of five.
	IF_OK(advance)
	CMPQ AX, rARG1(R12)
	JEQ  advance
	CMPQ AX, rARG2(R12)
	JEQ  advance
	CMPQ AX, rARG3(R12)
	JEQ  advance
	CMPQ AX, rARG4(R12)
	JEQ  advance
	CMPQ AX, rARG5(R12)
	JEQ  advance
	JMP  failed

move8:
	MOVQ rARG1(R12), DI
	MOVQ AX, (DI)
	JMP  advance

move4:
	MOVQ rARG1(R12), DI
	MOVL AX, (DI)
	JMP  advance

equal:
	CMPQ AX, rARG1(R12)
	JEQ  advance

	// Spin: threads that end at once, arg1 of them at most, until one has the
	// number arg0. They have no stack of their own and touch none.
spin:
	MOVQ  rARG1(R12), BX
another:
	MOVL  $CLONE_BARE, DI
	XORL  SI, SI
	XORL  DX, DX
	XORL  R10, R10
	XORL  R8, R8
	MOVL  $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JZ    brief
	MOVQ  AX, rRET(R12)
	IF_OK(counted)
	JMP   advance // for whoever reads the result
counted:
	CMPQ  AX, rARG0(R12)
	JEQ   advance
	DECQ  BX
	JNZ   another
	JMP   advance
brief:
	XORL  DI, DI
	MOVL  $SYS_exit, AX
	SYSCALL
	JMP   brief

failed:
	MOVL $2, CX
	JMP  report

done:
	MOVL $1, CX

report:
	MOVQ R12, cLAST(R13)
	MOVQ CX, cSTATE(R13)
	CMPQ cTICK(R13), $0
	JNE  wait
	INT  $3 // Program.Trap

	// ppoll and no other wait: when it is interrupted it leaves the
	// restart block alone, which belongs to the call that the thread was
	// stopped in, and it counts its time-out down in place.
wait:
	XORL  DI, DI
	XORL  SI, SI
	XORL  DX, DX
	CMPQ  cLEAVE(R13), $0
	JEQ   sleep // for ever
	MOVQ  cTICK(R13), AX
	MOVQ  $0, cTIME(R13)
	MOVQ  AX, (cTIME+8)(R13)
	LEAQ  cTIME(R13), DX
sleep:
	XORL  R10, R10
	MOVL  $8, R8
	MOVL  $SYS_ppoll, AX
	SYSCALL
	CMPQ  cLEAVE(R13), $0
	JEQ   wait

	// A tick has passed: is there still a tool?
	DECQ  cTICKS(R13)
	JZ    heal
	MOVL  cTGID(R13), DI
	TESTL DI, DI
	JZ    wait
	MOVL  cTID(R13), SI
	XORL  DX, DX
	MOVL  $SYS_tgkill, AX
	SYSCALL
	CMPQ  AX, $-ESRCH
	JNE   wait

heal:
	MOVQ  cLEAVE(R13), CX
	LEAQ  8(CX), SP
	MOVL  $SYS_rt_sigreturn, AX
	SYSCALL
	MARK

// leave goes to the context of the signal frame at R12.
TEXT ·leave(SB), NOSPLIT|NOFRAME, $0
	LEAQ 8(R12), SP
	MOVL $SYS_rt_sigreturn, AX
	SYSCALL
	MARK

// park goes to the context of the signal frame at R12 if the word at R14 is
// set, and else ends the process. With R15, a signal, it sends that to its own
// process first: SIGSTOP, which no mask holds up.
TEXT ·park(SB), NOSPLIT|NOFRAME, $0
	MOVQ  (R14), AX
	TESTQ AX, AX
	JZ    die
	TESTQ R15, R15
	JZ    go
	MOVL  $SYS_getpid, AX
	SYSCALL
	MOVQ  AX, DI
	MOVQ  R15, SI
	MOVL  $SYS_kill, AX
	SYSCALL
go:
	LEAQ  8(R12), SP
	MOVL  $SYS_rt_sigreturn, AX
	SYSCALL
die:
	MOVL  $1, DI
	MOVL  $SYS_exit_group, AX
	SYSCALL
	JMP   die
	MARK

// heir waits until nobody has the other end of the pipe R9 any more and then,
// unless the word at R14 is set, goes to R8: run, with its registers.
TEXT ·heir(SB), NOSPLIT|NOFRAME, $0
again:
	MOVQ  R9, DI
	LEAQ  cTIME(R13), SI
	MOVL  $1, DX
	MOVL  $SYS_read, AX
	SYSCALL
	CMPQ  AX, $-EINTR
	JEQ   again
	TESTQ AX, AX
	JNZ   end // nobody writes anything
	MOVQ  (R14), AX
	TESTQ AX, AX
	JNZ   end
	JMP   R8
end:
	XORL  DI, DI
	MOVL  $SYS_exit_group, AX
	SYSCALL
	JMP   end
	MARK

// pauseLoop is where a stub waits to be seized.
TEXT ·pauseLoop(SB), NOSPLIT|NOFRAME, $0
again:
	MOVL $SYS_pause, AX
	SYSCALL
	JMP  again
	MARK

// func codeAddr(piece int) uintptr
TEXT ·codeAddr(SB), NOSPLIT, $0-16
	MOVQ piece+0(FP), CX
	LEAQ ·boot(SB), AX
	CMPQ CX, $0
	JEQ  ret
	LEAQ ·run(SB), AX
	CMPQ CX, $1
	JEQ  ret
	LEAQ ·leave(SB), AX
	CMPQ CX, $2
	JEQ  ret
	LEAQ ·park(SB), AX
	CMPQ CX, $3
	JEQ  ret
	LEAQ ·heir(SB), AX
	CMPQ CX, $4
	JEQ  ret
	LEAQ ·pauseLoop(SB), AX
ret:
	MOVQ AX, ret+8(FP)
	RET

// func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET
