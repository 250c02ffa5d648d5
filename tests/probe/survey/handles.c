/* Files by their number instead of their path: the numbers are the filesystem's, whatever part of it is mounted. */
#include "survey.h"

static int name_handle(const struct operation *o)
{
	struct {
		struct file_handle head;
		unsigned char bytes[128];
	} handle = {.head.handle_bytes = 128};
	int mount;
	return done(name_to_handle_at(AT_FDCWD, o->text, &handle.head, &mount, 0));
}

/* The root directory of an ext4 is file 2, of generation 0; other filesystems name theirs by another kind. */
static int open_handle(const struct operation *o)
{
	struct {
		struct file_handle head;
		unsigned bytes[2];
	} handle = {.head = {.handle_bytes = 8, .handle_type = 1}, .bytes = {2, 0}};
	int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return done(open_by_handle_at(root, &handle.head, O_RDONLY | O_CLOEXEC));
}

const struct operation handles[] = {
	{"handle:name_to_handle_at", name_handle, "/"},
	{"handle:open_by_handle_at root of the disk", open_handle},
	{NULL},
};
