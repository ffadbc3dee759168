/* bench_gemm.c - GFLOP/s of one instantiation of gemm.h: FORM, N, K (or M), ROWS, THREADS. */
#include <stdio.h>
#include <time.h>

#include "gemm.h"
#include "pool.h"

#ifndef ROWS
#define ROWS 256
#endif
#ifndef THREADS
#define THREADS 1
#endif
#ifndef M
#define M N
#endif
#ifndef K
#define K M
#endif

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
	const int64_t inner = FORM == 2 ? M : K, experts = GROUPS ? GROUPS : 1;
	float *a = malloc((size_t)(ROWS * inner) * 4), *b = malloc((size_t)(experts * N * (inner + ROWS)) * 4);
	float *c = calloc((size_t)(experts * N * inner + ROWS * N), 4);
	int32_t group[GROUPS + 2] = {0};
	for (int e = 0; e < experts; e++)
		group[e + 1] = (int32_t)((int64_t)ROWS * (e + 1) / experts);
	for (int64_t i = 0; i < ROWS * inner; i++)
		a[i] = (float)(i % 7) - 3;
	for (int64_t i = 0; i < experts * N * (inner + ROWS); i++)
		b[i] = (float)(i % 5) - 2;
	void *arg[] = {a, b, c};
	RtEnv env = {.T = ROWS, .R = ROWS, .group = group};
	RtCall call = {.arg = arg, .env = &env, .pool = pool_new(THREADS, SCRATCH_BYTES)};
	double best = 1e9;
	for (int r = 0; r < 30; r++) {
		double t = now();
		KERNEL(&call);
		t = now() - t;
		best = t < best ? t : best;
	}
	printf("form %d rows %d n %d k %d groups %d threads %d: %.1f GFLOP/s\n", FORM, ROWS, N, (int)inner, GROUPS,
	       THREADS, 2.0 * ROWS * N * (double)inner / best / 1e9);
	return 0;
}
