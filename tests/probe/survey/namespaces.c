/* New namespaces: each hands an unprivileged process a part of the kernel that was written for root. */
#include "survey.h"
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int make(const struct operation *o)
{
	return done(unshare((int)o->number));
}

static int reap(long child)
{
	if (child == 0)
		_exit(0);
	if (child < 0)
		return errno;
	waitpid((pid_t)child, NULL, 0);
	return 0;
}

static int by_clone(const struct operation *o)
{
	return reap(syscall(SYS_clone, o->number | SIGCHLD, 0, 0, 0, 0));
}

static int by_clone3(const struct operation *o)
{
	struct clone_args args = {.flags = (unsigned long)o->number, .exit_signal = SIGCHLD};
	return reap(syscall(SYS_clone3, &args, sizeof(args)));
}

/* The way of most local attacks on the kernel: root in a new user namespace, and there a netfilter of one's own. */
static int netfilter(const struct operation *o)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return errno;
	return done(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
}

static int own_mounts(const struct operation *o)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return errno;
	return done(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int join(const struct operation *o)
{
	int fd = open(o->text, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? errno : done(setns(fd, (int)o->number));
}

static int root_of_the_host(const struct operation *o)
{
	char line[64] = "";
	unsigned inside, outside;
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0)
		return errno ? errno : EIO;
	return sscanf(line, "%u %u", &inside, &outside) == 2 && inside == outside ? 0 : EPERM;
}

const struct operation namespaces[] = {
	{"namespace:new user", make, NULL, CLONE_NEWUSER},
	{"namespace:new mount", make, NULL, CLONE_NEWNS},
	{"namespace:new network", make, NULL, CLONE_NEWNET},
	{"namespace:new pid", make, NULL, CLONE_NEWPID},
	{"namespace:new ipc", make, NULL, CLONE_NEWIPC},
	{"namespace:new uts", make, NULL, CLONE_NEWUTS},
	{"namespace:new cgroup", make, NULL, CLONE_NEWCGROUP},
	{"namespace:new time", make, NULL, CLONE_NEWTIME},
	{"namespace:clone user", by_clone, NULL, CLONE_NEWUSER},
	{"namespace:clone3 user", by_clone3, NULL, CLONE_NEWUSER},
	{"namespace:clone3 mount", by_clone3, NULL, CLONE_NEWNS},
	{"namespace:netfilter as root of a new user", netfilter},
	{"namespace:mount as root of a new user", own_mounts},
	{"namespace:setns own network", join, "/proc/self/ns/net", CLONE_NEWNET},
	{"namespace:setns own mount", join, "/proc/self/ns/mnt", CLONE_NEWNS},
	{"namespace:root of the host", root_of_the_host},
	{NULL},
};
