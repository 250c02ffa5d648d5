/* The kernel's own work for one container, and nothing above it: seven new namespaces, the root filesystem bound
 * and made read-only, a new /proc, pivot_root, exec. No cgroup, no seccomp, no capabilities, no state on disk.
 *
 *     floor ROOTFS PROGRAM [ARG...]
 *
 * The time namespace stands in as the seventh: a user namespace would add the writing of two maps. */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(1);
    }
}

static void enter(const char *rootfs, char **argv)
{
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make / private");
    must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), "bind the root filesystem");
    must(chdir(rootfs), "chdir");
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount proc");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir /");
    must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "make the root read-only");
    execv(argv[0], argv);
    must(-1, argv[0]);
}

int main(int argc, char **argv)
{
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME,
        .exit_signal = SIGCHLD,
    };
    int status = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: floor ROOTFS PROGRAM [ARG...]\n");
        return 2;
    }
    long child = syscall(SYS_clone3, &args, sizeof args);
    must(child, "clone3");
    if (child == 0)
        enter(argv[1], argv + 2);
    must(waitpid((pid_t)child, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
