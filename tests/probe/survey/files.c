/* Files of procfs and sysfs that tell of the host or command it. Those to be written are opened and left alone. */
#include "survey.h"
#include <dirent.h>
#include <sys/wait.h>

/* A mask over a file is the null device, one over a directory is empty: being able to open them is nothing. */
static int read_some(const struct operation *o)
{
	char text[64];
	DIR *list = opendir(o->text);
	if (list) {
		struct dirent *entry;
		int found = 0;
		while ((entry = readdir(list)))
			found |= entry->d_name[0] != '.';
		closedir(list);
		return found ? 0 : ENODATA;
	}
	int fd = open(o->text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno;
	ssize_t got = read(fd, text, sizeof(text));
	return got > 0 || (got < 0 && errno == EAGAIN) ? 0 : got < 0 ? errno : ENODATA;
}

/* The kernel shows zeros to those who may not know where it lies. */
static int symbols(const struct operation *o)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long address = 0;
	if (!file)
		return errno;
	if (fscanf(file, "%lx", &address) != 1)
		return ENODATA;
	return address ? 0 : EPERM;
}

static int addresses(const struct operation *o)
{
	FILE *file = fopen("/proc/iomem", "re");
	unsigned long from, to;
	if (!file)
		return errno;
	while (fscanf(file, " %lx-%lx :%*[^\n]", &from, &to) == 2)
		if (from || to)
			return 0;
	return EPERM;
}

static int open_write(const struct operation *o)
{
	return done(open(o->text, O_WRONLY | O_CLOEXEC));
}

static int score(const struct operation *o)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? errno : done(write(fd, "-1000", 5));
}

/* Beside v1's hierarchies lies a temporary filesystem, and what is written there limits nobody. */
static int in_hierarchy(const char *place, int (*attempt)(const char *), const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/cgroup.procs", place);
	if (access(path, F_OK))
		return ENOENT;
	snprintf(path, sizeof(path), "%s/%s", place, name);
	return attempt(path);
}

/* Any one of the hierarchies: a v1 controller's directory, or the one of v2. */
static int in_cgroups(int (*attempt)(const char *), const char *name)
{
	char place[300];
	int answer = in_hierarchy("/sys/fs/cgroup", attempt, name);
	DIR *list = answer ? opendir("/sys/fs/cgroup") : NULL;
	for (struct dirent *entry; list && answer && (entry = readdir(list));) {
		if (entry->d_name[0] == '.' || entry->d_type == DT_REG)
			continue;
		snprintf(place, sizeof(place), "/sys/fs/cgroup/%s", entry->d_name);
		int other = in_hierarchy(place, attempt, name);
		if (!other || answer == ENOENT)
			answer = other;
	}
	if (list)
		closedir(list);
	return answer;
}

static int try_open(const char *path)
{
	return done(open(path, O_WRONLY | O_CLOEXEC));
}

static int try_directory(const char *path)
{
	if (mkdir(path, 0755))
		return errno;
	rmdir(path);
	return 0;
}

static int cgroup_file(const struct operation *o)
{
	return in_cgroups(try_open, o->text);
}

static int cgroup_group(const struct operation *o)
{
	return in_cgroups(try_directory, "survey");
}

