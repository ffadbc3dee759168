/* attention.h - softmax attention, causal within each document, with or without a selection.
 *
 *     o[t,n,:] = sum_u p[t,n,u] v[u,g,:],  p = softmax_u(SCALE q[t,n,:] . k[u,g,:]),  g = n / (N/G)
 *     lse[t,n] = log sum_u exp(SCALE q[t,n,:] . k[u,g,:])
 *
 * over the keys u <= t of t's document, of those only the selected ones where there is a selection.
 * One template for MHA (G = N), GQA and absorbed MQA (G = 1, v a copy of the first columns of k).
 *
 * arg: q ELEM[T,N,H], k ELEM[T,G,H], v ELEM[T,G,HV], [selection u32[T,SELW]], o ELEM[T,N,HV],
 * lse f32[T,N]. Bit b of word w in a row of the selection is key 32w + b of the same document.
 *
 * Parameters: KERNEL, and those of attention_sizes.h.
 *   GATHER 0  tiles of 32 queries of a head against blocks of 64 keys, the selection as a mask;
 *             jobs are (head, document, 128 queries). The cost is the causal triangle, whatever is
 *             selected.
 *   GATHER 1  tiles of 32 heads of a query against its selected keys, gathered in blocks of 64;
 *             jobs are (group, 8 tokens). For selections much smaller than the document and N/G
 *             of 16 and more: absorbed sparse attention.
 * Scratch per thread: SCRATCH_BYTES, which is (H', V': H, HV rounded up to a multiple of 16)
 *   4 * (64 * (H' + V' + 32) + tiles * 32 * (H + V' + 2) + 96) + (GATHER ? 128 * SELW : 0)
 *   with tiles = GATHER ? ceil(N/G / 32) : 4.
 *
 * Invariant: what a query sees and in which order it is summed depends on its document alone, so
 * its bits depend neither on threads nor on neighbours. A query that sees nothing gives o = 0 and
 * lse = 0. Layout and numerics: attention_tile.h.
 */
#include <math.h>

#include "rt_kernel.h"

#include "attention_sizes.h"
#include "attention_tile.h"

#ifndef KERNEL
#define KERNEL attention
#endif

enum {
	AT_TILES = GATHER ? (AT_GROUP + LANES - 1) / LANES : 4,
	AT_QUERIES = AT_TILES * LANES, /* of a job, without GATHER */
	AT_TOKENS = 8                  /* of a job, with GATHER */
};

/* One tile: 32 rows of the softmax, and what the blocks of keys seen so far gave. */
typedef struct AtTile {
	float qt[HEAD_DIM * LANES]; /* queries, transposed, times SCALE * log2(e) */
	float o[LANES * AT_VP];     /* sum of 2^(s - m) v */
	float m[LANES];             /* largest score so far */
	float l[LANES];             /* sum of 2^(s - m) */
} AtTile;

typedef struct AtScratch {
	float k[BLOCK * AT_HP];
	float v[BLOCK * AT_VP];
	float s[BLOCK * LANES];
	float f[LANES]; /* factor of the old sums when the maximum moves */
	uint32_t words[BLOCK / 32 * LANES];
	AtTile tile[AT_TILES];
#if GATHER
	int32_t list[SELW * 32];
#endif
} AtScratch;

#undef SCRATCH_BYTES
#define SCRATCH_BYTES (sizeof(AtScratch))

typedef struct AtArgs {
	const ELEM *q, *k, *v;
	const uint32_t *sel; /* or NULL */
	ELEM *o;
	float *lse;
	const RtEnv *env;
	RtPool *pool;
	int64_t slots; /* query blocks of all documents */
} AtArgs;

static void at_start(AtTile *t, const ELEM *q, int64_t ld, int64_t rows)
{
	at_transpose(t->qt, q, ld, HEAD_DIM, rows, (float)(SCALE) * AT_LOG2E);
	memset(t->o, 0, sizeof t->o);
	memset(t->l, 0, sizeof t->l);
	for (int i = 0; i < LANES; i++)
		t->m[i] = AT_LOW;
}

/* at_softmax - one vector of lanes: scores s[nk][LANES] become 2^(s - m), with m, l and the factor
 * f brought up to date. words (or NULL) says which keys a lane sees. */
