/* select_keys.h - the indexer of sparse attention: the TOP_K best causal keys of every query.
 *
 *     score[t,u] = sum_j w[t,j] relu(qi[t,j,:] . ki[u,:])        j ascending, float32
 *
 * for the keys u <= t of t's document; the TOP_K largest become set bits, the lowest index first
 * among equals; all keys where there are not more than TOP_K. Scale factors are in the operands.
 *
 * arg: qi f32[T,J,H], ki f32[T,H], w f32[T,J], selection u32[T,SELW] (written, unused bits 0).
 * Parameters: KERNEL, INDEX_HEADS (J), INDEX_DIM (H), TOP_K, SELW = ceil(S_max / 32).
 * Scratch per thread: SCRATCH_BYTES = 4 * (32 * (J * H + J) + 64 * H + 2048 + 1056 * SELW).
 *
 * Jobs are tiles of 32 queries of a document, the queries across the vector lanes (see
 * attention_tile.h). Selection is exact and without branches on data: scores become integers of the
 * same order; the TOP_K-th largest of all 32 lanes is built bit by bit from the top (count the keys
 * not below the candidate), stopping as soon as every lane counts exactly TOP_K; one more pass in
 * the order of the keys takes what is above it, and of its equals the first. Nothing is as large as
 * T x T: a job holds the scores of its own 32 queries.
 */
#include "rt_kernel.h"

#include "attention_tile.h"

#ifndef KERNEL
#define KERNEL select_keys
#endif
#ifndef INDEX_HEADS
#define INDEX_HEADS 8
#endif
#ifndef INDEX_DIM
#define INDEX_DIM 32
#endif
#ifndef TOP_K
#define TOP_K 128
#endif
#ifndef SELW
#define SELW 32
#endif

_Static_assert(TOP_K > 0, "TOP_K is positive");

typedef struct SkScratch {
	float qt[INDEX_HEADS * INDEX_DIM * LANES]; /* [J][H][lane] */
	float wt[INDEX_HEADS * LANES];             /* [J][lane] */
	float k[BLOCK * INDEX_DIM];
	float dot[BLOCK * LANES];
	float score[SELW * 32 * LANES];            /* [key][lane]; later integers of the same order */
	uint32_t words[SELW * LANES];              /* [word][lane] */
} SkScratch;

#undef SCRATCH_BYTES
#define SCRATCH_BYTES (sizeof(SkScratch))

typedef struct SkArgs {
	const float *q, *k, *w;
	uint32_t *sel;
	const RtEnv *env;
	RtPool *pool;
	int64_t slots;
} SkArgs;

/* sk_order - an integer that orders like the float x: its magnitude with its sign, so that both
 * zeros are 0. */
AT_INLINE Vi sk_order(Vf x)
{
	Vi i = (Vi)x, sign = i >> 31;

	return (i ^ (sign & INT32_MAX)) - sign;
}

/* sk_block - scores of keys k0 .. k0+nk-1 against the tile. */
static void sk_block(SkScratch *s, int64_t k0, int64_t nk)
{
	int64_t up = AT_ROUND(nk, AT_ROWS);
	float *score = s->score + k0 * LANES;

	memset(score, 0, (size_t)(nk * LANES) * sizeof(float));
	for (int64_t j = 0; j < INDEX_HEADS; j++) {
		const float *w = s->wt + j * LANES;
		at_product(up, LANES, INDEX_DIM, s->k, INDEX_DIM, 1, s->qt + j * INDEX_DIM * LANES, LANES,
		           s->dot, LANES, 0, NULL);
		for (int64_t i = 0; i < nk * LANES; i += VW) {
			Vf x = v_max(v_load(s->dot + i), v_set(0));
			v_store(score + i, v_load(score + i) + v_load(w + i % LANES) * x);
		}
	}
}

/* sk_sort - turns the n scores of every lane into integers of the same order; a key that the lane
 * does not see becomes the lowest integer. The lanes are queries q0 and on. */
static void sk_sort(float *score, int64_t n, int64_t q0)
{
	for (int64_t u = 0; u < n; u++)
		for (int i = 0; i < LANES; i += VW) {
			Vi x = sk_order(v_load(score + u * LANES + i));
			if (u > q0)
				for (int l = 0; l < VW; l++)
					x[l] = u > q0 + i + l ? INT32_MIN : x[l];
			v_store(score + u * LANES + i, (Vf)x);
		}
}

/* sk_count - how many of n integers are not below c (above it, when above is 1), per lane. */
AT_INLINE Vi sk_count(const float *x, int64_t n, Vi c, int above)
{
	Vi count = { 0 };

	for (int64_t u = 0; u < n; u++) {
		Vi y = (Vi)v_load(x + u * LANES);
		count -= above ? (Vi)(y > c) : (Vi)(y >= c);
	}
	return count;
}

