/* rt_launcher.c - rank and world from the launcher's environment, in the order Open MPI, MPICH and
 * PMI, torchrun, Slurm, single process. Two sources that disagree are an error. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_comm.h"
#include "rt_launcher.h"

typedef struct Source {
	const char *name, *rank, *world, *needs;
	const char *starter;     /* what sets these variables */
} Source;

static const Source sources[] = {
	{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL, "mpirun"},
	{"PMI", "PMI_RANK", "PMI_SIZE", NULL, "mpiexec"},
	{"torchrun", "RANK", "WORLD_SIZE", "MASTER_ADDR", "torchrun"},
	{"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID", "srun"},
};

enum { SOURCES = sizeof sources / sizeof *sources };

/* An empty variable is none. */
static const char *variable(const char *name)
{
	const char *s = getenv(name);
	return s && *s ? s : NULL;
}

static int number(const char *name, int *x)
{
	const char *s = variable(name);
	char *end;
	if (!s)
		return 0;
	long v = strtol(s, &end, 10);
	*x = (int)v;
	return *end == 0 && v >= 0 && v < 1 << 24;
}

/* A variable that is set, but to no number. */
static int spoilt(const char *name, char err[200])
{
	const char *s = variable(name);
	int x;
	if (!s || number(name, &x))
		return 0;
	snprintf(err, 200, "the environment variable %s is no number of a rank: `%.80s`", name, s);
	return 1;
}

/* The first variable that a source lacks, NULL when it has all. */
static const char *lacks(const Source *s)
{
	if (!variable(s->rank))
		return s->rank;
	if (!variable(s->world))
		return s->world;
	return s->needs && !variable(s->needs) ? s->needs : NULL;
}

int rt_comm_rank(int *rank, int *world, char err[200])
{
	const Source *found = NULL;
	*rank = 0;
	*world = 1;
	for (size_t i = 0; i < SOURCES; i++) {
		const Source *s = &sources[i];
		int r, w;
		if (lacks(s))
			continue;
		if (spoilt(s->rank, err) || spoilt(s->world, err))
			return 0;
		number(s->rank, &r);
		number(s->world, &w);
		if (r >= w) {
			snprintf(err, 200, "%s says rank %d of %d: ranks are numbered from 0, so there is none", s->name, r, w);
			return 0;
		}
		if (found && (r != *rank || w != *world)) {
			snprintf(err, 200, "%s says rank %d of %d, but %s says rank %d of %d", found->name, *rank,
			         *world, s->name, r, w);
			return 0;
		}
		found = s;
		*rank = r;
		*world = w;
	}
	return 1;
}

void rt_launcher_unused(char *notes, size_t size)
{
	size_t n = 0;
	*notes = 0;
	for (size_t i = 0; i < SOURCES && n < size; i++) {
		const Source *s = &sources[i];
		const char *missing = lacks(s);
		if (missing && (variable(s->rank) || variable(s->world)))
			n += (size_t)snprintf(notes + n, size - n, "note: %s and %s are not used: %s, which %s sets, is missing\n",
			                      s->rank, s->world, missing, s->starter);
	}
}

int rt_local_rank(int rank)
{
	static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK",
	                                    "LOCAL_RANK", "SLURM_LOCALID"};
	int local;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (number(names[i], &local))
			return local;
	return rank;
}

/* ---- where rank 0 is ---- */

enum { PORT_BASE = 20000, PORTS = 20000, MOST_PORT = 65535 };

/* A port that all ranks of a job compute alike, and other jobs most likely not. */
static int port_of(const char *job, const char *part)
{
	uint32_t h = 2166136261u;
	for (const char *s = job; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	for (const char *s = part; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return PORT_BASE + (int)(h % PORTS);
}

/* "node[07,09-12],other" -> "node07" */
static void first_host(const char *list, char host[256])
{
	size_t n = strcspn(list, ",[");
	n = n < 200 ? n : 200;
	memcpy(host, list, n);
	host[n] = 0;
	if (list[n] == '[') {
		size_t m = strcspn(list + n + 1, ",-]");
		snprintf(host + n, 256 - n, "%.*s", m < 50 ? (int)m : 50, list + n + 1);
	}
}

static int is_port(const char *s, int *port)
{
	char *end;
	long v = strtol(s, &end, 10);
	*port = (int)v;
	return *end == 0 && v > 0 && v <= MOST_PORT;
}

static int from_colon(const char *given, char host[256], int *port)
{
	const char *colon = strrchr(given, ':');
	if (!colon || colon == given || colon - given > 255)
		return 0;
	snprintf(host, 256, "%.*s", (int)(colon - given), given);
	return is_port(colon + 1, port);
}

static int all_here(int world)
{
	static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"};
	int n;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (number(names[i], &n))
			return n == world;
	return 0;
}

static const char *or_empty(const char *name)
{
	const char *s = getenv(name);
	return s ? s : "";
}

int rt_launcher_check(char *err, size_t size)
{
	const char *own = variable("GLMC_MASTER"), *given = variable("MASTER_ADDR") ? variable("MASTER_PORT") : NULL;
	char host[256];
	int port;
	if (own && !from_colon(own, host, &port))
		snprintf(err, size, "GLMC_MASTER is `%.80s`, expected HOST:PORT", own);
	else if (!own && given && !(is_port(given, &port) && port < MOST_PORT))
		snprintf(err, size, "MASTER_PORT is `%.80s`, expected a number from 1 to %d", given, MOST_PORT - 1);
	else
		return 1;
	return 0;
}

int rt_launcher_address(int world, char host[256], int *port, char *err, size_t size)
{
	const char *own = variable("GLMC_MASTER"), *master = variable("MASTER_ADDR");
	const char *nodes = variable("SLURM_STEP_NODELIST");
	char parent[32];
	if (!rt_launcher_check(err, size))
		return 0;
	if (own)
		return from_colon(own, host, port);
	if (master && number("MASTER_PORT", port)) {
		snprintf(host, 256, "%s", master);
		++*port;             /* torchrun's own store has the port itself */
		return 1;
	}
	nodes = nodes ? nodes : variable("SLURM_JOB_NODELIST");
	if (nodes && variable("SLURM_STEP_ID")) {
		first_host(nodes, host);
		*port = port_of(or_empty("SLURM_JOB_ID"), or_empty("SLURM_STEP_ID"));
		return 1;
	}
	if (all_here(world)) {
		snprintf(parent, sizeof parent, "%ld", (long)getppid());
		strcpy(host, "127.0.0.1");
		*port = port_of(or_empty("PMIX_NAMESPACE"), parent);
		return 1;
	}
	snprintf(err, size, "the launcher does not say where rank 0 runs: set MASTER_ADDR and MASTER_PORT, or "
	                    "GLMC_MASTER=HOST:PORT, for all ranks");
	return 0;
}
