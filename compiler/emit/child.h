/* child.h - processes that end when glmc does, however it ends. */
#ifndef GLMC_CHILD_H
#define GLMC_CHILD_H

#include <sys/types.h>

/* child_follow - in a process that `parent` has forked: from now on it gets SIGTERM when its parent ends, or has. */
void child_follow(pid_t parent);

/* child_start - runs argv with stdout and stderr in `log`; returns the pid, or -1 with errno set. When we end before it
 * does, it is ended with all that it has started; `log` and `temps` (NULL-terminated) are removed then. */
pid_t child_start(char *const argv[], const char *log, const char *const *temps);

#endif
