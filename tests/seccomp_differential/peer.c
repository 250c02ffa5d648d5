/*
 * What libseccomp and the kernel make of a profile, for comparison with our compiler. Reads commands from standard
 * input, one a line, and answers each that ends a question on standard output.
 *
 * To libseccomp:
 *   D action                           a new filter with this default action
 *   A token                            also filter this architecture (SCMP_ARCH_*)
 *   R name action n [index op a b]*n   a rule; ignored if the name is unknown, as runc does
 *   X                                  answer: "F errno" if a rule was refused, else the program's length, then its
 *                                      instructions, one a line
 *   N name                             answer: 1 if libseccomp has heard of the system call, else 0
 * To the kernel:
 *   P n, then n instructions           the program to load
 *   C bits number a0 a1 a2 a3 a4 a5    answer: "killed", or what the call returns under the program; with 32 bits
 *                                      the call is made as an i386 program makes it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static scmp_filter_ctx filter;
static int refused;
static struct sock_filter program[4096];
static unsigned length;

struct report {
	int done;
	int64_t result;
};

static void fail(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void add_rule(void)
{
	char name[128];
	uint32_t action;
	unsigned count;
	struct scmp_arg_cmp arguments[6];

	if (scanf("%127s %" SCNu32 " %u", name, &action, &count) != 3 || count > 6)
		fail("rule");
	for (unsigned i = 0; i < count; i++) {
		unsigned index, op;
		uint64_t a, b;
		if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &a, &b) != 4)
			fail("argument");
		arguments[i] = (struct scmp_arg_cmp){ index, op, a, b };
	}
	int number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		return;
	int rc = seccomp_rule_add_array(filter, action, number, count, arguments);
	if (rc < 0 && !refused)
		refused = -rc;
}

static void export(void)
{
	if (refused) {
		printf("F %d\n", refused);
		return;
	}
	int fd = memfd_create("filter", MFD_CLOEXEC);
	if (fd < 0 || seccomp_export_bpf(filter, fd) < 0)
		fail("export");
	off_t size = lseek(fd, 0, SEEK_END);
	struct sock_filter *exported = calloc(1, size);
	if (!exported || pread(fd, exported, size, 0) != size)
		fail("read export");
	printf("%zu\n", (size_t)size / sizeof(*exported));
	for (size_t i = 0; i < size / sizeof(*exported); i++)
		printf("%u %u %u %u\n", exported[i].code, exported[i].jt, exported[i].jf, exported[i].k);
	free(exported);
	close(fd);
}

static void read_program(void)
{
	if (scanf("%u", &length) != 1 || length > 4096)
		fail("program");
	for (unsigned i = 0; i < length; i++) {
		unsigned code, jt, jf, k;
		if (scanf("%u %u %u %u", &code, &jt, &jf, &k) != 4)
			fail("instruction");
		program[i] = (struct sock_filter){ code, jt, jf, k };
	}
}

static int64_t call64(uint64_t number, const uint64_t a[6])
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	int64_t result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static int64_t call32(uint64_t number, const uint64_t a[6])
{
	int32_t result;
	/* The sixth argument goes in ebp, which the compiler keeps for itself; 128 bytes below rsp are its own too. */
	register uint64_t sixth __asm__("r12") = a[5];
	__asm__ volatile("sub $128, %%rsp; push %%rbp; mov %%r12d, %%ebp; int $0x80; pop %%rbp; add $128, %%rsp"
			 : "=a"(result)
			 : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]), "r"(sixth)
			 : "r8", "r9", "r10", "r11", "memory");
	return result;
}

/* The child ends by an illegal instruction, which needs no system call that the filter could refuse. */
static void child(unsigned bits, uint64_t number, const uint64_t arguments[6], volatile struct report *report)
{
	struct sock_fprog prog = { length, program };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)) {
		report->result = -errno;
		report->done = -1;
	} else {
		report->result = bits == 32 ? call32(number, arguments) : call64(number, arguments);
		report->done = 1;
	}
	__builtin_trap();
}

static void call(struct report *report)
{
	unsigned bits;
	uint64_t number, a[6];
	int status;

	if (scanf("%u %" SCNu64, &bits, &number) != 2)
		fail("call");
	for (int i = 0; i < 6; i++)
		if (scanf("%" SCNu64, &a[i]) != 1)
			fail("call argument");
	memset(report, 0, sizeof(*report));
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		child(bits, number, a, report);
	if (waitpid(pid, &status, 0) != pid)
		fail("wait");
	if (report->done < 0) {
		errno = -report->result;
		fail("load filter");
	}
	if (report->done)
		printf("%" PRId64 "\n", report->result);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		puts("killed");
	else
		fail("child ended otherwise");
}

int main(void)
{
	char command;
	char name[128];
	struct report *report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		fail("mmap");
	/* Traps and the trap above would else leave a core each. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		fail("prctl");
	/* libseccomp's time grows exponentially with the rules that overlap. */
	struct rlimit limit = { 2, 2 };
	if (setrlimit(RLIMIT_CPU, &limit))
		fail("setrlimit");
	while (scanf(" %c", &command) == 1) {
		uint32_t value;
		switch (command) {
		case 'D':
			if (scanf("%" SCNu32, &value) != 1)
				fail("default");
			if (filter)
				seccomp_release(filter);
			filter = seccomp_init(value);
			refused = 0;
			if (!filter)
				fail("init");
			break;
		case 'A':
			if (scanf("%" SCNu32, &value) != 1)
				fail("architecture");
			int rc = seccomp_arch_add(filter, value);
			if (rc < 0 && rc != -EEXIST)
				fail("add architecture");
			break;
		case 'R':
			add_rule();
			break;
		case 'N':
			if (scanf("%127s", name) != 1)
				fail("name");
			printf("%d\n", seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR);
			break;
		case 'X':
			export();
			break;
		case 'P':
			read_program();
			break;
		case 'C':
			call(report);
			break;
		default:
			fail("unknown command");
		}
	}
	return 0;
}
