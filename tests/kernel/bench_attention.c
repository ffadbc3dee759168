/* bench_attention.c - GFLOP/s of attention, its gradient and key selection, on 1 and 2 threads.
 *
 * Sizes and ELEM by macros as in the tests; by default 8 heads of 64, no selection for attention, and an
 * indexer of 8 heads of 32 with the best 128 keys, which is of float32: not run when ELEM is given. Counts useful
 * work only: over the causal triangle (with GATHER: the SELECTED keys of a query), 2 (H + HV) flops per pair and head
 * forward, 2 (3 H + 2 HV) backward, 2 J H for the indexer. Prints the best of a few runs; asserts nothing.
 */
#include <time.h>

#ifdef ELEM
#define INDEXER 0
#else
#define INDEXER 1
#endif
#ifndef TOP_K
#define TOP_K 128
#endif
#define KERNEL bench_fwd
#include "attention.h"
#undef KERNEL
#define KERNEL bench_bwd
#include "attention_grad.h"
#undef KERNEL
#if !SELW
#undef SELW
#define SELW 32
enum { SELECTION = 0 };
#else
enum { SELECTION = 1 };
#endif
#if INDEXER
#define KERNEL bench_select
#include "select_keys.h"
#endif

#include "pool.h"
#include "elems.h"

enum { QW = HEADS * HEAD_DIM, OW = HEADS * V_DIM, KW = KV_HEADS * HEAD_DIM,
       VALUE_W = KV_HEADS * V_DIM };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double best_of(RtKernel *kernel, void **arg, const RtEnv *env, RtPool *pool)
{
	RtCall c = { .arg = arg, .env = env, .pool = pool };
	double best = 1e9;

	for (int i = 0; i < 15; i++) {
		double t = now();
		kernel(&c);
		t = now() - t;
		best = t < best ? t : best;
	}
	return best;
}

/* The rate that bounds all others: independent fused multiply-adds on registers, one thread. */
static double peak(void)
{
	enum { CHAINS = 16, STEPS = 10000000 };
	Vf x[CHAINS];
	Vf a = v_set(1.0000001f), b = v_set(1e-9f);
	double t = now();
	volatile float sink;

	for (int i = 0; i < CHAINS; i++)
		x[i] = v_set((float)i);
	for (int s = 0; s < STEPS; s++)
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			x[i] = x[i] * a + b;
	t = now() - t;
	for (int i = 1; i < CHAINS; i++)
		x[0] += x[i];
	sink = x[0][0];
	(void)sink;
	return 2.0 * STEPS * CHAINS * VW / t / 1e9;
}

static void *values(size_t n)
{
	float *x = check_values(n, 1);
	void *elems = elems_new(x, n, ELEM_HALF(ELEM));

	free(x);
	return elems;
}

#if INDEXER

static void indexer(const RtEnv *env, RtPool *pool, void *sel, double pairs)
{
	const size_t T = (size_t)env->T;
	float *q = check_values(T * INDEX_HEADS * INDEX_DIM, 1), *k = check_values(T * INDEX_DIM, 1);
	float *w = check_values(T * INDEX_HEADS, 1);
	double t = best_of(bench_select, (void *[]){ q, k, w, sel }, env, pool);

	printf("selection %7.3f ms %4.0f GFLOP/s, ", t * 1e3, 2e-9 * pairs * INDEX_HEADS * INDEX_DIM / t);
	free(q);
	free(k);
	free(w);
}

#else

/* The last keys. */
static void indexer(const RtEnv *env, RtPool *pool, uint32_t *sel, double pairs)
{
	(void)pool;
	(void)pairs;
	for (int64_t t = 0; t < env->T; t++)
		for (int64_t u = env->pos[t], n = TOP_K; u >= 0 && n > 0 && u < SELW * 32; u--, n--)
			sel[t * SELW + u / 32] |= 1u << u % 32;
}

#endif

/* chosen: pairs of a query and a key per head. */
static void attention(const RtEnv *env, RtPool *pool, void *sel, double chosen)
{
	const size_t T = (size_t)env->T;
	void *q = values(T * QW), *k = values(T * KW), *v = values(T * VALUE_W), *o = values(T * OW);
	void *dy = values(T * OW), *dq = values(T * QW), *dk = values(T * KW), *dv = values(T * VALUE_W);
	float *lse = check_values(T * HEADS, 1), *work = check_values(T * (QW + KW + VALUE_W), 1);
	void *x[] = { q, k, v, o, dy, dq, dk, dv, lse, work };
	double tf = best_of(bench_fwd, SELECTION ? (void *[]){ q, k, v, sel, o, lse }
	                                         : (void *[]){ q, k, v, o, lse }, env, pool);
	double tb = best_of(bench_bwd, SELECTION ? (void *[]){ q, k, v, o, lse, dy, sel, dq, dk, dv, work }
	                                         : (void *[]){ q, k, v, o, lse, dy, dq, dk, dv, work },
	                    env, pool);
	double flops = 2e-9 * HEADS * chosen;

	printf("forward %7.3f ms %4.0f GFLOP/s, backward %7.3f ms %4.0f GFLOP/s\n", tf * 1e3,
	       flops * (HEAD_DIM + V_DIM) / tf, tb * 1e3, flops * (3 * HEAD_DIM + 2 * V_DIM) / tb);
	for (size_t i = 0; i < sizeof x / sizeof *x; i++)
		free(x[i]);
}

static void measure(int ndoc, int S, int threads)
{
	size_t T = (size_t)ndoc * (size_t)S;
	uint32_t *sel = calloc(T * SELW, sizeof *sel);
	int32_t cu[8], *pos = malloc(T * sizeof *pos);
	RtPool *pool = pool_new(threads, 8 << 20);
	RtEnv env = { .T = (int64_t)T, .ndoc = ndoc, .cu = cu, .pos = pos };
	double all = 0.5 * S * (S + 1.0), k0 = TOP_K < S ? TOP_K : S;

	for (int d = 0; d <= ndoc; d++)
		cu[d] = d * S;
	for (size_t t = 0; t < T; t++)
		pos[t] = (int32_t)(t % (size_t)S);
	printf("%d x %4d, %d threads: ", ndoc, S, threads);
	indexer(&env, pool, sel, ndoc * all);
	attention(&env, pool, sel, ndoc * (GATHER ? 0.5 * k0 * (k0 + 1) + (S - k0) * k0 : all));
	free(sel);
	free(pos);
	pool_free(pool);
}

int main(void)
{
	printf("peak of one thread: %.0f GFLOP/s\n", peak());
	for (int threads = 1; threads <= 2; threads++) {
		measure(1, 256, threads);
		measure(4, 256, threads);
		measure(1, 1024, threads);
	}
	return 0;
}
