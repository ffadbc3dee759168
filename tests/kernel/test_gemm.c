/* test_gemm.c - gemm.h against one chain of fused multiply-adds per element, plus the addend, rounded once where c is
 * bf16, to the bit: with any number of rows, threads and groups. One variant per executable: macros from a line of
 * variants_gemm.txt.
 */
#include "gemm.h"

#include "pool.h"
#include "elems.h"

#if FORM == 2
enum { INNER_A = M, INNER_B = N };
#else
enum { INNER_A = K, INNER_B = N };
#endif

/* Sanitizers keep the compiler from fusing a product and a sum, as do machines without the instruction. */
#if defined(__FMA__) && !defined(__SANITIZE_ADDRESS__)
#define EXACT 1
#else
#define EXACT 0
#endif

enum { STACK = GROUPS ? GROUPS : 1, PAD = 64 };
enum { HALF_A = ELEM_HALF(A_ELEM), HALF_B = ELEM_HALF(B_ELEM), HALF_C = ELEM_HALF(C_ELEM),
       HALF_D = ELEM_HALF(D_ELEM) };

/* Element (i, j) of product e: k terms from `start`. a and b step by sa and sb. */
static float chain(float start, int64_t k, const float *a, int64_t sa, const float *b, int64_t sb)
{
	for (int64_t i = 0; i < k; i++)
		start = fmaf(a[i * sa], b[i * sb], start);
	return start;
}

/* Rows of product e, from group[e] on; `was` is what c held before, d is added to the sums. */
static void reference(float *c, const float *was, const float *a, const float *b, const float *d, const int32_t *group,
                      int e)
{
	int64_t r0 = group[e], rows = group[e + 1] - r0;

#if FORM == 2
	(void)d;
	for (int64_t i = 0; i < M; i++)
		for (int64_t j = 0; j < N; j++) {
			int64_t at = ((int64_t)e * M + i) * N + j;
			c[at] = chain(ACC ? was[at] : 0, rows, a + r0 * M + i, M, b + r0 * N + j, N);
		}
#else
	for (int64_t i = r0; i < r0 + rows; i++)
		for (int64_t j = 0; j < N; j++) {
			const float *w = b + (int64_t)e * N * K;
			c[i * N + j] = chain(ACC ? was[i * N + j] : 0, K, a + i * K, 1, FORM ? w + j : w + j * K,
			                     FORM ? N : 1);
			if (ADDEND)
				c[i * N + j] += d[i * N + j];
		}
#endif
}

/* Groups of uneven sizes, some empty; or all rows in one of them. */
static void split_rows(int32_t *group, int64_t rows, int skewed)
{
	group[0] = 0;
	for (int e = 0; e < STACK; e++) {
		int64_t left = rows - group[e], take = skewed ? (e == STACK / 2 ? left : 0) : check_random() % (left + 1);
		group[e + 1] = (int32_t)(e + 1 == STACK ? rows : group[e] + take);
	}
}

/* c against the sums that `want` holds. */
static void check_product(const float *c, float *want, size_t n)
{
#if EXACT
	elems_round(want, n, HALF_C);
	check_bits("product", c, want, n);
#else
	Sum *sum = sums_new(n + PAD);
	for (size_t i = 0; i < n; i++)
		sum[i].value = (double)want[i];
	check_sums("product", c, sum, n, 2e-6, HALF_C);
	free(sum);
#endif
}

static void test_rows(int64_t rows, int threads, int skewed)
{
	size_t na = (size_t)(rows * INNER_A), nb = (size_t)(FORM == 2 ? rows * N : (int64_t)STACK * N * INNER_A);
	size_t nc = (size_t)(FORM == 2 ? (int64_t)STACK * INNER_A * N : rows * N);
	float *a = elems_values(na, 1, HALF_A), *b = elems_values(nb, 1, HALF_B), *was = elems_values(nc + PAD, 1, HALF_C);
	float *c = malloc((nc + PAD) * 4), *want = malloc((nc + PAD) * 4), *d = elems_values(nc, 1, HALF_D);
	int32_t group[STACK + 1];
	void *result = elems_new(was, nc + PAD, HALF_C), *addend = elems_new(d, nc, HALF_D);
	void *arg[] = { elems_new(a, na, HALF_A), elems_new(b, nb, HALF_B), ADDEND ? addend : result, result };
	RtEnv env = { .T = rows, .R = rows, .group = group };
	RtPool *pool = pool_new(threads, SCRATCH_BYTES);
	RtCall call = { .arg = arg, .env = &env, .pool = pool };

	pool->poison = 1;
	split_rows(group, rows, skewed);
	memcpy(want, was, (nc + PAD) * 4);
	for (int e = 0; e < STACK; e++)
		reference(want, was, a, b, d, group, e);
	KERNEL(&call);
	elems_take(c, result, nc + PAD, HALF_C);
	check_product(c, want, nc);
	check_bits("what lies behind the result", c + nc, was + nc, PAD);
	pool_free(pool);
	free(arg[0]);
	free(arg[1]);
	free(addend);
	free(a);
	free(b);
	free(d);
	free(was);
	free(c);
	free(want);
}

int main(void)
{
	static const int rows[] = { 0, 1, 2, 11, 12, 13, 25, 37, 200, 300 };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (int threads = 1; threads <= 3; threads += 2)
			for (int skewed = 0; skewed <= (STACK > 1); skewed++)
				test_rows(rows[i], threads, skewed);
	return check_done("test_gemm");
}
