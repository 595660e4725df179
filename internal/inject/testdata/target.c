// A program that checks itself while it is stopped, used and let go.
//
// usage: target FILE MODE...   FILE is shared with the test: struct board.
// Each mode runs in a thread of its own, the last one in the main thread.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct board {
	volatile uint64_t beats[16];
	volatile uint64_t failed, stops;
	char why[256];
} *board;

static void fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (__sync_fetch_and_add(&board->failed, 1) == 0)
		vsnprintf(board->why, sizeof board->why, fmt, ap);
	va_end(ap);
}

// A call that a stop may end with EINTR although no handler ran (signal(7)):
// only told when the tool dies between the stop and making up for it.
static int stopped(long r)
{
	static int told = -1;
	if (told < 0)
		told = getenv("TARGET_MAY_SEE_STOPS") != NULL;
	return told && r == -1 && errno == EINTR && __sync_fetch_and_add(&board->stops, 1) + 1;
}

struct job { int n; const char *mode; };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void block(int how, int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	pthread_sigmask(how, &s, NULL);
}

// Each turn of a mode ends here, with the signal mask that it began with.
static void beat(int n)
{
	static __thread sigset_t first;
	static __thread int known;
	sigset_t now;
	sigemptyset(&now);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	if (!known)
		first = now;
	else if (memcmp(&first, &now, 8))
		fail("the signal mask was %lx, is %lx", *(long *)&first, *(long *)&now);
	known = 1;
	board->beats[n]++;
}

// All vector, mask and general registers hold a pattern for a while.
static void compute(int n)
{
	for (uint64_t round = 1;; round++) {
		uint64_t bad = 0;
		uint64_t a = round * 0x9e3779b97f4a7c15ull + n;
		if (__builtin_cpu_supports("avx512f")) {
			__asm__ volatile(
				"vpbroadcastq %[a], %%zmm0\n vpbroadcastq %[a], %%zmm15\n vpbroadcastq %[a], %%zmm16\n"
				"vpbroadcastq %[a], %%zmm31\n kmovw %k[a], %%k5\n"
				"mov %[a], %%r12\n mov %[a], %%r13\n mov %[a], %%rcx\n mov %[a], %%r11\n"
				"mov $200000, %%eax\n"
				"1: vpcmpneqq %%zmm0, %%zmm15, %%k1\n vpcmpneqq %%zmm16, %%zmm31, %%k2\n vpcmpneqq %%zmm0, %%zmm31, %%k3\n"
				"kortestw %%k1, %%k2\n jnz 2f\n kortestw %%k3, %%k3\n jnz 2f\n"
				"kmovw %%k5, %%edx\n cmp %w[a], %%dx\n jne 2f\n"
				"vmovq %%xmm16, %%rdx\n cmp %[a], %%rdx\n jne 2f\n"
				"cmp %%r12, %%r13\n jne 2f\n cmp %%rcx, %%r12\n jne 2f\n cmp %%r11, %%r12\n jne 2f\n"
				"dec %%eax\n jnz 1b\n jmp 3f\n"
				"2: mov $1, %[bad]\n 3:\n"
				: [bad] "+r"(bad) : [a] "r"(a)
				: "r12", "r13", "rcx", "r11", "rax", "rdx", "xmm0", "xmm15", "xmm16", "xmm31", "k1", "k2", "k3", "k5", "cc");
		} else {
			__asm__ volatile(
				"movq %[a], %%xmm0\n movq %[a], %%xmm15\n mov %[a], %%r12\n mov %[a], %%rcx\n mov %[a], %%r11\n"
				"mov $200000, %%eax\n"
				"1: movq %%xmm0, %%rdx\n cmp %[a], %%rdx\n jne 2f\n movq %%xmm15, %%rdx\n cmp %%r12, %%rdx\n jne 2f\n"
				"cmp %%rcx, %%r12\n jne 2f\n cmp %%r11, %%r12\n jne 2f\n"
				"dec %%eax\n jnz 1b\n jmp 3f\n"
				"2: mov $1, %[bad]\n 3:\n"
				: [bad] "+r"(bad) : [a] "r"(a) : "r12", "rcx", "r11", "rax", "rdx", "xmm0", "xmm15", "cc");
		}
		if (bad)
			fail("registers changed in round %lu", round);
		beat(n);
	}
}

// glibc calls with an error path that sets errno, and a deep stack.
static int deep(int n)
{
	volatile char pad[3000];
	memset((void *)pad, n, sizeof pad);
	if (n > 0 && deep(n - 1) != n - 1)
		fail("return value on the stack");
	for (size_t i = 0; i < sizeof pad; i++)
		if (pad[i] != (char)n) {
			fail("stack changed at depth %d", n);
			break;
		}
	return n;
}

static void calls(int n)
{
	for (;;) {
		errno = 0;
		if (close(-1) != -1 || errno != EBADF)
			fail("close(-1): errno %d", errno);
		if (getpid() != syscall(SYS_getpid))
			fail("getpid");
		deep(20);
		beat(n);
	}
}

static void expect(const char *what, long ret, long want)
{
	if (ret != want)
		fail("%s returned %ld, errno %d", what, ret, errno);
}

