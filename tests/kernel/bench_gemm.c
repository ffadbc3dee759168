/* bench_gemm.c - GFLOP/s of one instantiation of gemm.h: FORM, N, K (or M), GROUPS, ACC; ROWS, THREADS.
 *
 * Between two calls the operands change, so that weights come from memory as they do in a step: as many
 * copies as fill BYTES (0: one copy, from the cache). Time is processor time with one thread, else
 * elapsed time; the median of all calls counts.
 */
#include <sys/mman.h>
#include <time.h>

#include "gemm.h"
#include "pool.h"

#ifndef ROWS
#define ROWS 256
#endif
#ifndef THREADS
#define THREADS 1
#endif
#ifndef BYTES
#define BYTES (128 << 20)
#endif

enum { CALLS = 101 };

static double now(void)
{
	struct timespec t;

	clock_gettime(THREADS == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static float *fill(size_t n)
{
	const size_t page = 2 << 20;
	float *p = aligned_alloc(page, (n * 4 + page - 1) / page * page);

	madvise(p, n * 4, MADV_HUGEPAGE);
	for (size_t i = 0; i < n; i++)
		p[i] = (float)(i % 7) - 3;
	return p;
}

int main(void)
{
	const size_t inner = FORM == 2 ? M : K, stack = GROUPS ? GROUPS : 1;
	const size_t na = ROWS * inner, nb = FORM == 2 ? (size_t)ROWS * N : stack * N * inner;
	const size_t nc = FORM == 2 ? stack * N * inner : (size_t)ROWS * N;
	const size_t copies = 1 + BYTES / ((na + nb + nc) * 4);
	float *a = fill(copies * na), *b = fill(copies * nb), *c = fill(copies * nc);
	int32_t group[GROUPS + 2] = { 0 };
	double seconds[CALLS];
	RtEnv env = { .T = ROWS, .R = ROWS, .group = group };
	RtPool *pool = pool_new(THREADS, SCRATCH_BYTES);

	for (size_t e = 0; e < stack; e++)
		group[e + 1] = (int32_t)(ROWS * (e + 1) / stack);
	for (size_t r = 0; r < CALLS; r++) {
		void *arg[] = { a + r % copies * na, b + r % copies * nb, c + r % copies * nc };
		RtCall call = { .arg = arg, .env = &env, .pool = pool };
		double t = now();
		KERNEL(&call);
		seconds[r] = now() - t;
	}
	qsort(seconds, CALLS, sizeof *seconds, by_size);
	printf("form %d rows %d n %d k %d groups %d acc %d threads %d: %.1f GFLOP/s\n", FORM, ROWS, N, (int)inner,
	       GROUPS, ACC, THREADS, 2.0 * ROWS * N * (double)inner / seconds[CALLS / 10] / 1e9);
	pool_free(pool);
	free(a);
	free(b);
	free(c);
	return 0;
}
