/* Tries, from inside a container, every operation of the tables and prints `NAME reachable` or `NAME refused WHY`,
 * one a line. With names as arguments it tries those alone, as every one of them is an attack of its own.
 *
 * C, because the workspace allows no unsafe Rust outside the core. Built by escape/survey.rs. */
#include "survey.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const struct operation *const tables[] = {calls, memory, namespaces, mounts, sockets, files, devices, handles, rights, aimed};

const char *writable(void)
{
	static const char *const places[] = {"/", "/tmp", "/dev/shm", "/run", "/dev"};
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/.survey-%d", places[i], getpid());
		int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd < 0)
			continue;
		close(fd);
		unlink(path);
		return places[i];
	}
	return NULL;
}

const char *scratch(const char *name)
{
	static char path[128];
	const char *place = writable();
	if (!place) {
		errno = EROFS;
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/survey-%s", place, name);
	return path;
}

int write_program(const char *path)
{
	/* This program itself: asked for nothing, it ends at once. */
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int to = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
	if (from < 0 || to < 0)
		return errno;
	char block[65536];
	ssize_t got;
	while ((got = read(from, block, sizeof(block))) > 0)
		if (write(to, block, (size_t)got) != got)
			return errno ? errno : EIO;
	close(from);
	close(to);
	return 0;
}

int run_program(const char *path)
{
	pid_t child = fork();
	if (child == 0) {
		execl(path, "survey", "--nothing", (char *)NULL);
		_exit(errno);
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

/* In a process of its own: namespaces that are entered, signals that kill and limits that change end with it. */
static void attempt(const struct operation *operation)
{
	fflush(stdout);
	pid_t child = fork();
	if (child < 0) {
		printf("%s failed fork: %s\n", operation->name, strerror(errno));
		return;
	}
	if (child == 0) {
		struct rlimit no_core = {0, 0};
		setrlimit(RLIMIT_CORE, &no_core);
		alarm(10);
		errno = 0;
		_exit(operation->attempt(operation));
	}
	int status;
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s refused SIG%s\n", operation->name, sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 0)
		printf("%s reachable\n", operation->name);
	else
		printf("%s refused %s\n", operation->name, strerrorname_np(WEXITSTATUS(status)));
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--nothing"))
		return 0;
	int known = 0;
	for (size_t table = 0; table < sizeof(tables) / sizeof(*tables); table++)
		for (const struct operation *operation = tables[table]; operation->name; operation++) {
			int wanted = argc == 1 && tables[table] != aimed;
			for (int i = 1; i < argc; i++)
				wanted |= !strcmp(argv[i], operation->name);
			if (wanted) {
				attempt(operation);
				known++;
			}
		}
	printf("end %d\n", known);
	return argc > 1 && known != argc - 1;
}
