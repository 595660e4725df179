/* exelink FILE: makes /proc/self/exe name FILE, as a restore does: from memory that is no part of the program, after the
 * program's own file was unmapped (replace_mm_exe_file in kernel/fork.c gives EBUSY as long as anything of it is mapped).
 * It prints the link and exits with the errno of prctl(2). Built with -static -nostdlib. */
#include <asm/unistd.h>
#include <linux/prctl.h>

typedef unsigned long word;

#define AT_FDCWD -100
#define always static inline __attribute__((always_inline))

always long call(long nr, word a, word b, word c, word d, word e, word f)
{
	register word r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}

struct context {
	word from[16], to[16];
	int ranges, fd;
	struct prctl_mm_map map;
	char path[16], link[256];
};

/* away runs in a copy of itself: it may use nothing but c. */
__attribute__((noinline, section(".away"), used)) static void away(volatile struct context *c)
{
	long err, n;

	for (int i = 0; i < c->ranges; i++)
		call(__NR_munmap, c->from[i], c->to[i] - c->from[i], 0, 0, 0, 0);
	err = call(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (word)&c->map, sizeof c->map, 0, 0);
	n = call(__NR_readlinkat, AT_FDCWD, (word)c->path, (word)c->link, sizeof c->link, 0, 0);
	call(__NR_write, 1, (word)c->link, n, 0, 0, 0);
	call(__NR_exit_group, -err, 0, 0, 0, 0, 0);
}

static word hex(const char **p)
{
	word v = 0;

	for (;; ++*p)
		if (**p >= '0' && **p <= '9')
			v = v << 4 | (**p - '0');
		else if (**p >= 'a' && **p <= 'f')
			v = v << 4 | (**p - 'a' + 10);
		else
			return v;
}

/* own collects the mappings of files that lie below the heap: the program's. */
static void own(struct context *c)
{
	static char text[8192];
	long n = 0, k;
	int fd = call(__NR_openat, AT_FDCWD, (word)"/proc/self/maps", 0, 0, 0, 0);

	while ((k = call(__NR_read, fd, (word)text + n, sizeof text - 1 - n, 0, 0, 0)) > 0)
		n += k;
	for (const char *p = text; *p && c->ranges < 16; p++) {
		word from = hex(&p), to = (p++, hex(&p));
		int file = 0;

		for (; *p && *p != '\n'; p++)
			file |= *p == '/';
		if (file) {
			c->from[c->ranges] = from;
			c->to[c->ranges++] = to;
		}
	}
}

__attribute__((used)) void run(word *stack)
{
	struct context c;
	char *copy, *from = (char *)away;
	word sp = (word)stack;

	for (word i = 0; i < sizeof c; i++)
		((volatile char *)&c)[i] = 0;
	for (int i = 0; i < 15; i++)
		c.path[i] = "/proc/self/exe"[i];
	own(&c);
	c.map.start_code = 0x400000;
	c.map.end_code = 0x401000;
	c.map.start_data = 0x402000;
	c.map.end_data = 0x403000;
	c.map.start_brk = c.map.brk = 0x404000;
	c.map.start_stack = c.map.arg_start = c.map.arg_end = c.map.env_start = c.map.env_end = sp;
	c.map.exe_fd = call(__NR_openat, AT_FDCWD, stack[2], 0, 0, 0, 0);
	copy = (char *)call(__NR_mmap, 0, 4096, 7, 0x22, -1, 0);
	for (int i = 0; i < 2048; i++)
		((volatile char *)copy)[i] = from[i];
	((void (*)(struct context *))copy)(&c);
}

__asm__(".globl _start\n_start:\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
