/* System calls that reach deep into the kernel and that ordinary programs never make. */
#include "survey.h"
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <linux/quota.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int io_uring(const struct operation *o)
{
	struct io_uring_params params = {0};
	return done(syscall(SYS_io_uring_setup, 4, &params));
}

static int userfault(const struct operation *o)
{
	return done(syscall(SYS_userfaultfd, o->number | O_CLOEXEC));
}

static int bpf_map(const struct operation *o)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return done(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int bpf_program(const struct operation *o)
{
	static const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {.prog_type = (unsigned)o->number, .insn_cnt = 2};
	attr.insns = (unsigned long)code;
	attr.license = (unsigned long)"GPL";
	return done(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)));
}

static int perf(const struct operation *o)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK};
	attr.exclude_kernel = o->number == 0;
	attr.exclude_hv = 1;
	return done(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int add_key(const struct operation *o)
{
	return done(syscall(SYS_add_key, "user", "survey", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

static int request_key(const struct operation *o)
{
	return gate(syscall(SYS_request_key, "user", "survey:none", NULL, 0));
}

static int keyctl(const struct operation *o)
{
	return done(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, o->number, 0));
}

static int join_session(const struct operation *o)
{
	return done(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "survey"));
}

/* A child that waits, for what one process does to another. */
static pid_t victim(void)
{
	pid_t child = fork();
	if (child < 0)
		_exit(errno);
	if (child == 0) {
		alarm(5);
		pause();
		_exit(0);
	}
	return child;
}

static int over(pid_t child, int answer)
{
	/* No child at all would be every process there is. */
	if (child <= 0)
		return EAGAIN;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return answer;
}

static int trace(const struct operation *o)
{
	pid_t child = victim();
	return over(child, done(ptrace(PTRACE_SEIZE, child, 0, 0)));
}

static char word[8] = "secret";

static int read_memory(const struct operation *o)
{
	pid_t child = victim();
	char copy[8];
	struct iovec here = {copy, sizeof(copy)}, there = {word, sizeof(word)};
	return over(child, done(syscall(SYS_process_vm_readv, child, &here, 1, &there, 1, 0)));
}

static int write_memory(const struct operation *o)
{
	pid_t child = victim();
	struct iovec here = {word, sizeof(word)}, there = {word, sizeof(word)};
	return over(child, done(syscall(SYS_process_vm_writev, child, &here, 1, &there, 1, 0)));
}

static int take_descriptor(const struct operation *o)
{
	pid_t child = victim();
	int handle = (int)syscall(SYS_pidfd_open, child, 0);
	return over(child, handle < 0 ? errno : done(syscall(SYS_pidfd_getfd, handle, 1, 0)));
}

static int compare(const struct operation *o)
{
	return done(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILES, 0, 0));
}

static int trace_init(const struct operation *o)
{
	int result = done(ptrace(PTRACE_SEIZE, 1, 0, 0));
	return result;
}

static int tick(const struct operation *o)
{
	struct timex now = {0};
	if (adjtimex(&now) < 0)
		return errno;
	/* Set to what it is. */
	struct timex same = {.modes = ADJ_TICK, .tick = now.tick};
	return done(adjtimex(&same));
}

static int same_name(const struct operation *o)
{
	char name[256];
	if (o->number == SYS_sethostname ? gethostname(name, sizeof(name)) : getdomainname(name, sizeof(name)))
		return errno;
	return done(syscall(o->number, name, strlen(name)));
}

static int read_log(const struct operation *o)
{
	char text[256];
	return done(syscall(SYS_syslog, 3, text, sizeof(text)));
}

/* Restart with a magic number that no command has: refused to the unprivileged before it is looked at. */
static int reboot_wrongly(const struct operation *o)
{
	return gate(syscall(SYS_reboot, 1, 2, 3, NULL));
}

static int on_nothing(const struct operation *o)
{
	return gate(syscall(o->number, "/nonexistent/survey", 0, 0));
}

static int quota(const struct operation *o)
{
	return gate(syscall(SYS_quotactl, QCMD(Q_GETINFO, USRQUOTA), "/nonexistent/survey", 0, NULL));
}

static int module(const struct operation *o)
{
	return gate(syscall(o->number, -1, "", 0, 0, 0));
}

static int fanotify(const struct operation *o)
{
	return done(syscall(SYS_fanotify_init, o->number, O_RDONLY));
}

static int vhangup_self(const struct operation *o)
{
	/* Away from any terminal first: it is the right that is asked for, not the deed. */
	setsid();
	return done(syscall(SYS_vhangup));
}

static int realtime(const struct operation *o)
{
	struct sched_param param = {.sched_priority = 1};
	return done(sched_setscheduler(0, SCHED_FIFO, &param));
}

static int nicer(const struct operation *o)
{
	return done(setpriority(PRIO_PROCESS, 0, -20));
}

static int io_realtime(const struct operation *o)
{
	return done(syscall(SYS_ioprio_set, 1, 0, 1 << 13));
}

static int more_files(const struct operation *o)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return errno;
	limit.rlim_max += 1;
	return done(setrlimit(RLIMIT_NOFILE, &limit));
}

