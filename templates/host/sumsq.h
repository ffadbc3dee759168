/* sumsq.h - normalises a gradient and sums its squares: grad *= env->scale; out = sum grad^2.
 *
 * arg: grad f32[n] (scaled in place), out f64[1] (written; 0 when n is 0); n[0] = n.
 * Parameters: KERNEL. No scratch.
 *
 * Summation order, the same bits as templates/cuda/sumsq.cuh, all in float64 (where squares are exact):
 * chunks of 1024 elements; in a chunk element i goes to partial sum i % 128, and the 128 are added in
 * halves (i + 64, i + 32, .. i + 1); chunk c goes to chain c % 2112, chunks ascending; then every 8 chains
 * are added, and those sums, all ascending.
 */
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL sumsq
#endif

enum {
	SQ_CHUNK = 1024,
	SQ_LANES = 128,
	SQ_CHAINS = 2112,
	SQ_PART = 8,             /* chains that are added first */
	SQ_JOB = 4,              /* chunks */
	SQ_ROUND = 1024          /* jobs per rt_parallel: their sums live on the stack */
};

typedef struct SqArgs {
	float *grad;
	int64_t n;
	float scale;
	double sum[SQ_ROUND * SQ_JOB];
} SqArgs;

static double sq_chunk(float *g, int64_t n, float scale)
{
	double lane[SQ_LANES] = { 0 };
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
	for (int half = SQ_LANES / 2; half; half /= 2)
		for (int l = 0; l < half; l++)
			lane[l] += lane[l + half];
	return lane[0];
}

static int64_t sq_chunks(int64_t n)
{
	return (n + SQ_CHUNK - 1) / SQ_CHUNK;
}

static void sq_job(void *ctx, int64_t job, int thread)
{
	SqArgs *a = ctx;
	int64_t end = (job + 1) * SQ_JOB < sq_chunks(a->n) ? (job + 1) * SQ_JOB : sq_chunks(a->n);

	(void)thread;
	for (int64_t c = job * SQ_JOB; c < end; c++) {
		int64_t at = c * SQ_CHUNK;
		a->sum[c] = sq_chunk(a->grad + at, a->n - at < SQ_CHUNK ? a->n - at : SQ_CHUNK, a->scale);
	}
}

/* Adds 8 chains at a time, then those sums. */
static double sq_total(const double *chain)
{
	double sum = 0;

	for (int p = 0; p < SQ_CHAINS; p += SQ_PART) {
		double part = 0;
		for (int k = 0; k < SQ_PART; k++)
			part += chain[p + k];
		sum += part;
	}
	return sum;
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	const int64_t round = (int64_t)SQ_ROUND * SQ_JOB * SQ_CHUNK;
	double *out = c->arg[1], chain[SQ_CHAINS] = { 0 };
	SqArgs a = { .scale = c->env->scale };

	for (int64_t at = 0; at < c->n[0]; at += round) {
		a.grad = (float *)c->arg[0] + at;
		a.n = c->n[0] - at < round ? c->n[0] - at : round;
		rt_parallel(c->pool, (sq_chunks(a.n) + SQ_JOB - 1) / SQ_JOB, sq_job, &a);
		for (int64_t k = 0; k < sq_chunks(a.n); k++)
			chain[(at / SQ_CHUNK + k) % SQ_CHAINS] += a.sum[k];
	}
	*out = sq_total(chain);
}
