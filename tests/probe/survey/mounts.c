/* Mounting, in both of the kernel's interfaces, and taking off what the runtime has mounted. */
#include "survey.h"
#include <sys/mount.h>

#define NR_open_tree 428
#define NR_move_mount 429
#define NR_fsopen 430
#define NR_fsconfig 431
#define NR_fspick 433
#define NR_mount_setattr 442

/* Mounts on the working directory of nobody: a place that is there in every image, taken off at once. */
static int attach(const struct operation *o)
{
	const char *options = NULL;
	if (!strcmp(o->text, "overlay"))
		options = "lowerdir=/bin:/etc";
	if (!strcmp(o->text, "cgroup"))
		options = "none,name=survey";
	if (mount("none", "/tmp", o->text, (unsigned long)o->number, options))
		return errno;
	umount2("/tmp", MNT_DETACH);
	return 0;
}

/* What the kernel runs on the host when a group of this hierarchy is empty, as the host's root. */
static int release_agent(const struct operation *o)
{
	if (mount("none", "/tmp", "cgroup", 0, "none,name=survey"))
		return errno;
	int answer = done(open("/tmp/release_agent", O_WRONLY | O_CLOEXEC));
	umount2("/tmp", MNT_DETACH);
	return answer;
}

static int bind(const struct operation *o)
{
	if (mount(o->text, "/tmp", NULL, MS_BIND, NULL))
		return errno;
	umount2("/tmp", MNT_DETACH);
	return 0;
}

/* A mask or a read-only path taken off; only the topmost mount of a place goes, and the place keeps its own. */
static int take_off(const struct operation *o)
{
	return done(umount2(o->text, MNT_DETACH));
}

static int remount(const struct operation *o)
{
	return done(mount("none", o->text, NULL, MS_REMOUNT | MS_BIND | (unsigned long)o->number, NULL));
}

static int propagate(const struct operation *o)
{
	return done(mount("none", "/", NULL, MS_SHARED, NULL));
}

static int pivot(const struct operation *o)
{
	return gate(syscall(SYS_pivot_root, "/nonexistent/survey", "/nonexistent/survey"));
}

static int change_root(const struct operation *o)
{
	return done(chroot("/tmp"));
}

static int fs_open(const struct operation *o)
{
	return done(syscall(NR_fsopen, o->text, 0));
}

static int clone_tree(const struct operation *o)
{
	return done(syscall(NR_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
}

static int pick(const struct operation *o)
{
	return done(syscall(NR_fspick, AT_FDCWD, "/", 0));
}

static int move(const struct operation *o)
{
	return gate(syscall(NR_move_mount, -1, "", -1, "", 0));
}

static int attributes(const struct operation *o)
{
	struct {
		unsigned long set, clear, propagation, user;
	} nothing = {.set = 2 /* MOUNT_ATTR_NOSUID */};
	return done(syscall(NR_mount_setattr, AT_FDCWD, "/", 0, &nothing, sizeof(nothing)));
}

const struct operation mounts[] = {
	{"mount:tmpfs", attach, "tmpfs"},
	{"mount:proc", attach, "proc"},
	{"mount:sysfs", attach, "sysfs"},
	{"mount:overlay", attach, "overlay"},
	{"mount:cgroup", attach, "cgroup"},
	{"mount:cgroup, its release_agent", release_agent},
	{"mount:cgroup2", attach, "cgroup2"},
	{"mount:devpts", attach, "devpts"},
	{"mount:devtmpfs", attach, "devtmpfs"},
	{"mount:debugfs", attach, "debugfs"},
	{"mount:tracefs", attach, "tracefs"},
	{"mount:securityfs", attach, "securityfs"},
	{"mount:bpf", attach, "bpf"},
	{"mount:binfmt_misc", attach, "binfmt_misc"},
	{"mount:mqueue", attach, "mqueue"},
	{"mount:ramfs", attach, "ramfs"},
	{"mount:bind", bind, "/etc"},
	{"mount:take the mask off /proc/keys", take_off, "/proc/keys"},
	{"mount:take the mask off /sys/firmware", take_off, "/sys/firmware"},
	{"mount:take read-only off /proc/sys", take_off, "/proc/sys"},
	{"mount:remount /proc/sys writable", remount, "/proc/sys"},
	{"mount:remount / writable", remount, "/"},
	{"mount:make / shared", propagate},
	{"mount:pivot_root", pivot},
	{"mount:chroot", change_root},
	{"mount:fsopen", fs_open, "tmpfs"},
	{"mount:open_tree clone", clone_tree},
	{"mount:fspick", pick},
	{"mount:move_mount", move},
	{"mount:mount_setattr", attributes},
	{NULL},
};