static int personality_of(const struct operation *o)
{
	return done(syscall(SYS_personality, o->number));
}

static int local_table(const struct operation *o)
{
	char table[16];
	return done(syscall(SYS_modify_ldt, 0, table, sizeof(table)));
}

static int ports(const struct operation *o)
{
	return done(o->number == SYS_iopl ? syscall(SYS_iopl, 3) : syscall(SYS_ioperm, 0x80, 1, 1));
}

static int policy(const struct operation *o)
{
	return done(syscall(SYS_set_mempolicy, 0, NULL, 0));
}

static int move(const struct operation *o)
{
	return done(syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0));
}

static int list_mounts(const struct operation *o)
{
	struct {
		unsigned size, spare;
		unsigned long mount, parameter, space;
	} request = {.size = 24, .mount = ~0UL};
	unsigned long found[4];
	return done(syscall(NR_listmount, &request, found, 4, 0));
}

/* The 32-bit entry, at which the numbers mean other calls: getpid is 20 there. The arguments are those of
 * ptrace(PTRACE_TRACEME) and keyctl(KEYCTL_GET_KEYRING_ID, the session's). */
static int i386(const struct operation *o)
{
	long result = o->number;
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0L), "c"(-3L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	int narrow = (int)result;
	return narrow < 0 && narrow > -4096 ? -narrow : 0;
}

static int x32(const struct operation *o)
{
	return done(syscall(0x40000000 + SYS_getpid));
}

const struct operation calls[] = {
	{"call:io_uring_setup", io_uring},
	{"call:userfaultfd", userfault, NULL, UFFD_USER_MODE_ONLY},
	{"call:userfaultfd kernel faults", userfault, NULL, 0},
	{"call:bpf create map", bpf_map},
	{"call:bpf load socket filter", bpf_program, NULL, BPF_PROG_TYPE_SOCKET_FILTER},
	{"call:bpf load kprobe", bpf_program, NULL, BPF_PROG_TYPE_KPROBE},
	{"call:perf_event_open own", perf, NULL, 0},
	{"call:perf_event_open kernel", perf, NULL, 1},
	{"call:add_key", add_key},
	{"call:request_key", request_key},
	{"call:keyctl session keyring", keyctl, NULL, KEY_SPEC_SESSION_KEYRING},
	{"call:keyctl user keyring", keyctl, NULL, KEY_SPEC_USER_KEYRING},
	{"call:keyctl join session", join_session},
	{"call:ptrace child", trace},
	{"call:ptrace init", trace_init},
	{"call:process_vm_readv", read_memory},
	{"call:process_vm_writev", write_memory},
	{"call:pidfd_getfd", take_descriptor},
	{"call:kcmp", compare},
	{"call:adjtimex set", tick},
	{"call:sethostname", same_name, NULL, SYS_sethostname},
	{"call:setdomainname", same_name, NULL, SYS_setdomainname},
	{"call:syslog read", read_log},
	{"call:reboot", reboot_wrongly},
	{"call:swapon", on_nothing, NULL, SYS_swapon},
	{"call:swapoff", on_nothing, NULL, SYS_swapoff},
	{"call:acct", on_nothing, NULL, SYS_acct},
	{"call:quotactl", quota},
	{"call:init_module", module, NULL, SYS_init_module},
	{"call:finit_module", module, NULL, SYS_finit_module},
	{"call:delete_module", module, NULL, SYS_delete_module},
	{"call:kexec_load", module, NULL, SYS_kexec_load},
	{"call:kexec_file_load", module, NULL, SYS_kexec_file_load},
	{"call:fanotify_init own files", fanotify, NULL, FAN_CLASS_NOTIF | FAN_REPORT_FID},
	{"call:fanotify_init permission", fanotify, NULL, FAN_CLASS_CONTENT},
	{"call:vhangup", vhangup_self},
	{"call:sched_setscheduler realtime", realtime},
	{"call:setpriority below zero", nicer},
	{"call:ioprio_set realtime", io_realtime},
	{"call:setrlimit raise", more_files},
	{"call:personality no randomisation", personality_of, NULL, 0x0040000},
	{"call:personality read implies exec", personality_of, NULL, 0x0400000},
	{"call:modify_ldt", local_table},
	{"call:iopl", ports, NULL, SYS_iopl},
	{"call:ioperm", ports, NULL, SYS_ioperm},
	{"call:set_mempolicy", policy},
	{"call:move_pages", move},
	{"call:listmount", list_mounts},
	{"entry:i386 getpid", i386, NULL, 20},
	{"entry:i386 ptrace", i386, NULL, 26},
	{"entry:i386 keyctl", i386, NULL, 288},
	{"entry:x32 getpid", x32},
	{NULL},
};
