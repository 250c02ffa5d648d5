/* What the parts of the survey share: one named operation, and how its answer is read. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* One thing a hostile process would try. `attempt` runs in a process of its own and answers 0 when the kernel did it
 * or would have, else the errno of the refusal. It must do no harm where it succeeds: the survey also runs in a
 * container that is confined by nothing. */
struct operation {
	const char *name;
	int (*attempt)(const struct operation *);
	const char *text;
	long number;
};

/* Each ends with an entry without a name. */
extern const struct operation calls[], memory[], namespaces[], mounts[], sockets[], files[], devices[],
	handles[], rights[], aimed[];

/* Calls that only an older header does not know. */
#define NR_fchmodat2 452
#define NR_statmount 457
#define NR_listmount 458

/* The call has to succeed. */
static inline int done(long result)
{
	return result < 0 ? errno : 0;
}

/* The arguments are wrong on purpose: what matters is whether the kernel came as far as to look at them. */
static inline int gate(long result)
{
	if (result >= 0)
		return 0;
	return errno == EPERM || errno == EACCES || errno == ENOSYS ? errno : 0;
}

/* A directory in which files can be made, or NULL. */
const char *writable(void);

/* Names a file in that directory; NULL with errno set when there is none. */
const char *scratch(const char *name);

/* Writes a program that prints nothing and ends with 0 to `path`, executable; 0 or an errno. */
int write_program(const char *path);

/* Runs the program at `path`; 0 when it ran, else an errno. */
int run_program(const char *path);