AT_INLINE void at_softmax(float *s, int64_t nk, const uint32_t *words, float *m, float *l, float *f)
{
	Vf old = v_load(m), top = old, sum;

	for (int64_t j = 0; j < nk; j++) {
		Vf x = v_load(s + j * LANES);
		if (words) {
			Vi w = (Vi)v_load((const float *)words + j / 32 * LANES);
			x = at_seen(x, w, (int)(j % 32));
			v_store(s + j * LANES, x);
		}
		top = v_max(top, x);
	}
	Vf factor = at_exp2(old - top);
	sum = v_load(l) * factor;
	for (int64_t j = 0; j < nk; j++) {
		Vf p = at_exp2(v_load(s + j * LANES) - top);
		v_store(s + j * LANES, at_factor(p));
		sum += p;
	}
	v_store(m, top);
	v_store(l, sum);
	v_store(f, factor);
}

/* at_attend - adds the nk packed keys of w->k, w->v to a tile; the lower half of its lanes sees the
 * first `low` of them. */
static void at_attend(AtScratch *w, AtTile *t, int64_t low, int64_t nk, const uint32_t *words)
{
	int64_t up = AT_ROUND(nk, AT_ROWS);

	at_scores(low < nk ? low : up, up, AT_LIVE, HEAD_DIM, w->k, AT_HP, t->qt, w->s);
	for (int i = 0; i < AT_LIVE; i += VW) {
		int64_t n = i < LANES / 2 ? low : nk;
		if (words)
			at_softmax(w->s + i, n, words + i, t->m + i, t->l + i, w->f + i);
		else
			at_softmax(w->s + i, n, NULL, t->m + i, t->l + i, w->f + i);
	}
	at_gather(low, nk, AT_LIVE, w->s, w->v, AT_VP, t->o, 2, w->f);
}

/* at_finish - writes o and lse of the first `rows` lanes, whose rows are ld heads apart. */
static void at_finish(const AtTile *t, int64_t rows, int64_t ld, ELEM *o, float *lse)
{
	for (int64_t i = 0; i < rows; i++) {
		float l = t->l[i], inv = l == 0 ? 0 : 1 / l;
		for (int h = 0; h < V_DIM; h++)
			elem_put(o + i * ld * V_DIM + h, t->o[i * AT_VP + h] * inv);
		lse[i * ld] = l == 0 ? 0 : t->m[i] * AT_LN2 + logf(l);
	}
}

#if GATHER

static void at_token(const AtArgs *a, AtScratch *w, int64_t t, int64_t g)
{
	int64_t pos = a->env->pos[t], first = t - pos, head = g * AT_GROUP;
	int64_t n = at_list(w->list, a->sel + t * SELW, 0, pos + 1);
	const ELEM *k = a->k + (first * KV_HEADS + g) * HEAD_DIM;
	const ELEM *v = a->v + (first * KV_HEADS + g) * V_DIM;

	for (int i = 0; i < AT_TILES; i++) {
		int64_t h = head + i * LANES, rows = AT_GROUP - i * LANES;
		at_start(&w->tile[i], a->q + (t * HEADS + h) * HEAD_DIM, HEAD_DIM,
		         rows < LANES ? rows : LANES);
	}
	for (int64_t j = 0; j < n; j += BLOCK) {
		int64_t nk = n - j < BLOCK ? n - j : BLOCK;
		at_pack(w->k, AT_HP, AT_ROUND(nk, AT_ROWS), k, KV_HEADS * HEAD_DIM, HEAD_DIM, nk,
		        w->list + j);
		at_pack(w->v, AT_VP, nk, v, KV_HEADS * V_DIM, V_DIM, nk, w->list + j);
		for (int i = 0; i < AT_TILES; i++)
			at_attend(w, &w->tile[i], nk, nk, NULL);
	}
	for (int i = 0; i < AT_TILES; i++) {
		int64_t h = t * HEADS + head + i * LANES, rows = AT_GROUP - i * LANES;
		at_finish(&w->tile[i], rows < LANES ? rows : LANES, 1, a->o + h * V_DIM, a->lse + h);
	}
}

