/* Runs a program and prints the peak resident memory of it and of what it waited for, in KiB.
 *
 *     peak PROGRAM [ARG...]
 *
 * In C and static because the kernel counts the memory a child shared with its parent before exec: the parent
 * must be smaller than anything it measures. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    int status = 0;

    if (argc < 2)
        return 2;
    pid_t child = vfork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 1;
    /* Not stdout: the container holds that. */
    fprintf(stderr, "%ld\n", usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
