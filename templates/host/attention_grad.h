/* attention_grad.h - the gradient of attention.h, with the probabilities recomputed from lse.
 *
 *     p = exp(SCALE q.k - lse)      dv[u] = sum_t p do[t]       delta[t] = do[t] . o[t]
 *     ds = p (do[t].v[u] - delta[t])    dq[t] = SCALE sum_u ds k[u]    dk[u] = SCALE sum_t ds q[t]
 *
 * per head; dk and dv are sums over the heads of their group too.
 *
 * arg: q ELEM[T,N,H], k ELEM[T,G,H], v ELEM[T,G,HV], o ELEM[T,N,HV], lse f32[T,N], do ELEM[T,N,HV],
 * [selection u32[T,SELW]], dq ELEM[T,N,H], dk ELEM[T,G,H], dv ELEM[T,G,HV] (written), and where ELEM is bf16
 * work f32[T, N*H + G*(H+HV)]: there they are summed, and rounded once.
 * Parameters: KERNEL, and those of attention_sizes.h.
 *
 * Work and order. Documents are cut in slabs of 256 tokens (128 where groups are few: more jobs). A
 * job is (group, slab of queries, slab of keys); it keeps dk and dv of its keys in scratch. Jobs
 * run in waves by the distance between the two slabs, 0 first: in one wave no two jobs share a
 * query slab or a key slab, so they add to dq, dk and dv without atomics, in an order that the
 * document alone determines. Within a job: heads, then tiles of queries, then blocks of keys, all
 * ascending.
 * With GATHER the tile is a token's heads, and the keys are the selected ones of the slab.
 * Scratch per thread: SCRATCH_BYTES, the size of AgScratch. With H', V' (H, HV rounded up to a
 * multiple of 16) and slab = G < 4 ? 128 : 256 it is at most
 *   4 * (2 * slab * (H' + V') + 32 * (H + HV + 2 * H' + V') + 64 * 64 + 128 + slab) + 64.
 */
#include "rt_kernel.h"

#include "attention_sizes.h"
#include "attention_tile.h"

#ifndef KERNEL
#define KERNEL attention_grad
#endif

enum {
	AG_SLAB = KV_HEADS < 4 ? 128 : 256, /* tokens of a slab, a multiple of BLOCK */
	AG_KEYS = GATHER ? BLOCK : AG_SLAB  /* keys packed at a time */
};

/* The tile at work: 32 rows of the softmax. Rows of q, dy and dq are padded to AT_HP, AT_VP. */
typedef struct AgTile {
	float qt[HEAD_DIM * LANES]; /* queries, transposed, times SCALE * log2(e) */
	float dyt[V_DIM * LANES];   /* do, transposed */
	float q[LANES * AT_HP];
	float dy[LANES * AT_VP];
	float dq[LANES * AT_HP];
	float lse[LANES];           /* base 2 */
	float delta[LANES];
	int64_t rows;               /* lanes that are not padding */
} AgTile;

typedef struct AgScratch {
	float k[AG_KEYS * AT_HP], v[AG_KEYS * AT_VP];
	float dk[AG_SLAB * AT_HP], dv[AG_SLAB * AT_VP];
	float p[BLOCK * LANES], ds[BLOCK * LANES];
	uint32_t words[BLOCK / 32 * LANES];
	AgTile tile;
#if GATHER
	float dk_row[BLOCK * AT_HP], dv_row[BLOCK * AT_VP];
	int32_t list[AG_SLAB];
#endif
} AgScratch;

#undef SCRATCH_BYTES
#define SCRATCH_BYTES (sizeof(AgScratch))

typedef struct AgArgs {
	const ELEM *q, *k, *v, *o, *dy;
	const float *lse;
	const uint32_t *sel; /* or NULL */
	void *const *out;    /* dq, dk, dv */
	float *dq, *dk, *dv; /* their sums: the results themselves, or work */
	const RtEnv *env;
	RtPool *pool;
	int64_t wave; /* distance of the slabs */
} AgArgs;

/* A job: slabs of a document. Numbers of keys and queries count from the document's start. */
typedef struct AgSlab {
	int64_t first;       /* token where the document starts */
	int64_t q0, q1;      /* queries */
	int64_t k0, k1;      /* keys */
	int64_t g;           /* group */
} AgSlab;

