/* child.c - see child.h.
 *
 * A C compiler starts processes of its own, which would go on without it. So a process stands between: the leader of a
 * group that it ends as a whole.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void child_follow(pid_t parent)
{
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		raise(SIGTERM);
}

static _Noreturn void execute(char *const argv[], const char *log)
{
	int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd >= 0) {
		dup2(fd, 1);
		dup2(fd, 2);
	}
	execvp(argv[0], argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static _Noreturn void lead(pid_t parent, char *const argv[], const char *log, const char *const *temps)
{
	sigset_t wake, usual;
	int sig = 0, status = 0;
	setpgid(0, 0);
	sigemptyset(&wake);
	sigaddset(&wake, SIGTERM);
	sigaddset(&wake, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wake, &usual);
	child_follow(parent);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &usual, NULL);
		execute(argv, log);
	}
	if (pid < 0)
		_exit(127);
	sigwait(&wake, &sig);
	if (sig == SIGTERM)
		kill(0, SIGTERM);
	waitpid(pid, &status, 0);
	if (getppid() != parent)
		for (unlink(log); *temps; temps++)
			unlink(*temps);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 127);
}

pid_t child_start(char *const argv[], const char *log, const char *const *temps)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0)
		lead(parent, argv, log, temps);
	return pid;
}