static void at_job(void *ctx, int64_t job, int thread)
{
	const AtArgs *a = ctx;
	AtScratch *w = rt_scratch(a->pool, thread);
	int64_t g = job % KV_HEADS, t = job / KV_HEADS * AT_TOKENS;
	int64_t end = t + AT_TOKENS < a->env->T ? t + AT_TOKENS : a->env->T;

	for (; t < end; t++)
		at_token(a, w, t, g);
}

#else

/* at_block - adds keys k0 .. k0+nk-1 of a document to the tiles that may see them. The document
 * starts at token `first`, the tiles at its query q0; `end` is the end of its queries here. */
static void at_block(const AtArgs *a, AtScratch *w, int64_t first, int64_t q0, int64_t end,
                     int64_t k0, int64_t nk)
{
	for (int i = 0; i < AT_TILES; i++) {
		int64_t q = q0 + i * LANES, see = q + LANES - k0, rows = end - q;
		if (rows <= 0)
			return;
		if (see <= 0)
			continue;
		see = see < nk ? see : nk;
		if (!a->sel && k0 + see - 1 <= q) {
			at_attend(w, &w->tile[i], see, see, NULL);
			continue;
		}
		at_words(w->words, q, rows < LANES ? rows : LANES, k0, see,
		         a->sel ? a->sel + (first + q) * SELW : NULL, SELW);
		at_attend(w, &w->tile[i], at_low(q, k0, see), see, w->words);
	}
}

static void at_job(void *ctx, int64_t job, int thread)
{
	const AtArgs *a = ctx;
	AtScratch *w = rt_scratch(a->pool, thread);
	int64_t n = job / a->slots, g = n / AT_GROUP;
	int32_t d;
	/* later queries have more keys: they start first */
	int64_t q0 = at_document(a->env->cu, a->env->ndoc, AT_QUERIES, a->slots - 1 - job % a->slots,
	                         &d) * AT_QUERIES;
	int64_t first = a->env->cu[d], len = a->env->cu[d + 1] - first;
	int64_t end = q0 + AT_QUERIES < len ? q0 + AT_QUERIES : len;
	const ELEM *q = a->q + (first * HEADS + n) * HEAD_DIM;

	if (q0 >= len)
		return;
	for (int64_t i = q0; i < end; i += LANES)
		at_start(&w->tile[(i - q0) / LANES], q + i * HEADS * HEAD_DIM, HEADS * HEAD_DIM,
		         end - i < LANES ? end - i : LANES);
	for (int64_t k0 = 0; k0 < end; k0 += BLOCK) {
		int64_t nk = end - k0 < BLOCK ? end - k0 : BLOCK, row = (first + k0) * KV_HEADS + g;
		at_pack(w->k, AT_HP, AT_ROUND(nk, AT_ROWS), a->k + row * HEAD_DIM,
		        KV_HEADS * HEAD_DIM, HEAD_DIM, nk, NULL);
		at_pack(w->v, AT_VP, nk, a->v + row * V_DIM, KV_HEADS * V_DIM, V_DIM, nk, NULL);
		at_block(a, w, first, q0, end, k0, nk);
	}
	for (int64_t i = q0; i < end; i += LANES) {
		int64_t h = (first + i) * HEADS + n;
		at_finish(&w->tile[(i - q0) / LANES], end - i < LANES ? end - i : LANES, HEADS,
		          a->o + h * V_DIM, a->lse + h);
	}
}

#endif

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	void *const *arg = c->arg;
	AtArgs a = { .q = arg[0], .k = arg[1], .v = arg[2], .sel = SELW ? arg[3] : NULL,
	             .o = arg[SELW ? 4 : 3], .lse = arg[SELW ? 5 : 4], .env = c->env,
	             .pool = c->pool };

#if GATHER
	rt_parallel(c->pool, (a.env->T + AT_TOKENS - 1) / AT_TOKENS * KV_HEADS, at_job, &a);
#else
	a.slots = a.env->T / AT_QUERIES + a.env->ndoc;
	if (a.env->T > 0)
		rt_parallel(c->pool, a.slots * HEADS, at_job, &a);
#endif
}