static float ag_dot(const ELEM *a, const ELEM *b)
{
	Vf sum[16 / VW] = { { 0 } };
	float out = 0;
	int h = 0;

	for (; h + 16 <= V_DIM; h += 16)
		for (int i = 0; i < 16 / VW; i++)
			sum[i] += v_get(a + h + i * VW) * v_get(b + h + i * VW);
	for (int i = 0; i < 16; i++)
		out += sum[i / VW][i % VW];
	for (; h < V_DIM; h++)
		out += elem_get(a[h]) * elem_get(b[h]);
	return out;
}

/* ag_load - fills the tile with `rows` softmax rows, the first of which is head n of token t; the
 * next ones are `step` rows of [T*N] further on. */
static void ag_load(const AgArgs *a, AgTile *x, int64_t row, int64_t step, int64_t rows)
{
	const ELEM *q = a->q + row * HEAD_DIM, *dy = a->dy + row * V_DIM, *o = a->o + row * V_DIM;

	x->rows = rows;
	at_transpose(x->qt, q, step * HEAD_DIM, HEAD_DIM, rows, (float)(SCALE) * AT_LOG2E);
	at_transpose(x->dyt, dy, step * V_DIM, V_DIM, rows, 1);
	at_pack(x->q, AT_HP, LANES, q, step * HEAD_DIM, HEAD_DIM, rows, NULL);
	at_pack(x->dy, AT_VP, LANES, dy, step * V_DIM, V_DIM, rows, NULL);
	memset(x->dq, 0, sizeof x->dq);
	for (int64_t i = 0; i < LANES; i++) {
		x->lse[i] = i < rows ? a->lse[row + i * step] * AT_LOG2E : -AT_LOW;
		x->delta[i] = i < rows ? ag_dot(dy + i * step * V_DIM, o + i * step * V_DIM) : 0;
	}
}

/* ag_softmax - one vector of lanes: scores in p and do.v in ds become p and ds. */
AT_INLINE void ag_softmax(float *p, float *ds, int64_t nk, const uint32_t *words, const float *lse,
                          const float *delta)
{
	Vf m = v_load(lse), d = v_load(delta);

	for (int64_t j = 0; j < nk; j++) {
		Vf x = v_load(p + j * LANES);
		if (words)
			x = at_seen(x, (Vi)v_load((const float *)words + j / 32 * LANES), (int)(j % 32));
		x = at_exp2(x - m);
		v_store(p + j * LANES, at_factor(x));
		v_store(ds + j * LANES, at_factor(x * (v_load(ds + j * LANES) - d)));
	}
}

/* ag_keys - dst[k][W] += sum over the lanes of s[k][lane] src[lane][W], with mode as in at_tile;
 * keys from `low` on have the upper half of the lanes only. */
AT_INLINE void ag_keys(int64_t low, int64_t nk, int64_t rows, const float *s, const float *src,
                       int W, float *dst, int mode)
{
	const int half = LANES / 2;

	at_product(low, W, rows, s, LANES, 1, src, W, dst, W, mode, s);
	if (low < nk)
		at_product(nk - low, W, rows - half, s + low * LANES + half, LANES, 1, src + half * W, W,
		           dst + low * W, W, mode, s);
}

/* ag_block - nk packed keys against the tile: adds to its dq, and to dk and dv (mode 1) or writes
 * them (mode 0), whose rows go with those of k and v. The lower half of the lanes sees the first
 * `low` keys. */
static void ag_block(AgScratch *w, const float *k, const float *v, float *dk, float *dv,
                     int64_t low, int64_t nk, const uint32_t *words, int mode)
{
	AgTile *x = &w->tile;
	int64_t up = AT_ROUND(nk, AT_ROWS), split = low < nk ? low : up;

	at_scores(split, up, AT_LIVE, HEAD_DIM, k, AT_HP, x->qt, w->p);
	at_scores(split, up, AT_LIVE, V_DIM, v, AT_VP, x->dyt, w->ds);
	for (int i = 0; i < AT_LIVE; i += VW) {
		int64_t n = i < LANES / 2 ? low : nk;
		if (words)
			ag_softmax(w->p + i, w->ds + i, n, words + i, x->lse + i, x->delta + i);
		else
			ag_softmax(w->p + i, w->ds + i, n, NULL, x->lse + i, x->delta + i);
	}
	memset(w->p + nk * LANES, 0, (size_t)((up - nk) * LANES) * sizeof(float));
	memset(w->ds + nk * LANES, 0, (size_t)((up - nk) * LANES) * sizeof(float));
	ag_keys(split, up, x->rows, w->p, x->dy, AT_VP, dv, mode);
	ag_keys(split, up, x->rows, w->ds, x->q, AT_HP, dk, mode);
	at_gather(low, nk, AT_LIVE, w->ds, k, AT_HP, x->dq, 1, w->ds);
}

