/* test_head_gemm.c - head_gemm.h against one chain of fused multiply-adds per element, rounded once where c is bf16. */
#include "head_gemm.h"

#include "pool.h"
#include "elems.h"

enum { HALF_A = ELEM_HALF(A_ELEM), HALF_B = ELEM_HALF(B_ELEM), HALF_C = ELEM_HALF(C_ELEM) };

/* Sizes of a: rows of it have INNER floats per head, those of b (one per token in form 2) OTHER. */
enum { INNER = FORM == 2 ? J : K };

static float term(float sum, float a, float b)
{
#ifdef __FMA__
	return fmaf(a, b, sum);
#else
	return sum + a * b;
#endif
}

static float product(const float *a, const float *b, int64_t t, int h, int j)
{
	const float *row = a + (t * HEADS + h) * K, *w = b + (int64_t)h * J * K;
	float sum = 0;

	for (int k = 0; k < K; k++)
		sum = term(sum, row[k], FORM ? w[k * J + j] : w[j * K + k]);
	return sum;
}

static float over_tokens(const float *a, const float *b, int64_t T, int h, int j, int k, float sum)
{
	for (int64_t t = 0; t < T; t++)
		sum = term(sum, a[(t * HEADS + h) * J + j], b[(t * HEADS + h) * K + k]);
	return sum;
}

static void reference(Sum *want, const float *a, const float *b, const float *was, int64_t T)
{
	if (FORM == 2) {
		for (int h = 0; h < HEADS; h++)
			for (int j = 0; j < J; j++)
				for (int k = 0; k < K; k++) {
					int64_t at = ((int64_t)h * J + j) * K + k;
					want[at].value = (double)over_tokens(a, b, T, h, j, k, ACC ? was[at] : 0);
				}
		return;
	}
	for (int64_t t = 0; t < T; t++)
		for (int h = 0; h < HEADS; h++)
			for (int j = 0; j < J; j++)
				want[(t * HEADS + h) * J + j].value = (double)product(a, b, t, h, j);
}

static void test_tokens(int64_t T, int threads)
{
	size_t rows = (size_t)T * HEADS, na = rows * INNER, nb = FORM == 2 ? rows * K : (size_t)HEADS * J * K;
	size_t nc = FORM == 2 ? (size_t)HEADS * J * K : rows * J;
	float *a = elems_values(na, 1, HALF_A), *b = elems_values(nb, 1, HALF_B);
	float *was = elems_values(nc, 1, HALF_C), *c = check_garbage(nc);
	Sum *want = sums_new(nc);
	void *arg[] = { elems_new(a, na, HALF_A), elems_new(b, nb, HALF_B), elems_new(was, nc, HALF_C) };
	RtEnv env = { .T = T };
	RtPool *pool = pool_new(threads, SCRATCH_BYTES);
	RtCall call = { .arg = arg, .env = &env, .pool = pool };

	pool->poison = 1;
	reference(want, a, b, was, T);
	KERNEL(&call);
	elems_take(c, arg[2], nc, HALF_C);
	check_sums("product per head", c, want, nc, 1e-6, HALF_C);
	pool_free(pool);
	free(arg[0]);
	free(arg[1]);
	free(a);
	free(b);
	free(c);
	free(was);
	free(want);
}

int main(void)
{
	static const int tokens[] = { 0, 1, 13, 60, 200 };

	for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
		test_tokens(tokens[i], 1);
		test_tokens(tokens[i], 3);
	}
	return check_done("test_head_gemm");
}