static void naps(int n)
{
	for (;;) {
		struct timespec t = {0, 20000000};
		double a = now();
		expect("nanosleep", nanosleep(&t, NULL), 0);
		if (now() - a < 0.0199)
			fail("nanosleep came back after %f s", now() - a);
		beat(n);
	}
}

static void futexes(int n)
{
	uint32_t word = 7;
	for (;;) {
		struct timespec t = {0, 15000000};
		long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &t, NULL, 0);
		if (r != -1 || errno != ETIMEDOUT)
			fail("futex returned %ld, errno %d", r, errno);
		beat(n);
	}
}

static void polls(int n)
{
	for (;;) {
		expect("poll", poll(NULL, 0, 10), 0);
		struct timespec t = {0, 10000000};
		sigset_t some;
		sigfillset(&some);
		sigdelset(&some, SIGUSR1);
		expect("ppoll", ppoll(NULL, 0, &t, &some), 0);
		beat(n);
	}
}

static void epolls(int n)
{
	int e = epoll_create1(0);
	for (;;) {
		struct epoll_event ev;
		long r = epoll_wait(e, &ev, 1, 15);
		if (r != 0 && !stopped(r))
			fail("epoll_wait returned %ld, errno %d", r, errno);
		beat(n);
	}
}

static void sigwaits(int n)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	block(SIG_BLOCK, SIGUSR2);
	for (;;) {
		struct timespec t = {0, 15000000};
		long r = sigtimedwait(&s, NULL, &t);
		if ((r != -1 || errno != EAGAIN) && !stopped(r))
			fail("sigtimedwait returned %ld, errno %d", r, errno);
		beat(n);
	}
}

static void recvs(int n)
{
	int sv[2];
	char c;
	struct timeval tv = {0, 15000};
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	for (;;) {
		long r = recv(sv[0], &c, 1, 0);
		if ((r != -1 || errno != EAGAIN) && !stopped(r))
			fail("recv returned %ld, errno %d", r, errno);
		beat(n);
	}
}

static int pipefd[2];

static void reads(int n)
{
	uint32_t want = 0, got;
	for (;;) {
		if (read(pipefd[0], &got, 4) != 4 || got != want++)
			fail("read %u, not %u, errno %d", got, want - 1, errno);
		beat(n);
	}
}

static void writes(int n)
{
	for (uint32_t i = 0;; i++) {
		expect("write", write(pipefd[1], &i, 4), 4);
		if (i % 64 == 0) {
			struct timespec t = {0, 1000000};
			nanosleep(&t, NULL);
		}
		beat(n);
	}
}

static int seven(void *unused) { return 7; }

// Children whose parent waits as in vfork(2), without SIGCHLD: a traced
// process is sent even signals that it ignores, which wakes its threads.
static void children(int n)
{
	char *stack = malloc(65536);
	for (;;) {
		pid_t p = clone(seven, stack + 65536, CLONE_VM | CLONE_VFORK, NULL);
		int st = 0;
		if (p < 0 || waitpid(p, &st, __WALL) != p || !WIFEXITED(st) || WEXITSTATUS(st) != 7)
			fail("child: pid %d, status %x, errno %d", p, st, errno);
		beat(n);
	}
}

static volatile sig_atomic_t ticks;
static void tick(int s) { ticks++; }

// A timer that must not lose or double its signals by much, and SIGTRAP with
// an action of its own.
static void timers(int n)
{
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
	sigaction(SIGRTMIN + 1, &sa, NULL);
	block(SIG_UNBLOCK, SIGRTMIN + 1); // here and nowhere else
	timer_t id;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	timer_create(CLOCK_MONOTONIC, &ev, &id);
	struct itimerspec its = {{0, 1000000}, {0, 1000000}};
	timer_settime(id, 0, &its, NULL);
	signal(SIGTRAP, SIG_IGN);
	for (;;) {
		sig_atomic_t a = ticks;
		while (ticks == a)
			;
		struct sigaction trap;
		sigaction(SIGTRAP, NULL, &trap);
		if (trap.sa_handler != SIG_IGN)
			fail("the action of SIGTRAP changed");
		beat(n);
	}
}

static void *run(void *arg)
{
	struct job *j = arg;
	static const struct { const char *name; void (*f)(int); } modes[] = {
		{"compute", compute}, {"calls", calls}, {"naps", naps}, {"futexes", futexes}, {"polls", polls},
		{"epolls", epolls}, {"sigwaits", sigwaits}, {"recvs", recvs}, {"reads", reads}, {"writes", writes},
		{"children", children}, {"timers", timers},
	};
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(modes[i].name, j->mode))
			modes[i].f(j->n);
	fail("no mode %s", j->mode);
	return NULL;
}

int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDWR);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (board == MAP_FAILED || argc < 3)
		return 1;
	close(fd);
	if (pipe(pipefd))
		return 1;
	block(SIG_BLOCK, SIGRTMIN + 1);
	static struct job jobs[16];
	for (int i = 2; i < argc; i++) {
		jobs[i - 2] = (struct job){i - 2, argv[i]};
		pthread_t th;
		if (i < argc - 1)
			pthread_create(&th, NULL, run, &jobs[i - 2]);
		else
			run(&jobs[i - 2]);
	}
}
