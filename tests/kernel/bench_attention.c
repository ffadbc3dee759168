/* bench_attention.c - GFLOP/s of attention and its gradient at middle sizes, 1 and 2 threads.
 *
 * Counts the useful work only: the causal triangle, 2 (H + HV) flops per pair forward and
 * 2 (3 H + 2 HV) backward (five products). Prints the best of a few runs; asserts nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rt_kernel.h"

#include "pool.h"

enum { HEADS_ = 8, DIM = 64, MAX_S = 1024 };

RtKernel bench_fwd, bench_bwd;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *values(size_t n, uint32_t seed)
{
	float *p = aligned_alloc(64, n * sizeof(float));

	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		p[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
	}
	return p;
}

static double best_of(RtKernel *kernel, const RtCall *c, int runs)
{
	double best = 1e9;

	for (int i = 0; i < runs; i++) {
		double t = now();
		kernel(c);
		t = now() - t;
		best = t < best ? t : best;
	}
	return best;
}

static void measure(int ndoc, int S, int threads)
{
	size_t T = (size_t)ndoc * (size_t)S, n = T * HEADS_ * DIM;
	float *x[9];
	int32_t cu[8], *pos = malloc(T * sizeof *pos);
	RtPool *pool = pool_new(threads, 4 << 20);

	for (int i = 0; i < 9; i++)
		x[i] = values(n, (uint32_t)i);
	for (int d = 0; d <= ndoc; d++)
		cu[d] = d * S;
	for (size_t t = 0; t < T; t++)
		pos[t] = (int32_t)(t % (size_t)S);
	RtEnv env = { .T = (int64_t)T, .ndoc = ndoc, .cu = cu, .pos = pos };
	void *fwd[] = { x[0], x[1], x[2], x[3], x[4] };
	void *bwd[] = { x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8] };
	double pairs = 0.5 * S * (S + 1.0) * ndoc * HEADS_;
	double tf = best_of(bench_fwd, &(RtCall){ fwd, NULL, &env, pool }, 15);
	double tb = best_of(bench_bwd, &(RtCall){ bwd, NULL, &env, pool }, 15);
	printf("%d x %4d, %d threads: forward %7.3f ms %6.1f GFLOP/s, backward %7.3f ms %6.1f GFLOP/s\n",
	       ndoc, S, threads, tf * 1e3, pairs * 2 * 2 * DIM / tf / 1e9, tb * 1e3,
	       pairs * 2 * 5 * DIM / tb / 1e9);
	for (int i = 0; i < 9; i++)
		free(x[i]);
	free(pos);
	pool_free(pool);
}

int main(void)
{
	for (int threads = 1; threads <= 2; threads++) {
		measure(1, 256, threads);
		measure(4, 256, threads);
		measure(1, MAX_S, threads);
	}
	return 0;
}
