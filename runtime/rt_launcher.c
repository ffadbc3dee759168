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
} Source;

static const Source sources[] = {
	{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL},
	{"PMI", "PMI_RANK", "PMI_SIZE", NULL},
	{"torchrun", "RANK", "WORLD_SIZE", "MASTER_ADDR"},
	{"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"},
};

static int number(const char *name, int *x)
{
	const char *s = getenv(name);
	char *end;
	if (!s || !*s)
		return 0;
	long v = strtol(s, &end, 10);
	*x = (int)v;
	return *end == 0 && v >= 0 && v < 1 << 24;
}

/* A variable that is set, but to no number. */
static int spoilt(const char *name, char err[200])
{
	const char *s = getenv(name);
	int x;
	if (!s || !*s || number(name, &x))
		return 0;
	snprintf(err, 200, "the environment variable %s is no number of a rank: `%.80s`", name, s);
	return 1;
}

int rt_comm_rank(int *rank, int *world, char err[200])
{
	const Source *found = NULL;
	*rank = 0;
	*world = 1;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		const Source *s = &sources[i];
		int r, w;
		if (s->needs && !getenv(s->needs))
			continue;
		if (spoilt(s->rank, err) || spoilt(s->world, err))
			return 0;
		if (!number(s->rank, &r) || !number(s->world, &w))
			continue;
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

enum { PORT_BASE = 20000, PORTS = 20000 };

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

static int from_colon(const char *given, char host[256], int *port)
{
	const char *colon = strrchr(given, ':');
	char *end;
	if (!colon || colon == given || colon - given > 255)
		return 0;
	snprintf(host, 256, "%.*s", (int)(colon - given), given);
	*port = (int)strtol(colon + 1, &end, 10);
	return *end == 0 && *port > 0 && *port < 65536;
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

int rt_launcher_address(int world, char host[256], int *port, char *err, size_t size)
{
	const char *own = getenv("GLMC_MASTER"), *master = getenv("MASTER_ADDR"), *nodes = getenv("SLURM_STEP_NODELIST");
	char parent[32];
	if (own && from_colon(own, host, port))
		return 1;
	if (own) {
		snprintf(err, size, "GLMC_MASTER is %s, expected HOST:PORT", own);
		return 0;
	}
	if (master && number("MASTER_PORT", port)) {
		snprintf(host, 256, "%s", master);
		++*port;             /* torchrun's own store has the port itself */
		return 1;
	}
	nodes = nodes ? nodes : getenv("SLURM_JOB_NODELIST");
	if (nodes && getenv("SLURM_STEP_ID")) {
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
