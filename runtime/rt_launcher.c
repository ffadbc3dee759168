/* rt_launcher.c - rank and world from the launcher's environment, in the order Open MPI, MPICH and
 * PMI, torchrun, Slurm, single process. Two sources that disagree are an error. */
#include <stdio.h>
#include <stdlib.h>

#include "rt_comm.h"

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

int rt_comm_rank(int *rank, int *world, char err[200])
{
	const Source *found = NULL;
	*rank = 0;
	*world = 1;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		const Source *s = &sources[i];
		int r, w;
		if ((s->needs && !getenv(s->needs)) || !number(s->rank, &r) || !number(s->world, &w))
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
