/* test_meet.c - ranks that find each other over TCP: all there, one missing, one of another build, one that dies,
 * one that fails, strangers at the port.
 */
#include <assert.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/rt_launcher.h"
#include "runtime/rt_meet.h"

enum { RANKS = 5, HEARD_LOST = 40, HEARD_FAILED = 60 };

static int free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
	assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	close(fd);
	return ntohs(a.sin_port);
}

static RtMeetOptions options(int rank, int port, double seconds)
{
	return (RtMeetOptions){.rank = rank, .world = RANKS, .build = 42, .seconds = seconds, .host = "127.0.0.1",
	                       .port = port};
}

/* Runs `role` in a process per rank; returns their exit statuses. */
static void in_processes(void (*role)(int rank, int port), int status[RANKS])
{
	int port = free_port();
	pid_t pid[RANKS];
	fflush(NULL);
	for (int r = 0; r < RANKS; r++)
		if (!(pid[r] = fork())) {
			alarm(20);
			role(r, port);
			_exit(0);
		}
	for (int r = 0; r < RANKS; r++) {
		assert(waitpid(pid[r], &status[r], 0) == pid[r]);
		status[r] = WIFEXITED(status[r]) ? WEXITSTATUS(status[r]) : 1000 + WTERMSIG(status[r]);
	}
}

static void ended(void *ctx, int rank, int status)
{
	(void)ctx;
	_exit((status == 5 ? HEARD_LOST : HEARD_FAILED) + rank);
}

static RtMeet *come(int rank, int port)
{
	char id[128], want[128], err[300] = "";
	RtMeetOptions o = options(rank, port, 10);
	memset(want, 'x', sizeof want);
	memset(id, rank ? 'y' : 'x', sizeof id);
	RtMeet *m = rt_meet(&o, id, sizeof id, err, sizeof err);
	if (!m || memcmp(id, want, sizeof id) != 0 || !rt_meet_watch(m, ended, NULL)) {
		fprintf(stderr, "rank %d: %s\n", rank, err);
		_exit(1);
	}
	return m;
}

static void all_there(int rank, int port)
{
	usleep((useconds_t)(rank * 30000));
	RtMeet *m = come(rank, port);
	usleep((useconds_t)((RANKS - rank) * 20000));
	rt_meet_leave(m);
}

static void one_dies(int rank, int port)
{
	come(rank, port);
	if (rank == 3)
		kill(getpid(), SIGKILL);
	pause();
}

static void first_dies(int rank, int port)
{
	come(rank, port);
	if (rank == 0)
		kill(getpid(), SIGKILL);
	pause();
}

static void one_fails(int rank, int port)
{
	RtMeet *m = come(rank, port);
	if (rank == 2) {
		rt_meet_end(m, 6);
		_exit(6);
	}
	pause();
}

/* Rank 0 expects `text`; the others any message. */
static void fail_with(int rank, int port, uint64_t build, double seconds, const char *text)
{
	char id[8] = "", err[300] = "";
	RtMeetOptions o = options(rank, port, seconds);
	o.build = build;
	RtMeet *m = rt_meet(&o, id, sizeof id, err, sizeof err);
	if (m || !*err || (rank == 0 && !strstr(err, text))) {
		fprintf(stderr, "rank %d: %s\n", rank, err);
		_exit(1);
	}
}

static void one_missing(int rank, int port)
{
	if (rank != 2)
		fail_with(rank, port, 42, 1, "these ranks have not come: 2");
}

static void other_build(int rank, int port)
{
	fail_with(rank, port, rank == 4 ? 43 : 42, 3, "cannot join: it is of another build than rank 0");
}

static void with_strangers(int rank, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (rank == 1) {
		usleep(200000);
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		assert(connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0) == 18);
		close(fd);
	}
	rt_meet_leave(come(rank, port));
}

static void expect(const char *what, void (*role)(int, int), const int want[RANKS])
{
	int got[RANKS];
	in_processes(role, got);
	for (int r = 0; r < RANKS; r++)
		if (got[r] != want[r]) {
			fprintf(stderr, "%s: rank %d ends with %d, expected %d\n", what, r, got[r], want[r]);
			exit(1);
		}
}

static void check_address(const char *variables, const char *want_host, int want_port)
{
	static const char *const names[] = {"GLMC_MASTER", "MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_ID", "SLURM_JOB_ID",
	                                    "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "OMPI_COMM_WORLD_LOCAL_SIZE"};
	char copy[200], host[256] = "", err[300] = "";
	int port = 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
	strcpy(copy, variables);
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) {
		char *equals = strchr(w, '=');
		*equals = 0;
		setenv(w, equals + 1, 1);
	}
	int ok = rt_launcher_address(4, host, &port, err, sizeof err);
	if (ok != (want_host != NULL) || (ok && (strcmp(host, want_host) != 0 || (want_port && port != want_port)))) {
		fprintf(stderr, "%s: %d %s:%d %s\n", variables, ok, host, port, err);
		exit(1);
	}
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	expect("all there", all_there, (int[]){0, 0, 0, 0, 0});
	expect("one dies", one_dies, (int[]){43, 43, 43, 1000 + SIGKILL, 43});
	expect("first dies", first_dies, (int[]){1000 + SIGKILL, 40, 40, 40, 40});
	expect("one fails", one_fails, (int[]){62, 62, 6, 62, 62});
	expect("one missing", one_missing, (int[]){0, 0, 0, 0, 0});
	expect("other build", other_build, (int[]){0, 0, 0, 0, 0});
	expect("strangers", with_strangers, (int[]){0, 0, 0, 0, 0});
	check_address("GLMC_MASTER=node7:123", "node7", 123);
	check_address("GLMC_MASTER=node7", NULL, 0);
	check_address("MASTER_ADDR=a MASTER_PORT=29500", "a", 29501);
	check_address("MASTER_ADDR=a MASTER_PORT=65535", NULL, 0);
	check_address("MASTER_ADDR=a MASTER_PORT=x", NULL, 0);
	check_address("MASTER_ADDR= MASTER_PORT=29500", NULL, 0);
	check_address("SLURM_STEP_ID=0 SLURM_JOB_ID=7 SLURM_STEP_NODELIST=node[07,09-12],x", "node07", 0);
	check_address("SLURM_STEP_ID=0 SLURM_JOB_ID=7 SLURM_JOB_NODELIST=login,node[1-2]", "login", 0);
	check_address("SLURM_JOB_ID=7 SLURM_JOB_NODELIST=login", NULL, 0);
	check_address("OMPI_COMM_WORLD_LOCAL_SIZE=4", "127.0.0.1", 0);
	check_address("OMPI_COMM_WORLD_LOCAL_SIZE=2", NULL, 0);
	puts("meet: ok");
	return 0;
}
