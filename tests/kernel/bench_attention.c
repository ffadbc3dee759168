/* bench_attention.c - GFLOP/s of attention, its gradient and key selection, on 1 and 2 threads.
 *
 * Sizes by macros as in the tests; by default 8 heads of 64, no selection for attention, and an
 * indexer of 8 heads of 32 with the best 128 keys. Counts useful work only: over the causal
 * triangle (with GATHER: the SELECTED keys of a query), 2 (H + HV) flops per pair and head forward,
 * 2 (3 H + 2 HV) backward, 2 J H for the indexer. Prints the best of a few runs; asserts nothing.
 */
#include <time.h>

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
#define KERNEL bench_select
#include "select_keys.h"

#include "pool.h"
#include "check.h"

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

static void measure(int ndoc, int S, int threads)
{
	size_t T = (size_t)ndoc * (size_t)S;
	float *q = check_values(T * QW, 1), *k = check_values(T * KW, 1);
	float *v = check_values(T * VALUE_W, 1);
	float *o = check_values(T * OW, 1), *lse = check_values(T * HEADS, 1);
	float *dy = check_values(T * OW, 1), *dq = check_values(T * QW, 1);
	float *dk = check_values(T * KW, 1), *dv = check_values(T * VALUE_W, 1);
	float *qi = check_values(T * INDEX_HEADS * INDEX_DIM, 1), *ki = check_values(T * INDEX_DIM, 1);
	float *w = check_values(T * INDEX_HEADS, 1), *sel = check_values(T * SELW, 1);
	int32_t cu[8], *pos = malloc(T * sizeof *pos);
	RtPool *pool = pool_new(threads, 8 << 20);

	for (int d = 0; d <= ndoc; d++)
		cu[d] = d * S;
	for (size_t t = 0; t < T; t++)
		pos[t] = (int32_t)(t % (size_t)S);
	RtEnv env = { .T = (int64_t)T, .ndoc = ndoc, .cu = cu, .pos = pos };
	double all = 0.5 * S * (S + 1.0), k0 = TOP_K < S ? TOP_K : S;
	double chosen = GATHER ? 0.5 * k0 * (k0 + 1) + (S - k0) * k0 : all;
	double ts = best_of(bench_select, (void *[]){ qi, ki, w, sel }, &env, pool);
	double tf = best_of(bench_fwd, SELECTION ? (void *[]){ q, k, v, sel, o, lse }
	                                         : (void *[]){ q, k, v, o, lse }, &env, pool);
	double tb = best_of(bench_bwd, SELECTION ? (void *[]){ q, k, v, o, lse, dy, sel, dq, dk, dv }
	                                         : (void *[]){ q, k, v, o, lse, dy, dq, dk, dv },
	                    &env, pool);
	double flops = 2e-9 * ndoc * HEADS * chosen;
	printf("%d x %4d, %d threads: forward %7.3f ms %4.0f GFLOP/s, backward %7.3f ms %4.0f GFLOP/s, "
	       "selection %7.3f ms %4.0f GFLOP/s\n", ndoc, S, threads, tf * 1e3,
	       flops * (HEAD_DIM + V_DIM) / tf, tb * 1e3, flops * (3 * HEAD_DIM + 2 * V_DIM) / tb,
	       ts * 1e3, 2e-9 * ndoc * all * INDEX_HEADS * INDEX_DIM / ts);
	float *x[] = { q, k, v, o, lse, dy, dq, dk, dv, qi, ki, w, sel };
	for (size_t i = 0; i < sizeof x / sizeof *x; i++)
		free(x[i]);
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
