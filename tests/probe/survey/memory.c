/* Bringing in and running code that the image does not have, and giving files powers. */
#include "survey.h"
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static int write_then_execute(const struct operation *o)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/survey-program", o->text);
	int failed = write_program(path);
	if (!failed)
		failed = run_program(path);
	unlink(path);
	return failed;
}

/* A program in memory alone, run through its descriptor. */
static int memory_program(const struct operation *o)
{
	int fd = memfd_create("survey", (unsigned)o->number);
	if (fd < 0)
		return errno;
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int failed = write_program(path);
	return failed ? failed : run_program(path);
}

static int secret(const struct operation *o)
{
	return done(syscall(SYS_memfd_secret, 0));
}

static int map_both(const struct operation *o)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? errno : 0;
}

/* A file somebody may change while it is mapped to run. */
static int map_file(const struct operation *o)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/survey-mapped", o->text);
	int failed = write_program(path);
	if (failed)
		return failed;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	return page == MAP_FAILED ? errno : 0;
}

static int make_in(const struct operation *o)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/survey-made", o->text);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	unlink(path);
	return 0;
}

static int open_to_write(const struct operation *o)
{
	return done(open(o->text, O_WRONLY | O_CLOEXEC));
}

/* What is asked for is the bit in the file, however the call answered. */
static int has_bit(const char *path, int answer, mode_t bit)
{
	struct stat file;
	int got = stat(path, &file) == 0 && file.st_mode & bit;
	unlink(path);
	return got ? 0 : answer ? answer : EPERM;
}

static int setuid_chmod(const struct operation *o)
{
	const char *path = scratch("chmod");
	int fd = path ? open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700) : -1;
	if (fd < 0)
		return errno;
	int answer;
	switch (o->number) {
	case SYS_chmod: answer = done(syscall(SYS_chmod, path, 04755)); break;
	case SYS_fchmod: answer = done(syscall(SYS_fchmod, fd, 04755)); break;
	case SYS_fchmodat: answer = done(syscall(SYS_fchmodat, AT_FDCWD, path, 04755)); break;
	default: answer = done(syscall(NR_fchmodat2, AT_FDCWD, path, 04755, 0)); break;
	}
	return has_bit(path, answer, S_ISUID);
}

static int setuid_open(const struct operation *o)
{
	const char *path = scratch("open");
	if (!path)
		return errno;
	int answer;
	struct open_how how = {.flags = O_CREAT | O_WRONLY, .mode = 04755};
	switch (o->number) {
	case SYS_open: answer = done(syscall(SYS_open, path, O_CREAT | O_WRONLY, 04755)); break;
	case SYS_openat: answer = done(syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 04755)); break;
	case SYS_creat: answer = done(syscall(SYS_creat, path, 04755)); break;
	default: answer = done(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how))); break;
	}
	return has_bit(path, answer, S_ISUID);
}

static int setuid_mknod(const struct operation *o)
{
	const char *path = scratch("mknod");
	if (!path)
		return errno;
	return has_bit(path, done(syscall(SYS_mknodat, AT_FDCWD, path, S_IFREG | 04755, 0)), S_ISUID);
}

/* Capabilities for whoever runs the file. */
static int file_capability(const struct operation *o)
{
	const char *path = scratch("capability");
	int fd = path ? open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700) : -1;
	if (fd < 0)
		return errno;
	struct vfs_cap_data data = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {{1 << CAP_NET_RAW, 0}, {0, 0}}};
	int answer = done(fsetxattr(fd, "security.capability", &data, sizeof(data), 0));
	unlink(path);
	return answer;
}

static int trusted_attribute(const struct operation *o)
{
	const char *path = scratch("trusted");
	int fd = path ? open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0700) : -1;
	if (fd < 0)
		return errno;
	int answer = done(fsetxattr(fd, "trusted.survey", "x", 1, 0));
	unlink(path);
	return answer;
}

static int new_privileges(const struct operation *o)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? EPERM : 0;
}

const struct operation memory[] = {
	{"code:write and run in /tmp", write_then_execute, "/tmp"},
	{"code:write and run in /var/tmp", write_then_execute, "/var/tmp"},
	{"code:write and run in /run", write_then_execute, "/run"},
	{"code:write and run in /dev/shm", write_then_execute, "/dev/shm"},
	{"code:write and run in /dev", write_then_execute, "/dev"},
	{"code:write and run in /", write_then_execute, ""},
	{"code:write and map executable in /tmp", map_file, "/tmp"},
	{"code:run a memfd", memory_program, NULL, MFD_CLOEXEC},
	{"code:memfd_secret", secret},
	{"code:map writable and executable", map_both},
	{"write:new file in /", make_in, ""},
	{"write:new file in /bin", make_in, "/bin"},
	{"write:new file in /etc", make_in, "/etc"},
	{"write:/etc/passwd", open_to_write, "/etc/passwd"},
	{"setuid:chmod", setuid_chmod, NULL, SYS_chmod},
	{"setuid:fchmod", setuid_chmod, NULL, SYS_fchmod},
	{"setuid:fchmodat", setuid_chmod, NULL, SYS_fchmodat},
	{"setuid:fchmodat2", setuid_chmod, NULL, NR_fchmodat2},
	{"setuid:open", setuid_open, NULL, SYS_open},
	{"setuid:openat", setuid_open, NULL, SYS_openat},
	{"setuid:openat2", setuid_open, NULL, SYS_openat2},
	{"setuid:creat", setuid_open, NULL, SYS_creat},
	{"setuid:mknodat", setuid_mknod},
	{"setuid:file capability", file_capability},
	{"setuid:trusted attribute", trusted_attribute},
	{"setuid:new privileges at execve", new_privileges},
	{NULL},
};
