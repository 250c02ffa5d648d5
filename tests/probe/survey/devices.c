/* Devices, whether the image brings their nodes, the container has them, or a process makes them itself. */
#include "survey.h"
#include <sys/sysmacros.h>

#define BLOCK (1L << 40)
#define DEVICE(major, minor) ((long)(major) << 20 | (minor))

/* Makes a node where it can and opens it: on a filesystem without devices the second fails. */
static int make_and_open(const struct operation *o)
{
	static const char *const places[] = {"/", "/tmp", "/dev/shm", "/run", "/dev"};
	mode_t kind = o->number & BLOCK ? S_IFBLK : S_IFCHR;
	dev_t device = makedev((unsigned)(o->number >> 20 & 0xfffff), (unsigned)(o->number & 0xfffff));
	int answer = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/survey-node", places[i]);
		if (mknod(path, kind | 0600, device)) {
			answer = answer ? answer : errno;
			continue;
		}
		int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		int why = errno;
		unlink(path);
		if (fd >= 0)
			return 0;
		answer = why;
	}
	return answer;
}

static int open_node(const struct operation *o)
{
	return done(open(o->text, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

const struct operation devices[] = {
	{"device:make and open kernel log", make_and_open, NULL, DEVICE(1, 11)},
	{"device:make and open port", make_and_open, NULL, DEVICE(1, 4)},
	{"device:make and open mem", make_and_open, NULL, DEVICE(1, 1)},
	{"device:make and open tty1", make_and_open, NULL, DEVICE(4, 1)},
	{"device:make and open console", make_and_open, NULL, DEVICE(5, 1)},
	{"device:make and open hwrng", make_and_open, NULL, DEVICE(10, 183)},
	{"device:make and open kvm", make_and_open, NULL, DEVICE(10, 232)},
	{"device:make and open fuse", make_and_open, NULL, DEVICE(10, 229)},
	{"device:make and open tun", make_and_open, NULL, DEVICE(10, 200)},
	{"device:make and open loop control", make_and_open, NULL, DEVICE(10, 237)},
	{"device:make and open btrfs control", make_and_open, NULL, DEVICE(10, 234)},
	{"device:make and open loop0", make_and_open, NULL, BLOCK | DEVICE(7, 0)},
	{"device:make and open disk 253:0", make_and_open, NULL, BLOCK | DEVICE(253, 0)},
	{"device:make and open disk 254:0", make_and_open, NULL, BLOCK | DEVICE(254, 0)},
	{"device:make and open disk 8:0", make_and_open, NULL, BLOCK | DEVICE(8, 0)},
	{"device:node of the image, kernel log", open_node, "/image-kmsg"},
	{"device:node of the image, disk", open_node, "/image-disk"},
	{"device:node of the image, fuse", open_node, "/image-fuse"},
	{NULL},
};
