/* rt_optim.c - the end of a step: sharded gradients, their norm, Adam, router balance, loss.
 *
 * Normalisation, clipping, bias update: AutoModel, sections 4.2, 4.3, 4.5. Sums over ranks are made
 * here, in rank order, from gathered parts; the squared norm is a sum per tensor in float64, added
 * in model order. So the bits do not depend on the pipeline's layout.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_int.h"
#include "rt_keys.h"

RtCommGroup rt_unit_group(const RtUnit *u)
{
	return u->group == RT_GROUP_EXPERT ? RT_COMM_SHARD : RT_COMM_DP;
}

int64_t rt_unit_shard(const Rt *rt, const RtUnit *u, int64_t *n)
{
	RtCommGroup g = rt_unit_group(u);
	*n = u->elems / rt_comm_size(rt->comm, g);
	return *n * rt_comm_index(rt->comm, g);
}

uint64_t rt_unit_gradient(const Rt *rt, const RtUnit *u, int64_t at)
{
	int64_t n, first = rt_unit_shard(rt, u, &n);
	return u->grad + (uint64_t)(u->sharded ? at - first : at) * sizeof(float);
}

/* ---- gradient norm ---- */

/* The part of tensor t's gradient that this rank owns: first element in the unit, and number in *n. */
static int64_t owned_gradient(const Rt *rt, const RtTensor *t, int64_t *n)
{
	const RtUnit *u = &rt->p->units[t->unit];
	int64_t size = t->experts ? t->experts / rt->p->ep : 1, members, first = rt_unit_shard(rt, u, &members);
	for (int d = 0; d < t->ndim; d++)
		size *= t->dim[d];
	int64_t lo = t->off > first ? t->off : first;
	int64_t hi = t->off + size < first + members ? t->off + size : first + members;
	*n = hi > lo ? hi - lo : 0;
	return lo;
}

static void square_tensor(Rt *rt, int i)
{
	const RtTensor *t = &rt->p->tensors[i];
	int64_t n, lo = owned_gradient(rt, t, &n);
	double *out = (double *)rt_at(rt, rt->own.squares) + (int64_t)i * rt->own.square_blocks;
	if (!n)
		return;
	void *arg[] = {rt_at(rt, rt_unit_gradient(rt, &rt->p->units[t->unit], lo)), out};
	rt_dev_call(rt, 0, rt->p->k_sumsq, 0, arg, 2, &n, 1);
}

/* Scales the owned gradients by `scale`; square[i] = sum of squares of tensor i's owned part. */
static void scale_and_square(Rt *rt, double scale, double *square)
{
	const RtProg *p = rt->p;
	int blocks = rt->own.square_blocks;
	size_t bytes = (size_t)p->ntensor * (size_t)blocks * sizeof(double);
	double *part = malloc(bytes + 1);
	if (!part)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	rt->env.scale = (float)scale;
	rt_dev_zero(rt, 0, rt_at(rt, rt->own.squares), bytes);
	for (int i = 0; i < p->ntensor; i++)
		if (p->tensors[i].unit >= 0 && p->tensors[i].grad)
			square_tensor(rt, i);
	rt_dev_get(rt, 0, part, rt_at(rt, rt->own.squares), bytes);
	for (int i = 0; i < p->ntensor; i++) {
		square[i] = 0;
		for (int b = 0; b < blocks; b++)
			square[i] += part[i * blocks + b];
	}
	free(part);
}

typedef struct Square {
	int64_t order;
	double x;
} Square;

