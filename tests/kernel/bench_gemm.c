/* bench_gemm.c - GFLOP/s of one instantiation of gemm.h, by its macros; and ROWS, THREADS.
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

static void *room(size_t bytes)
{
	const size_t page = 2 << 20;
	void *p = aligned_alloc(page, (bytes + page - 1) / page * page);

	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

#define FILL(p, n) \
	for (size_t i = 0; i < (n); i++) \
		elem_put(&(p)[i], (float)(i % 7) - 3)

int main(void)
{
	const size_t inner = FORM == 2 ? M : K, stack = GROUPS ? GROUPS : 1;
	const size_t na = ROWS * inner, nb = FORM == 2 ? (size_t)ROWS * N : stack * N * inner;
	const size_t nc = FORM == 2 ? stack * N * inner : (size_t)ROWS * N;
	const size_t copies = 1 + BYTES / (na * sizeof(A_ELEM) + nb * sizeof(B_ELEM) + nc * sizeof(C_ELEM));
	A_ELEM *a = room(copies * na * sizeof *a);
	B_ELEM *b = room(copies * nb * sizeof *b);
	C_ELEM *c = room(copies * nc * sizeof *c);
	int32_t group[GROUPS + 2] = { 0 };
	double seconds[CALLS];
	RtEnv env = { .T = ROWS, .R = ROWS, .group = group };
	RtPool *pool = pool_new(THREADS, SCRATCH_BYTES);

	FILL(a, copies * na);
	FILL(b, copies * nb);
	FILL(c, copies * nc);
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
	printf("form %d rows %d n %d k %d groups %d acc %d bytes %d %d %d threads %d: %.1f GFLOP/s\n", FORM, ROWS, N,
	       (int)inner, GROUPS, ACC, (int)sizeof *a, (int)sizeof *b, (int)sizeof *c, THREADS,
	       2.0 * ROWS * N * (double)inner / seconds[CALLS / 10] / 1e9);
	pool_free(pool);
	free(a);
	free(b);
	free(c);
	return 0;
}