/* More than the processes of the container: who sees only its own pid namespace finds itself to be a low number. */
static int host_processes(const struct operation *o)
{
	char text[32] = "";
	int fd = open("/proc/2/comm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	return read(fd, text, sizeof(text) - 1) > 0 && !strncmp(text, "kthreadd", 8) ? 0 : EPERM;
}

static int links_out(const struct operation *o)
{
	char target[256];
	/* The root of the first process: another place than ours when it is the host's. */
	struct stat own, first;
	if (readlink("/proc/1/root", target, sizeof(target)) < 0 || stat("/proc/1/root", &first) || stat("/", &own))
		return errno;
	return own.st_ino != first.st_ino || own.st_dev != first.st_dev ? 0 : EPERM;
}

const struct operation files[] = {
	{"read:/proc/kcore", read_some, "/proc/kcore"},
	{"read:/proc/kallsyms with addresses", symbols},
	{"read:/proc/keys", read_some, "/proc/keys"},
	{"read:/proc/kmsg", read_some, "/proc/kmsg"},
	{"read:/proc/timer_list", read_some, "/proc/timer_list"},
	{"read:/proc/interrupts", read_some, "/proc/interrupts"},
	{"read:/proc/iomem with addresses", addresses},
	{"read:/proc/vmallocinfo", read_some, "/proc/vmallocinfo"},
	{"read:/proc/slabinfo", read_some, "/proc/slabinfo"},
	{"read:/proc/kpagecount", read_some, "/proc/kpagecount"},
	{"read:/proc/pagetypeinfo", read_some, "/proc/pagetypeinfo"},
	{"read:/proc/config.gz", read_some, "/proc/config.gz"},
	{"read:/proc/cmdline", read_some, "/proc/cmdline"},
	{"read:/proc/acpi", read_some, "/proc/acpi"},
	{"read:/proc/scsi", read_some, "/proc/scsi"},
	{"read:/proc/asound", read_some, "/proc/asound"},
	{"read:/proc/sys/kernel/core_pattern", read_some, "/proc/sys/kernel/core_pattern"},
	{"read:/sys/firmware", read_some, "/sys/firmware"},
	{"read:/sys/kernel/debug", read_some, "/sys/kernel/debug"},
	{"read:/sys/kernel/tracing", read_some, "/sys/kernel/tracing"},
	{"read:/sys/kernel/security", read_some, "/sys/kernel/security"},
	{"read:/sys/kernel/vmcoreinfo", read_some, "/sys/kernel/vmcoreinfo"},
	{"read:/sys/kernel/slab", read_some, "/sys/kernel/slab"},
	{"read:/sys/devices/virtual/powercap", read_some, "/sys/devices/virtual/powercap"},
	{"read:/sys/block", read_some, "/sys/block"},
	{"read:/sys/class/dmi", read_some, "/sys/class/dmi"},
	{"read:/sys/bus/pci/devices", read_some, "/sys/bus/pci/devices"},
	{"read:processes of the host", host_processes},
	{"read:root of another filesystem", links_out},
	{"write:/proc/sysrq-trigger", open_write, "/proc/sysrq-trigger"},
	{"write:/proc/sys/kernel/core_pattern", open_write, "/proc/sys/kernel/core_pattern"},
	{"write:/proc/sys/kernel/modprobe", open_write, "/proc/sys/kernel/modprobe"},
	{"write:/proc/sys/kernel/hostname", open_write, "/proc/sys/kernel/hostname"},
	{"write:/proc/sys/kernel/randomize_va_space", open_write, "/proc/sys/kernel/randomize_va_space"},
	{"write:/proc/sys/kernel/printk", open_write, "/proc/sys/kernel/printk"},
	{"write:/proc/sys/kernel/pid_max", open_write, "/proc/sys/kernel/pid_max"},
	{"write:/proc/sys/vm/panic_on_oom", open_write, "/proc/sys/vm/panic_on_oom"},
	{"write:/proc/sys/vm/overcommit_memory", open_write, "/proc/sys/vm/overcommit_memory"},
	{"write:/proc/sys/vm/drop_caches", open_write, "/proc/sys/vm/drop_caches"},
	{"write:/proc/sys/fs/protected_symlinks", open_write, "/proc/sys/fs/protected_symlinks"},
	{"write:/proc/sys/fs/suid_dumpable", open_write, "/proc/sys/fs/suid_dumpable"},
	{"write:/proc/sys/fs/binfmt_misc/register", open_write, "/proc/sys/fs/binfmt_misc/register"},
	{"write:/proc/sys/net/ipv4/ip_forward", open_write, "/proc/sys/net/ipv4/ip_forward"},
	{"write:/proc/irq/default_smp_affinity", open_write, "/proc/irq/default_smp_affinity"},
	{"write:/proc/bus/pci", open_write, "/proc/bus/pci/00/00.0"},
	{"write:/proc/mtrr", open_write, "/proc/mtrr"},
	{"write:/proc/self/oom_score_adj -1000", score},
	{"write:/sys/kernel/uevent_helper", open_write, "/sys/kernel/uevent_helper"},
	{"write:/sys/kernel/mm/transparent_hugepage", open_write, "/sys/kernel/mm/transparent_hugepage/enabled"},
	{"write:/sys/kernel/profiling", open_write, "/sys/kernel/profiling"},
	{"write:/sys/power/state", open_write, "/sys/power/state"},
	{"write:/sys/block uevent", open_write, "/sys/class/mem/null/uevent"},
	{"write:/sys/module parameters", open_write, "/sys/module/printk/parameters/time"},
	{"write:/sys/class/net/lo/mtu", open_write, "/sys/class/net/lo/mtu"},
	{"write:/sys/devices/system/cpu", open_write, "/sys/devices/system/cpu/cpu1/online"},
	{"cgroup:make a group", cgroup_group},
	{"cgroup:write cgroup.procs", cgroup_file, "cgroup.procs"},
	{"cgroup:raise the memory limit", cgroup_file, "memory.limit_in_bytes"},
	{"cgroup:raise the pids limit", cgroup_file, "pids.max"},
	{"cgroup:write devices.allow", cgroup_file, "devices.allow"},
	{NULL},
};
