/* sumsq.h - normalises a gradient and sums its squares: grad *= env->scale; out = sum grad^2.
 *
 * arg: grad f32[n] (scaled in place), out f64[1] (written; 0 when n is 0); n[0] = n.
 * Parameters: KERNEL. No scratch.
 *
 * Summation order, fixed: blocks of 4096 elements; in a block element i goes to partial sum i % 16,
 * the partial sums are added in order, then the blocks. All in float64.
 */
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL sumsq
#endif

enum {
	SQ_BLOCK = 4096,
	SQ_LANES = 16,
	SQ_ROUND = 1024 /* blocks per rt_parallel: their sums live on the stack */
};

typedef struct SqArgs {
	float *grad;
	int64_t n;
	float scale;
	double sum[SQ_ROUND];
} SqArgs;

static double sq_block(float *g, int64_t n, float scale)
{
	double lane[SQ_LANES] = { 0 }, sum = 0;
	int64_t i = 0;

	for (; i + SQ_LANES <= n; i += SQ_LANES)
		for (int l = 0; l < SQ_LANES; l++) {
			float x = g[i + l] * scale;
			g[i + l] = x;
			lane[l] += (double)x * (double)x;
		}
	for (int l = 0; i < n; i++, l++) {
		g[i] *= scale;
		lane[l] += (double)g[i] * (double)g[i];
	}
	for (int l = 0; l < SQ_LANES; l++)
		sum += lane[l];
	return sum;
}

static void sq_job(void *ctx, int64_t job, int thread)
{
	SqArgs *a = ctx;
	int64_t at = job * SQ_BLOCK;

	(void)thread;
	a->sum[job] = sq_block(a->grad + at, a->n - at < SQ_BLOCK ? a->n - at : SQ_BLOCK, a->scale);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	const int64_t round = (int64_t)SQ_ROUND * SQ_BLOCK;
	double *out = c->arg[1], sum = 0;
	SqArgs a = { .scale = c->env->scale };

	for (int64_t at = 0; at < c->n[0]; at += round) {
		a.grad = (float *)c->arg[0] + at;
		a.n = c->n[0] - at < round ? c->n[0] - at : round;
		int64_t blocks = (a.n + SQ_BLOCK - 1) / SQ_BLOCK;
		rt_parallel(c->pool, blocks, sq_job, &a);
		for (int64_t b = 0; b < blocks; b++)
			sum += a.sum[b];
	}
	*out = sum;
}
