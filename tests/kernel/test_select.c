/* test_select.c - select_keys.h against a sort, exactly, and its bits.
 *
 * One variant per executable: macros from a line of variants_route.txt. Operands are small
 * integers, so that scores are exact in float32 and full of ties; then fractions, where every
 * selected key must score (in double) what the best left-out key scores, up to rounding.
 * Also: 1 and 3 threads give equal words, and so does a document alone.
 */
#include "select_keys.h"

#include "pool.h"
#include "check.h"

_Static_assert(SCRATCH_BYTES == 4 * (32 * (INDEX_HEADS * INDEX_DIM + INDEX_HEADS) + 64 * INDEX_DIM +
                                     2048 + 1056 * SELW), "scratch as documented");

static void run(const float *q, const float *k, const float *w, uint32_t *sel, const int32_t *cu,
                int32_t ndoc, int threads)
{
	RtEnv env = { .T = cu[ndoc], .ndoc = ndoc, .cu = cu };
	void *arg[] = { (void *)(uintptr_t)q, (void *)(uintptr_t)k, (void *)(uintptr_t)w, sel };
	RtPool *pool = pool_new(threads, SCRATCH_BYTES);

	pool->poison = 1;
	select_keys(&(RtCall){ .arg = arg, .env = &env, .pool = pool });
	pool_free(pool);
}

static double score(const float *q, const float *k, const float *w)
{
	double sum = 0;

	for (int j = 0; j < INDEX_HEADS; j++) {
		double dot = 0;
		for (int h = 0; h < INDEX_DIM; h++)
			dot += (double)q[j * INDEX_DIM + h] * (double)k[h];
		sum += dot > 0 ? dot * (double)w[j] : 0;
	}
	return sum;
}

/* One query: how many keys beat key u, by a larger score or an equal one at a lower index? */
static void check_row(const double *s, int64_t t, const uint32_t *sel, int exact, size_t at)
{
	double worst = 1e300, best = -1e300;
	int64_t count = 0, n = t + 1;

	for (int64_t u = 0; u < SELW * 32; u++) {
		int bit = sel[u / 32] >> (u % 32) & 1;
		if (u >= n) {
			if (bit)
				check_fail("a key of the future", at, (double)u, (double)t);
			continue;
		}
		count += bit;
		if (bit && s[u] < worst)
			worst = s[u];
		if (!bit && s[u] > best)
			best = s[u];
		int64_t before = 0;
		for (int64_t x = 0; exact && x < n; x++)
			before += s[x] > s[u] || (s[x] == s[u] && x < u);
		if (exact && bit != (before < TOP_K))
			check_fail("a selected key", at, bit, before < TOP_K);
	}
	if (count != (n < TOP_K ? n : TOP_K))
		check_fail("number of selected keys", at, (double)count, TOP_K);
	if (worst < best - 1e-5)
		check_fail("a left-out key is better", at, worst, best);
}

static void check_all(const float *q, const float *k, const float *w, const uint32_t *sel,
                      const int32_t *cu, int32_t ndoc, int exact)
{
	double s[1024];

	for (int32_t d = 0; d < ndoc; d++)
		for (int64_t t = cu[d]; t < cu[d + 1]; t++) {
			for (int64_t u = cu[d]; u <= t; u++)
				s[u - cu[d]] = score(q + t * INDEX_HEADS * INDEX_DIM, k + u * INDEX_DIM,
				                     w + t * INDEX_HEADS);
			check_row(s, t - cu[d], sel + t * SELW, exact, (size_t)t);
		}
}

static void packing(const int32_t *cu, int32_t ndoc, int exact)
{
	size_t T = (size_t)cu[ndoc];
	float *q = check_values(T * INDEX_HEADS * INDEX_DIM, 1), *k = check_values(T * INDEX_DIM, 1);
	float *w = check_values(T * INDEX_HEADS, 1);
	float *one = check_garbage(T * SELW), *other = check_garbage(T * SELW);

	for (size_t i = 0; exact && i < T * INDEX_HEADS * INDEX_DIM; i++)
		q[i] = rintf(q[i] * 1.4f);
	for (size_t i = 0; exact && i < T * INDEX_DIM; i++)
		k[i] = rintf(k[i] * 1.4f);
	for (size_t i = 0; exact && i < T * INDEX_HEADS; i++)
		w[i] = rintf(w[i] * 2);
	run(q, k, w, (uint32_t *)one, cu, ndoc, 1);
	check_all(q, k, w, (uint32_t *)one, cu, ndoc, exact);
	run(q, k, w, (uint32_t *)other, cu, ndoc, 3);
	check_bits("threads", one, other, T * SELW);
	for (int32_t d = 0; d < ndoc; d++) {
		int64_t first = cu[d];
		int32_t alone[] = { 0, cu[d + 1] - cu[d] };
		run(q + first * INDEX_HEADS * INDEX_DIM, k + first * INDEX_DIM, w + first * INDEX_HEADS,
		    (uint32_t *)other, alone, 1, 2);
		check_bits("a document alone", one + first * SELW, other, (size_t)alone[1] * SELW);
	}
	free(q);
	free(k);
	free(w);
	free(one);
	free(other);
}

int main(void)
{
	const int32_t none[] = { 0 }, one[] = { 0, 1 }, small[] = { 0, 5, 6, 39, 40, 41, 105, 107 };
	const int32_t edge[] = { 0, 31, 63, 96, 224 }, large[] = { 0, 70, 370 }, single[] = { 0, 530 };

	for (int exact = 0; exact <= 1; exact++) {
		packing(none, 0, exact);
		packing(one, 1, exact);
		packing(small, 7, exact);
		packing(edge, 4, exact);
		packing(large, 2, exact);
		packing(single, 1, exact);
	}
	return check_done("select_keys");
}