/* ag_store - n rows of `padded` floats times `factor` to rows of `width`, ld apart: written in wave 0,
 * added later. */
AT_INLINE void ag_store(float *dst, int64_t ld, int width, const float *src, int padded, int64_t n,
                        int64_t wave, float factor)
{
	for (int64_t i = 0; i < n; i++)
		for (int h = 0; h < width; h++) {
			float x = src[i * padded + h] * factor;
			dst[i * ld + h] = wave ? dst[i * ld + h] + x : x;
		}
}

#if GATHER

/* ag_heads - `rows` heads from `row` of [T*N] on, of one token, against its n listed keys. */
static void ag_heads(const AgArgs *a, AgScratch *w, const AgSlab *s, int64_t row, int64_t rows,
                     int64_t n)
{
	const ELEM *k = a->k + (s->first * KV_HEADS + s->g) * HEAD_DIM;
	const ELEM *v = a->v + (s->first * KV_HEADS + s->g) * V_DIM;

	ag_load(a, &w->tile, row, 1, rows);
	for (int64_t j = 0; j < n; j += BLOCK) {
		int64_t nk = n - j < BLOCK ? n - j : BLOCK, up = AT_ROUND(nk, AT_ROWS);
		at_pack(w->k, AT_HP, up, k, KV_HEADS * HEAD_DIM, HEAD_DIM, nk, w->list + j);
		at_pack(w->v, AT_VP, up, v, KV_HEADS * V_DIM, V_DIM, nk, w->list + j);
		ag_block(w, w->k, w->v, w->dk_row, w->dv_row, nk, nk, NULL, 0);
		for (int64_t i = 0; i < nk; i++) {
			int64_t key = w->list[j + i] - s->k0;
			for (int h = 0; h < AT_HP; h++)
				w->dk[key * AT_HP + h] += w->dk_row[i * AT_HP + h];
			for (int h = 0; h < AT_VP; h++)
				w->dv[key * AT_VP + h] += w->dv_row[i * AT_VP + h];
		}
	}
	ag_store(a->dq + row * HEAD_DIM, HEAD_DIM, HEAD_DIM, w->tile.dq, AT_HP, rows, a->wave,
	         (float)(SCALE));
}

static void ag_pair(const AgArgs *a, AgScratch *w, const AgSlab *s)
{
	for (int64_t q = s->q0; q < s->q1; q++) {
		int64_t t = s->first + q, end = q + 1 < s->k1 ? q + 1 : s->k1;
		int64_t n = at_list(w->list, a->sel + t * SELW, s->k0, end);
		for (int64_t i = 0; i < AT_GROUP; i += LANES)
			ag_heads(a, w, s, t * HEADS + s->g * AT_GROUP + i,
			         AT_GROUP - i < LANES ? AT_GROUP - i : LANES, n);
	}
}

#else

/* ag_queries - a tile of queries q .. of head n against the slab of keys. */
static void ag_queries(const AgArgs *a, AgScratch *w, const AgSlab *s, int64_t n, int64_t q)
{
	int64_t rows = s->q1 - q < LANES ? s->q1 - q : LANES;
	int64_t row = (s->first + q) * HEADS + n;
	int64_t end = q + LANES < s->k1 ? q + LANES : s->k1;

	ag_load(a, &w->tile, row, HEADS, rows);
	for (int64_t k = s->k0; k < end; k += BLOCK) {
		int64_t i = k - s->k0, nk = end - k < BLOCK ? end - k : BLOCK;
		const uint32_t *words = a->sel || k + nk - 1 > q ? w->words : NULL;
		if (words)
			at_words(w->words, q, rows, k, nk,
			         a->sel ? a->sel + (s->first + q) * SELW : NULL, SELW);
		ag_block(w, w->k + i * AT_HP, w->v + i * AT_VP, w->dk + i * AT_HP, w->dv + i * AT_VP,
		         words ? at_low(q, k, nk) : nk, nk, words, 1);
	}
	ag_store(a->dq + row * HEAD_DIM, HEADS * HEAD_DIM, HEAD_DIM, w->tile.dq, AT_HP, rows, a->wave,
	         (float)(SCALE));
}

