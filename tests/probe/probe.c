/* What a shell cannot do from inside a container: raw system calls, another architecture's calls, answering
 * seccomp notifications, and hunting for what a process that enters the container brings with it.
 *
 * C, because the workspace allows no unsafe Rust outside the core. Built by harness/probe.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

/* syscall NR [ARGUMENT...]: makes the call and prints its result, or `errno N`. */
static int raw(int argc, char **argv)
{
	long a[6] = {0};
	for (int i = 0; i < argc - 1 && i < 6; i++)
		a[i] = argv[i + 1][0] == '/' ? (long)argv[i + 1] : (long)strtoull(argv[i + 1], NULL, 0);
	long result = syscall(strtol(argv[0], NULL, 0), a[0], a[1], a[2], a[3], a[4], a[5]);
	if (result < 0)
		printf("errno %d\n", errno);
	else
		printf("%ld\n", result);
	return 0;
}

#ifdef __x86_64__
/* i386 NR: the same through the 32-bit entry, without arguments. */
static int compat(char **argv)
{
	long result = strtol(argv[0], NULL, 0);
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0L), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	int narrow = (int)result;
	if (narrow < 0 && narrow > -4096)
		printf("errno %d\n", -narrow);
	else
		printf("%d\n", narrow);
	return 0;
}
#endif

/* agent SOCKET COUNT: receives a notify descriptor, prints the message that came with it, and answers COUNT calls:
 * chmod with errno 88, everything else lets the kernel go on. */
static int agent(char **argv)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	strncpy(name.sun_path, argv[0], sizeof(name.sun_path) - 1);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) || listen(listener, 1))
		return fail("listen");
	printf("listening\n");
	fflush(stdout);
	int peer = accept(listener, NULL, NULL);
	static char text[1 << 16];
	char control[CMSG_SPACE(sizeof(int) * 4)];
	struct iovec part = {text, sizeof(text) - 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	if (recvmsg(peer, &message, 0) <= 0)
		return fail("recvmsg");
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	if (!rights || rights->cmsg_type != SCM_RIGHTS)
		return fail("no descriptor came");
	int notify;
	memcpy(&notify, CMSG_DATA(rights), sizeof(notify));
	printf("%s\n", text);
	fflush(stdout);
	for (int left = atoi(argv[1]); left > 0; left--) {
		struct seccomp_notif request;
		memset(&request, 0, sizeof(request));
		if (ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &request))
			return fail("receive a notification");
		struct seccomp_notif_resp answer = {.id = request.id};
		if (request.data.nr == SYS_chmod || request.data.nr == SYS_fchmodat)
			answer.error = -88;
		else
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &answer))
			return fail("answer a notification");
		printf("answered %d\n", request.data.nr);
		fflush(stdout);
	}
	return 0;
}

static int known(const struct stat *file)
{
	struct stat own;
	return (!stat("/proc/self/exe", &own) && own.st_ino == file->st_ino && own.st_dev == file->st_dev)
	    || (!stat("/bin/busybox", &own) && own.st_ino == file->st_ino && own.st_dev == file->st_dev);
}

static void prey(const char *pid)
{
	char path[600], target[512];
	struct stat file;
	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &file) && !known(&file)) {
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = 0;
		printf("exe %s %s\n", pid, target);
		/* The overwriting itself: through our descriptor, once nobody runs the program any more. */
		char again[64];
		snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
		for (int i = 0; i < 200; i++) {
			int writable = open(again, O_WRONLY | O_CLOEXEC);
			if (writable >= 0) {
				printf("writable %s\n", target);
				if (write(writable, "overwritten", 11) == 11)
					printf("overwritten %s\n", target);
				close(writable);
				break;
			}
			if (errno != ETXTBSY)
				break;
			usleep(1000);
		}
	}
	if (fd >= 0)
		close(fd);
	snprintf(path, sizeof(path), "/proc/%s/root", pid);
	struct stat ours, theirs;
	if (!stat("/", &ours) && !stat(path, &theirs) && (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev))
		printf("root %s\n", pid);
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	DIR *list = opendir(path);
	if (!list)
		return;
	for (struct dirent *entry; (entry = readdir(list));) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, entry->d_name);
		if (entry->d_name[0] == '.' || atoi(entry->d_name) <= 2 || stat(path, &file))
			continue;
		if (S_ISDIR(file.st_mode) && file.st_dev != ours.st_dev) {
			ssize_t length = readlink(path, target, sizeof(target) - 1);
			target[length > 0 ? length : 0] = 0;
			/* Directories of procfs are this hunter's own. */
			if (strncmp(target, "/proc", 5))
				printf("directory %s %s\n", pid, target);
		}
	}
	closedir(list);
}

/* Seizes a process, and says so when its program is not the container's. */
static void trace(const char *name)
{
	pid_t pid = atoi(name);
	char path[300], target[512];
	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return;
	snprintf(path, sizeof(path), "/proc/%s/exe", name);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	target[length > 0 ? length : 0] = 0;
	/* Who has just died has no program left to name. */
	if (target[0] && strcmp(target, "/bin/busybox") && strcmp(target, "/probe"))
		printf("traced %s %s\n", name, target);
	/* Only a stopped process can be let go; one that is dead is reaped by this very wait. */
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* hunt MILLISECONDS: looks at every other process again and again and prints what it can reach of one whose
 * program is not the container's. Prints nothing when there is nothing to reach. */
static int hunt(char **argv)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	long until = now.tv_sec * 1000 + now.tv_nsec / 1000000 + atol(argv[0]);
	printf("hunting\n");
	fflush(stdout);
	do {
		DIR *list = opendir("/proc");
		for (struct dirent *entry; list && (entry = readdir(list));)
			if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && atoi(entry->d_name) != getpid()) {
				prey(entry->d_name);
				trace(entry->d_name);
			}
		if (list)
			closedir(list);
		fflush(stdout);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < until);
	return 0;
}

/* xattr PATH NAME HEX: sets an extended attribute to these bytes. */
static int attribute(char **argv)
{
	unsigned char bytes[256];
	size_t size = 0;
	for (const char *digits = argv[2]; digits[0] && digits[1] && size < sizeof bytes; digits += 2)
		sscanf(digits, "%2hhx", &bytes[size++]);
	if (setxattr(argv[0], argv[1], bytes, size, 0))
		return fail(argv[1]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "syscall"))
		return raw(argc - 2, argv + 2);
#ifdef __x86_64__
	if (argc == 3 && !strcmp(argv[1], "i386"))
		return compat(argv + 2);
#endif
	if (argc == 4 && !strcmp(argv[1], "agent"))
		return agent(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "hunt"))
		return hunt(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "xattr"))
		return attribute(argv + 2);
	fprintf(stderr, "usage: probe syscall NR [ARG...] | i386 NR | agent SOCKET COUNT | hunt MS | xattr PATH NAME HEX\n");
	return 2;
}