/* sk_threshold - for VW lanes the TOP_K-th largest integer, or any lower one with the same keys
 * not below it. Lanes with fewer keys, given by live = 0, get anything. */
static Vi sk_threshold(const float *x, int64_t n, Vi live)
{
	Vi zero = { 0 }, at = zero + INT32_MIN, have = zero;

	for (int bit = 31; bit >= 0; bit--) {
		Vi candidate = at ^ (zero + (int32_t)(1u << bit));
		Vi count = sk_count(x, n, candidate, 0);
		Vi take = (Vi)(count >= TOP_K);
		at = (candidate & take) | (at & ~take);
		have = (count & take) | (have & ~take);
		Vi open = live & (Vi)(have != TOP_K);
		int any = 0;
		for (int l = 0; l < VW; l++)
			any |= open[l];
		if (!any)
			break;
	}
	return at;
}

/* sk_take - the words of VW lanes, from integers and thresholds: out[u / 32][lane]. */
static void sk_take(const float *x, int64_t n, Vi at, uint32_t *out)
{
	Vi need = TOP_K - sk_count(x, n, at, 1);

	for (int64_t u = 0; u < n;) {
		Vi zero = { 0 }, word = zero;
		for (int b = 0; b < 32 && u < n; b++, u++) {
			Vi y = (Vi)v_load(x + u * LANES);
			Vi equal = (Vi)(y == at) & (Vi)(need > 0);
			need += equal;
			word |= ((Vi)(y > at) | equal) & (zero + (int32_t)(1u << b));
		}
		v_store((float *)out + (u - 1) / 32 * LANES, (Vf)word);
	}
}

/* sk_tile - writes the selections of `rows` queries q0 .. of a document that starts at `first`. */
static void sk_tile(const SkArgs *a, SkScratch *s, int64_t first, int64_t q0, int64_t rows)
{
	int64_t n = q0 + rows, t = first + q0;
	uint32_t *words = s->words;

	if (n > TOP_K) {
		for (int64_t j = 0; j < INDEX_HEADS; j++)
			at_transpose(s->qt + j * INDEX_DIM * LANES,
			             a->q + (t * INDEX_HEADS + j) * INDEX_DIM, INDEX_HEADS * INDEX_DIM,
			             INDEX_DIM, rows, 1);
		at_transpose(s->wt, a->w + t * INDEX_HEADS, INDEX_HEADS, INDEX_HEADS, rows, 1);
		for (int64_t k0 = 0; k0 < n; k0 += BLOCK) {
			int64_t nk = n - k0 < BLOCK ? n - k0 : BLOCK;
			at_pack(s->k, INDEX_DIM, AT_ROUND(nk, AT_ROWS), a->k + (first + k0) * INDEX_DIM,
			        INDEX_DIM, INDEX_DIM, nk, NULL);
			sk_block(s, k0, nk);
		}
		sk_sort(s->score, n, q0);
		for (int i = 0; i < LANES; i += VW) {
			Vi live;
			for (int l = 0; l < VW; l++)
				live[l] = i + l < rows && q0 + i + l >= TOP_K ? -1 : 0;
			sk_take(s->score + i, n, sk_threshold(s->score + i, n, live), words + i);
		}
	}
	for (int64_t i = 0; i < rows; i++) {
		uint32_t *out = a->sel + (t + i) * SELW;
		for (int64_t c = 0; c < SELW; c++) {
			int64_t rel = q0 + i - c * 32;
			uint32_t all = rel < 0 ? 0 : rel >= 31 ? ~0u : (2u << rel) - 1;
			out[c] = q0 + i < TOP_K || rel < 0 ? all : words[c * LANES + i];
		}
	}
}

static void sk_job(void *ctx, int64_t job, int thread)
{
	const SkArgs *a = ctx;
	int32_t d;
	/* later queries have more keys: they start first */
	int64_t q0 = at_document(a->env->cu, a->env->ndoc, LANES, a->slots - 1 - job, &d) * LANES;
	int64_t first = a->env->cu[d], len = a->env->cu[d + 1] - first;

	if (q0 < len)
		sk_tile(a, rt_scratch(a->pool, thread), first, q0, len - q0 < LANES ? len - q0 : LANES);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	const RtEnv *env = c->env;
	SkArgs a = { .q = c->arg[0], .k = c->arg[1], .w = c->arg[2], .sel = c->arg[3], .env = env,
	             .pool = c->pool, .slots = env->T / LANES + env->ndoc };

	if (env->T > 0)
		rt_parallel(c->pool, a.slots, sk_job, &a);
}
