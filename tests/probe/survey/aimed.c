/* Attacks on one thing that a test has prepared: tried only when they are named. */
#include "survey.h"
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>

/* What the test tells by the environment. */
static const char *told(void)
{
	const char *text = getenv("SURVEY_AIM");
	return text ? text : "";
}

/* A command for whoever reads from the terminal after us. */
static int push(const struct operation *o)
{
	for (const char *c = "echo pushed\n"; *c; c++)
		if (ioctl(0, TIOCSTI, c))
			return errno;
	return 0;
}

/* A socket without a file belongs to a network namespace and to nobody. */
static int abstract_socket(const struct operation *o)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t length = strlen(told());
	if (length >= sizeof(name.sun_path))
		return ENAMETOOLONG;
	memcpy(name.sun_path + 1, told(), length);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return done(connect(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)));
}

static int is_root(const struct operation *o)
{
	return geteuid() == 0 ? 0 : EPERM;
}

/* Which of the classical liberties are there with a process that the test has named. */
static int process(const struct operation *o)
{
	pid_t pid = atoi(told());
	char path[64];
	switch (o->number) {
	case 0:
		return done(kill(pid, 0));
	case 1:
		return done(ptrace(PTRACE_SEIZE, pid, 0, 0));
	case 2:
		snprintf(path, sizeof(path), "/proc/%d/root/", pid);
		return done(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	case 3:
		snprintf(path, sizeof(path), "/proc/%d/environ", pid);
		return done(open(path, O_RDONLY | O_CLOEXEC));
	default:
		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		return done(open(path, O_RDWR | O_CLOEXEC));
	}
}

const struct operation aimed[] = {
	{"aimed:push to the terminal", push},
	{"aimed:abstract socket", abstract_socket},
	{"aimed:effective root", is_root},
	{"aimed:process signal", process, NULL, 0},
	{"aimed:process trace", process, NULL, 1},
	{"aimed:process root", process, NULL, 2},
	{"aimed:process environment", process, NULL, 3},
	{"aimed:process memory", process, NULL, 4},
	{NULL},
};
