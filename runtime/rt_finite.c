/* rt_finite.c - names what is not finite when a loss or a gradient norm is not: the parameters if there
 * are any, since they spoil everything after them, else the gradients, in the order in which they come
 * to be. Every rank looks at the slices it owns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_message.h"
#include "rt_store.h"

enum { NAMED = 4 };              /* tensors named by a rank */

typedef struct Search {
	Rt *rt;
	bool grad;
	float *x;                /* [RT_STORE_MAX] */
	int found;               /* tensors */
} Search;

/* First element of [begin, end) of the unit that is not finite, -1 none. */
static int64_t find(Search *s, const RtUnit *u, int64_t begin, int64_t end)
{
	for (int64_t at = begin; at < end; at += RT_STORE_MAX) {
		int64_t n = end - at < RT_STORE_MAX ? end - at : RT_STORE_MAX;
		if (s->grad)
			rt_fetch(s->rt, rt_unit_gradient(s->rt, u, at), RT_f32, 0, s->x, n);
		else
			rt_fetch(s->rt, u->param, u->dtype, at, s->x, n);
		for (int64_t i = 0; i < n; i++)
			if (!isfinite(s->x[i]))
				return at + i;
	}
	return -1;
}

/* Element `at` of one tensor as [3, 5]. */
static const char *index_text(const RtTensor *t, int64_t at, char out[160])
{
	int64_t rest = 1;
	for (int d = 0; d < t->ndim; d++)
		rest *= t->dim[d];
	strcpy(out, "[");
	for (int d = 0; d < t->ndim; d++) {
		size_t n = strlen(out);
		rest /= t->dim[d];
		snprintf(out + n, 160 - n, "%s%lld", d ? ", " : "", (long long)(at / rest % t->dim[d]));
	}
	return strcat(out, "]");
}

static void report(Search *s, const RtTensor *t, int64_t first, int64_t elems, int64_t local)
{
	char name[512], index[160];
	if (s->found++ >= NAMED)
		return;
	rt_expert_name(name, sizeof name, t->name,
	               t->experts ? rt_comm_index(s->rt->comm, RT_COMM_EP) * local + first / elems : -1);
	rt_say(s->rt->rank, "step %lld: %s%s is not finite at %s", (long long)s->rt->step,
	       s->grad ? "the gradient of " : "", name, index_text(t, first % elems, index));
}

static int search(Rt *rt, bool grad)
{
	const RtProg *p = rt->p;
	Search s = {.rt = rt, .grad = grad, .x = malloc(RT_STORE_MAX * sizeof(float))};
	for (int i = 0; s.x && i < p->ntensor; i++) {
		const RtTensor *t = &p->tensors[grad ? p->ntensor - 1 - i : i];
		if (t->unit < 0 || (grad && !t->grad))
			continue;
		int64_t elems = 1, local = t->experts ? t->experts / p->ep : 1, n;
		for (int d = 0; d < t->ndim; d++)
			elems *= t->dim[d];
		int64_t first = rt_unit_shard(rt, &p->units[t->unit], &n), end = first + n;
		int64_t lo = t->off > first ? t->off : first, hi = t->off + elems * local;
		int64_t at = find(&s, &p->units[t->unit], lo, hi < end ? hi : end);
		if (at >= 0)
			report(&s, t, at - t->off, elems, local);
	}
	free(s.x);
	return s.found;
}

/* All has been said before any rank ends the run. */
void rt_not_finite(Rt *rt, double loss, double norm)
{
	if (!rt_sum_int(rt, RT_COMM_WORLD, search(rt, false)))
		search(rt, true);
	rt_comm_barrier(rt->comm);
	if (rt->rank == 0)
		rt_say(0, "step %lld: loss %g and gradient norm %g are not finite", (long long)rt->step, loss, norm);
	rt_comm_barrier(rt->comm);
	rt_comm_abort(rt->comm, RT_ENUMERIC);
}
