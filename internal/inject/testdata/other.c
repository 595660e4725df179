// Processes in states that make freezing and injecting hard.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *s)
{
	if (write(1, s, strlen(s)) < 0)
		_exit(9);
}

static void nap(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

// Children of vfork that take their time before they call execve.
static void vforks(long ms)
{
	say("ok\n");
	for (;;) {
		pid_t p = vfork();
		if (p == 0) {
			nap(ms);
			execl("/bin/true", "true", NULL);
			_exit(1);
		}
		waitpid(p, NULL, 0);
	}
}

// One child of vfork has another, and both take their time.
static void vforks_nested(long ms)
{
	say("ok\n");
	for (;;) {
		pid_t p = vfork();
		if (p == 0) {
			pid_t q = vfork();
			if (q == 0) {
				nap(ms);
				execl("/bin/true", "true", NULL);
				_exit(1);
			}
			nap(ms);
			execl("/bin/true", "true", NULL);
			_exit(1);
		}
		waitpid(p, NULL, 0);
	}
}

// A child of vfork waits for a program of its own to end.
static void vforks_waiting(const char *command)
{
	say("ok\n");
	for (;;) {
		pid_t p = vfork();
		if (p == 0) {
			pid_t q = vfork();
			if (q == 0) {
				execl("/bin/sh", "sh", "-c", command, NULL);
				_exit(1);
			}
			_exit(waitpid(q, NULL, 0) != q);
		}
		waitpid(p, NULL, 0);
	}
}

// A child of vfork waits for a word of its grandparent.
static void vforks_listening(void)
{
	int fd[2];
	char word;
	if (pipe(fd))
		exit(1);
	if (fork() != 0) {
		say("ok\n");
		for (;; write(fd[1], "x", 1))
			nap(150);
	}
	for (;;) {
		pid_t p = vfork();
		if (p == 0) {
			read(fd[0], &word, 1);
			_exit(0);
		}
		waitpid(p, NULL, 0);
	}
}

static void *nothing(void *arg)
{
	nap(1);
	return NULL;
}

// Threads come and go all the time, made by several threads.
static void *spawner(void *arg)
{
	for (;;) {
		pthread_t th[4];
		for (int i = 0; i < 4; i++)
			if (pthread_create(&th[i], NULL, nothing, NULL))
				_exit(3);
		for (int i = 0; i < 4; i++)
			pthread_join(th[i], NULL);
	}
	return NULL;
}

static void spawn(void)
{
	pthread_t th;
	for (int i = 0; i < 3; i++)
		pthread_create(&th, NULL, spawner, NULL);
	say("ok\n");
	spawner(NULL);
}

static void zombie(void)
{
	pid_t p = fork();
	if (p == 0)
		_exit(0);
	printf("%d\n", p);
	fflush(stdout);
	for (;;)
		pause();
}

static void *stay(void *arg)
{
	for (;;)
		nap(10);
	return NULL;
}

static void leader_gone(void)
{
	pthread_t th;
	pthread_create(&th, NULL, stay, NULL);
	say("ok\n");
	pthread_exit(NULL);
}

static volatile sig_atomic_t handled;
static void handler(int sig) { handled = 1; }

static void handler_due(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &sa, NULL);
	int e = epoll_create1(0);
	struct epoll_event ev;
	say("ok\n");
	long r = epoll_wait(e, &ev, 1, -1);
	say(handled ? "handled, " : "not handled, ");
	say(r == -1 && errno == EINTR ? "EINTR\n" : "no EINTR\n");
}

// Only what the loop needs, and not restart_syscall.
static void filtered(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p))
		_exit(4);
	for (;;) {
		say("ok\n");
		nap(50);
	}
}

// Rules about memory that a Space must keep to.
static void rules(const char *mode)
{
	if (!strcmp(mode, "mlockall") && mlockall(MCL_CURRENT | MCL_FUTURE))
		_exit(5);
	// PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: no page is ever writable and
	// executable, nor becomes executable.
	if (!strcmp(mode, "mdwe") && prctl(65, 1, 0, 0, 0))
		_exit(6);
}

// The process executes its file again and again, with other threads about it
// that end of it.
static void again(const char *mode)
{
	nap(1);
	execl("/proc/self/exe", "other", mode, "again", NULL);
	_exit(4);
}

static void *executes(void *mode)
{
	again(mode);
	return NULL;
}

static void *starts_others(void *arg)
{
	for (;;) {
		pid_t p = vfork();
		if (p == 0) {
			execl("/proc/self/exe", "other", "none", NULL);
			_exit(4);
		}
		waitpid(p, NULL, 0);
		say("ok\n");
	}
	return NULL;
}

static void execs(const char *mode)
{
	pthread_t th;

	for (int i = 0; i < 3; i++)
		if (pthread_create(&th, NULL, stay, NULL))
			_exit(3);
	say("ok\n");
	if (!strcmp(mode, "exec-first"))
		again(mode);
	void *(*f)(void *) = strcmp(mode, "exec-vfork") ? executes : starts_others;
	if (pthread_create(&th, NULL, f, (void *)mode))
		_exit(3);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];
	if (!strcmp(mode, "none"))
		return 0;
	if (!strncmp(mode, "exec-", 5))
		execs(mode);
	if (!strcmp(mode, "vfork"))
		vforks(300);
	if (!strcmp(mode, "vfork-forever"))
		vforks(1000000000);
	if (!strcmp(mode, "vfork-nested"))
		vforks_nested(150);
	if (!strcmp(mode, "vfork-waits"))
		vforks_waiting("sleep 0.2");
	if (!strcmp(mode, "vfork-listens"))
		vforks_listening();
	if (!strcmp(mode, "spawn"))
		spawn();
	if (!strcmp(mode, "zombie"))
		zombie();
	if (!strcmp(mode, "leader-gone"))
		leader_gone();
	if (!strcmp(mode, "handler"))
		handler_due();
	if (!strcmp(mode, "seccomp"))
		filtered();
	rules(mode);
	for (;;) {
		say("ok\n");
		nap(20);
	}
}
