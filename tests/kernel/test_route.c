/* test_route.c - top_k.h and balanced_ids.h against plain sorting, embedding.h and embedding_grad.h
 * against plain loops. One variant per executable: macros from a line of variants_route.txt.
 */
#include "top_k.h"
#undef KERNEL
#include "balanced_ids.h"
#undef KERNEL
#include "embedding.h"
#undef KERNEL
#include "embedding_grad.h"

#include "pool.h"
#include "elems.h"

enum { HALF = ELEM_HALF(ELEM) };

/* What the id list of one token must be: rank every expert of a kept group by (score, index). */
static void naive_top_k(const float *x, int32_t *ids)
{
	int kept[EXPERTS], n = 0;
	double group[GROUPS];

	for (int g = 0; g < GROUPS; g++) {
		double a = -1e30, b = -1e30;
		for (int e = g * TK_GROUP; e < (g + 1) * TK_GROUP; e++) {
			double s = (double)x[e];
			b = s > a ? a : s > b ? s : b;
			a = s > a ? s : a;
		}
		group[g] = (double)(float)(a + b);
	}
	for (int e = 0; e < EXPERTS; e++) {
		int g = e / TK_GROUP, before = 0;
		for (int i = 0; i < GROUPS; i++)
			before += group[i] > group[g] || (group[i] == group[g] && i < g);
		kept[e] = GROUPS == 1 || before < KEPT_GROUPS;
	}
	for (int e = 0; e < EXPERTS; e++) {
		int before = 0;
		for (int i = 0; i < EXPERTS; i++)
			before += kept[i] && (x[i] > x[e] || (x[i] == x[e] && i < e));
		if (kept[e] && before < TOP_K)
			ids[n++] = e;
	}
}

static void check_ids(const char *what, const int32_t *got, const int32_t *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got[i] != want[i]) {
			check_fail(what, i, got[i], want[i]);
			return;
		}
}

static void test_top_k(int64_t T, int ties)
{
	size_t n = (size_t)T;
	float *x = check_values(n * EXPERTS, 1);
	int32_t *ids = calloc(n * TOP_K + 1, sizeof *ids), *want = calloc(n * TOP_K + 1, sizeof *want);
	RtEnv env = { .T = T };
	RtPool *pool = pool_new(2, 64);
	void *arg[] = { x, ids };

	for (size_t i = 0; ties && i < n * EXPERTS; i++)
		x[i] = rintf(x[i] * 3);
	top_k(&(RtCall){ .arg = arg, .env = &env, .pool = pool });
	for (size_t t = 0; t < n; t++)
		naive_top_k(x + t * EXPERTS, want + t * TOP_K);
	check_ids("top_k", ids, want, n * TOP_K);

	void *out[] = { ids };
	balanced_ids(&(RtCall){ .arg = out, .env = &env, .pool = pool });
	for (size_t t = 0; t < n; t++) {
		int32_t *row = want + t * TOP_K;
		for (int j = 0; j < TOP_K; j++)
			row[j] = (int32_t)((t * TOP_K + (size_t)j) % EXPERTS);
		tk_ascending(row, TOP_K);
	}
	check_ids("balanced_ids", ids, want, n * TOP_K);
	pool_free(pool);
	free(x);
	free(ids);
	free(want);
}

static void test_embedding(int64_t T, int threads)
{
	size_t n = (size_t)T * WIDTH, size = (size_t)VOCAB * WIDTH;
	float *w = elems_values(size, 1, HALF), *y = check_garbage(n), *dw = check_values(size, 1);
	float *want = malloc(size * sizeof *want);
	void *table = elems_new(w, size, HALF), *rows = elems_new(y, n, HALF);
	int32_t *tokens = calloc((size_t)T + 1, sizeof *tokens);
	RtEnv env = { .T = T };
	RtPool *pool = pool_new(threads, 64);

	for (int64_t t = 0; t < T; t++)
		tokens[t] = (int32_t)(check_random() % VOCAB);
	for (size_t i = 0; i < size; i++)
		want[i] = ACC ? dw[i] : 0;
	embedding(&(RtCall){ .arg = (void *[]){ tokens, table, rows }, .env = &env, .pool = pool });
	embedding_grad(&(RtCall){ .arg = (void *[]){ tokens, rows, dw }, .env = &env, .pool = pool });
	elems_take(y, rows, n, HALF);
	for (int64_t t = 0; t < T; t++)
		check_bits("embedding", y + t * WIDTH, w + (int64_t)tokens[t] * WIDTH, WIDTH);
	for (int64_t t = 0; t < T; t++)
		for (int h = 0; tokens[t] != PADDING_IDX && h < WIDTH; h++)
			want[(int64_t)tokens[t] * WIDTH + h] += y[t * WIDTH + h];
	check_bits("embedding_grad", dw, want, size);
	pool_free(pool);
	free(table);
	free(w);
	free(y);
	free(dw);
	free(want);
	free(tokens);
}

int main(void)
{
	const int64_t T[] = { 0, 1, 31, 32, 33, 200 };

	for (size_t i = 0; i < sizeof T / sizeof *T; i++) {
		test_top_k(T[i], 0);
		test_top_k(T[i], 1);
		test_embedding(T[i], 1 + (int)i % 3);
	}
	return check_done("routing and embedding");
}
