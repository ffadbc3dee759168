/* rt_gather.c - what the members of a group have, together: sums, and lists one behind the other. */
#include "rt_int.h"

#include <stdlib.h>
#include <string.h>

static void *need(Rt *rt, void *p)
{
	if (!p)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	return p;
}

/* [members], malloc'd. */
static void *gather(Rt *rt, RtCommGroup g, const void *mine, size_t bytes)
{
	void *all = need(rt, malloc((size_t)rt_comm_size(rt->comm, g) * bytes + 1));
	rt_comm_all_gather(rt->comm, g, mine, all, bytes);
	return all;
}

int64_t rt_sum_int(Rt *rt, RtCommGroup g, int64_t x)
{
	int64_t *all = gather(rt, g, &x, sizeof x), sum = 0;
	for (int k = 0; k < rt_comm_size(rt->comm, g); k++)
		sum += all[k];
	free(all);
	return sum;
}

double rt_sum_double(Rt *rt, RtCommGroup g, double x)
{
	double *all = gather(rt, g, &x, sizeof x), sum = 0;
	for (int k = 0; k < rt_comm_size(rt->comm, g); k++)
		sum += all[k];
	free(all);
	return sum;
}

void *rt_gather_lists(Rt *rt, RtCommGroup g, const void *mine, int64_t n, size_t size, int64_t *total)
{
	int members = rt_comm_size(rt->comm, g);
	int64_t *counts = gather(rt, g, &n, sizeof n), most = 0;
	for (int k = 0; k < members; k++)
		most = counts[k] > most ? counts[k] : most;
	char *part = need(rt, calloc((size_t)most + 1, size));
	memcpy(part, mine, (size_t)n * size);
	char *all = gather(rt, g, part, (size_t)most * size);
	*total = 0;
	for (int k = 0; k < members; k++) {
		memmove(all + (size_t)*total * size, all + (size_t)(k * most) * size, (size_t)counts[k] * size);
		*total += counts[k];
	}
	free(part);
	free(counts);
	return all;
}