static int by_order(const void *a, const void *b)
{
	const Square *x = a, *y = b;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* square[] of this rank, summed over the dp ranks in their order, becomes (order, sum) pairs. */
static int64_t sum_over_dp(Rt *rt, double *square, Square *out)
{
	const RtProg *p = rt->p;
	int64_t n = 0;
	size_t bytes = (size_t)p->ntensor * sizeof *square;
	double *all = malloc(bytes * (size_t)p->dp + 1);
	if (!all)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	rt_comm_all_gather(rt->comm, RT_COMM_DP, square, all, bytes);
	for (int i = 0; i < p->ntensor; i++) {
		double x = 0;
		for (int q = 0; q < p->dp; q++)
			x += all[q * p->ntensor + i];
		if (p->tensors[i].grad)
			out[n++] = (Square){p->tensors[i].order, x};
	}
	free(all);
	return n;
}

static double gradient_norm(Rt *rt, double scale)
{
	const RtProg *p = rt->p;
	double *square = calloc((size_t)p->ntensor + 1, sizeof *square), sum = 0;
	Square *mine = calloc((size_t)p->ntensor + 1, sizeof *mine);
	int64_t total;
	if (!square || !mine)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	scale_and_square(rt, scale, square);
	int64_t n = sum_over_dp(rt, square, mine);
	Square *all = rt_gather_lists(rt, RT_COMM_PP, mine, n, sizeof *mine, &total);
	qsort(all, (size_t)total, sizeof *all, by_order);
	for (int64_t i = 0; i < total; i++)
		sum += all[i].x;
	free(square);
	free(mine);
	free(all);
	return sqrt(sum);
}

/* ---- update ---- */

static void adam(Rt *rt, double clip)
{
	const RtProg *p = rt->p;
	rt->env.scale = (float)clip;
	rt->env.lr = (float)rt->lr;
	for (int i = 0; i < p->nunit; i++) {
		const RtUnit *u = &p->units[i];
		int64_t n, first = rt_unit_shard(rt, u, &n);
		if (!u->trained)
			continue;
		void *arg[] = {(char *)rt_at(rt, u->param) + (size_t)first * rt_dtype_bytes(u->dtype),
		               rt_at(rt, rt_unit_gradient(rt, u, first)), rt_at(rt, u->m), rt_at(rt, u->v),
		               rt_at(rt, u->master)};
		rt_dev_call(rt, 0, p->k_adam, 0, arg, u->stored != u->dtype ? 5 : 4, &n, 1);
	}
}

/* bias += factor * sign(mean(load) - load), loads of the whole step over all ranks */
static void balance(Rt *rt, int at, double factor)
{
	const RtBalance *b = &rt->p->balances[at];
	const RtTensor *t = &rt->p->tensors[b->tensor];
	size_t e = (size_t)b->experts, dp = (size_t)rt->p->dp;
	int64_t *load = rt->load[at], *all = malloc(dp * e * sizeof *all), total = 0;
	float *bias = malloc(e * sizeof *bias), *where = (float *)rt_at(rt, rt->p->units[t->unit].param) + t->off;
	if (!all || !bias)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	rt_comm_all_gather(rt->comm, RT_COMM_DP, load, all, e * sizeof *load);
	memset(load, 0, e * sizeof *load);
	for (size_t k = 0; k < dp * e; k++) {
		load[k % e] += all[k];
		total += all[k];
	}
	rt_dev_get(rt, 0, bias, where, e * sizeof *bias);
	for (size_t k = 0; k < e; k++) {
		int64_t below = total - load[k] * b->experts;
		bias[k] += (float)factor * (float)((below > 0) - (below < 0));
	}
	if (factor != 0)
		rt_dev_put(rt, 0, where, bias, e * sizeof *bias);
	memset(load, 0, e * sizeof *load);
	free(all);
	free(bias);
}

static double step_loss(Rt *rt)
{
	const RtProg *p = rt->p;
	double sum = 0, *loss = calloc((size_t)p->microbatches, sizeof *loss);
	if (!loss)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	if (p->has_labels)
		rt_dev_get(rt, 0, loss, rt_at(rt, p->loss), (size_t)p->microbatches * sizeof *loss);
	for (int i = 0; i < p->microbatches; i++)
		sum += loss[i];
	free(loss);
	return rt_sum_double(rt, RT_COMM_PP, rt_sum_double(rt, RT_COMM_DP, sum));
}

void rt_optimizer(Rt *rt)
{
	rt_dev_finish(rt);
	int64_t labels = rt_sum_int(rt, RT_COMM_DP, rt->batch.label_tokens);
	int64_t real = rt_sum_int(rt, RT_COMM_DP, rt->batch.real_tokens);
	int64_t all = rt_sum_int(rt, RT_COMM_DP, rt->batch.all_tokens);
	double norm = gradient_norm(rt, labels ? 1.0 / (double)labels : 1.0);
	double loss = step_loss(rt) / (labels ? (double)labels : 1.0);
	if (!isfinite(loss) || !isfinite(norm))
		rt_not_finite(rt, loss, norm);
	if (rt->step == rt->dump_step)
		rt_dump(rt, true);
	const char *limit = rt_setting(rt, "clip_grad_norm.max_norm");
	double most = rt_value_null(limit) ? 0 : rt_value_float(limit);
	double clip = most > 0 && most / (norm + 1e-6) < 1 ? most / (norm + 1e-6) : 1;
	adam(rt, clip);
	double factor = rt_value_float(rt_setting(rt, "model.moe_overrides.gate_bias_update_factor"));
	for (int i = 0; i < rt->p->nbalance; i++)
		balance(rt, i, factor);
	rt_metrics_step(rt, loss, norm, labels, real, all);
	if (rt->step == rt->dump_step)
		rt_dump(rt, false);
}