static void ag_pair(const AgArgs *a, AgScratch *w, const AgSlab *s)
{
	int64_t row = (s->first + s->k0) * KV_HEADS + s->g, nk = s->k1 - s->k0;
	int64_t up = AT_ROUND(nk, AT_ROWS);

	at_pack(w->k, AT_HP, up, a->k + row * HEAD_DIM, KV_HEADS * HEAD_DIM, HEAD_DIM, nk, NULL);
	at_pack(w->v, AT_VP, up, a->v + row * V_DIM, KV_HEADS * V_DIM, V_DIM, nk, NULL);
	for (int64_t n = s->g * AT_GROUP; n < (s->g + 1) * AT_GROUP; n++)
		for (int64_t q = s->q0; q < s->q1; q += LANES)
			ag_queries(a, w, s, n, q);
}

#endif

static void ag_job(void *ctx, int64_t job, int thread)
{
	const AgArgs *a = ctx;
	AgScratch *w = rt_scratch(a->pool, thread);
	int32_t d;
	int64_t b = at_document(a->env->cu, a->env->ndoc, AG_SLAB, job / KV_HEADS, &d);
	int64_t first = a->env->cu[d], len = a->env->cu[d + 1] - first;
	AgSlab s = { .first = first, .k0 = b * AG_SLAB, .q0 = (b + a->wave) * AG_SLAB,
	             .g = job % KV_HEADS };

	if (s.q0 >= len)
		return;
	s.k1 = s.k0 + AG_SLAB < len ? s.k0 + AG_SLAB : len;
	s.q1 = s.q0 + AG_SLAB < len ? s.q0 + AG_SLAB : len;
	memset(w->dk, 0, sizeof w->dk);
	memset(w->dv, 0, sizeof w->dv);
	ag_pair(a, w, &s);
	int64_t row = (first + s.k0) * KV_HEADS + s.g;
	ag_store(a->dk + row * HEAD_DIM, KV_HEADS * HEAD_DIM, HEAD_DIM, w->dk, AT_HP, s.k1 - s.k0, a->wave,
	         (float)(SCALE));
	ag_store(a->dv + row * V_DIM, KV_HEADS * V_DIM, V_DIM, w->dv, AT_VP, s.k1 - s.k0, a->wave,
	         1);
}

/* ag_round - job: 64 tokens of the sums in work, to the rounded results. */
static void ag_round(void *ctx, int64_t job, int thread)
{
	const AgArgs *a = ctx;
	const int width[] = { HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * V_DIM };
	const float *sum[] = { a->dq, a->dk, a->dv };
	int64_t t = job * 64, n = a->env->T - t < 64 ? a->env->T - t : 64;

	(void)thread;
	for (int k = 0; k < 3; k++)
		for (int64_t i = t * width[k]; i < (t + n) * width[k]; i++)
			elem_put((ELEM *)a->out[k] + i, sum[k][i]);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	void *const *arg = c->arg, *const *out = arg + (SELW ? 7 : 6);
	const RtEnv *env = c->env;
	AgArgs a = { .q = arg[0], .k = arg[1], .v = arg[2], .o = arg[3], .lse = arg[4], .dy = arg[5],
	             .sel = SELW ? arg[6] : NULL, .out = out, .dq = ELEM_HALF(ELEM) ? out[3] : out[0],
	             .env = env, .pool = c->pool };
	int64_t longest = 0, slots = env->T / AG_SLAB + env->ndoc;

	a.dk = ELEM_HALF(ELEM) ? a.dq + env->T * HEADS * HEAD_DIM : out[1];
	a.dv = ELEM_HALF(ELEM) ? a.dk + env->T * KV_HEADS * HEAD_DIM : out[2];
	for (int32_t d = 0; d < env->ndoc; d++)
		if (env->cu[d + 1] - env->cu[d] > longest)
			longest = env->cu[d + 1] - env->cu[d];
	for (a.wave = 0; a.wave * AG_SLAB < longest; a.wave++)
		rt_parallel(c->pool, slots * KV_HEADS, ag_job, &a);
	if (ELEM_HALF(ELEM))
		rt_parallel(c->pool, (env->T + 63) / 64, ag_round, &a);
}
