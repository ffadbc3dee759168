/* gemm_core.h - matrix products in float32 for the templates that contain one.
 *
 *   form 0  NT   c[i,j] = sum_k a[i,k] b[j,k]        forward: activations by weights
 *   form 1  NN   c[i,j] = sum_k a[i,k] b[k,j]        input gradient
 *   form 2  TN   c[i,j] = sum_k a[k,i] b[k,j]        weight gradient, k over the rows
 *
 * Order: every element is one chain of fused multiply-adds, k ascending, started from c when
 * accumulating and from 0 otherwise. It does not depend on tiles, neighbours or threads, so a row's
 * result does not depend on its batch, and a sum over rows may be cut in calls anywhere.
 *
 * Shape: tiles of GEMM_MR x GEMM_NR elements in registers; a panel of GEMM_NR columns of b, GEMM_KC
 * deep, is packed in thread scratch (transposed by vectors for form 0); a is read in place. A job is
 * a panel and a range of rows. Flops per byte from the second-level cache: a panel row of GEMM_NR
 * floats feeds GEMM_MR * GEMM_NR multiply-adds.
 *
 * A kernel may define GEMM_EPI(v, i, j) before including this file: the value stored for element
 * (i, j) whose sum is v; `gemm_ctx` (const RtCall *) is in scope.
 */
#ifndef GLMC_GEMM_CORE_H
#define GLMC_GEMM_CORE_H

#include <string.h>

#include "lanes.h"
#include "rt_kernel.h"

#define GEMM_NV 2                       /* vectors in a row of the tile */
#define GEMM_NR (GEMM_NV * VW)
#if VW == 16
#define GEMM_MR 12
#else
#define GEMM_MR 6
#endif
#define GEMM_KC 512
#define GEMM_SCRATCH (GEMM_KC * GEMM_NR * 4)

typedef struct Gemm {
	int form, acc;           /* acc: add to c */
	int64_t m, n, k;
	const float *a, *b;
	float *c;
	int64_t lda, ldb, ldc;   /* row strides */
} Gemm;

/* One tile: rows i0 .. i0+mr-1, panel columns 0 .. nr-1 at column j0. */
static inline __attribute__((always_inline)) void
gemm_tile(const Gemm *g, const RtCall *gemm_ctx, const int mr, int64_t i0, int64_t j0, int64_t nr, int64_t k0,
          int64_t kn, const float *panel, int first, int last)
{
	const int64_t si = g->form == 2 ? 1 : g->lda, sk = g->form == 2 ? g->lda : 1;
	const float *a = g->a + i0 * si + k0 * sk;
	float *c = g->c + i0 * g->ldc + j0;
	Vf s[GEMM_MR][GEMM_NV];
	float edge[GEMM_NR];
	(void)gemm_ctx;
	(void)last;
	for (int i = 0; i < mr; i++) {
		const float *from = c + i * g->ldc;
		if (first && !g->acc) {
			for (int v = 0; v < GEMM_NV; v++)
				s[i][v] = v_set(0);
			continue;
		}
		if (nr < GEMM_NR) {
			memset(edge, 0, sizeof edge);
			memcpy(edge, from, (size_t)nr * 4);
			from = edge;
		}
		for (int v = 0; v < GEMM_NV; v++)
			s[i][v] = v_load(from + v * VW);
	}
	for (int64_t k = 0; k < kn; k++) {
		Vf b[GEMM_NV];
		for (int v = 0; v < GEMM_NV; v++)
			b[v] = v_load(panel + k * GEMM_NR + v * VW);
#pragma GCC unroll 12
		for (int i = 0; i < mr; i++) {
			const Vf x = v_set(a[i * si + k * sk]);
			for (int v = 0; v < GEMM_NV; v++)
				s[i][v] += x * b[v];
		}
	}
	for (int i = 0; i < mr; i++) {
		float *to = nr < GEMM_NR ? edge : c + i * g->ldc;
		for (int v = 0; v < GEMM_NV; v++)
			v_store(to + v * VW, s[i][v]);
#ifdef GEMM_EPI
		if (last)
			for (int64_t j = 0; j < nr; j++)
				to[j] = GEMM_EPI(to[j], i0 + i, j0 + j);
#endif
		if (nr < GEMM_NR)
			memcpy(c + i * g->ldc, edge, (size_t)nr * 4);
	}
}

#define GEMM_CASE(r) \
	case r: gemm_tile(g, ctx, r, i0, j0, nr, k0, kn, panel, first, last); break;

static void gemm_edge(const Gemm *g, const RtCall *ctx, int64_t mr, int64_t i0, int64_t j0, int64_t nr,
                      int64_t k0, int64_t kn, const float *panel, int first, int last)
{
	switch (mr) {
		GEMM_CASE(1) GEMM_CASE(2) GEMM_CASE(3) GEMM_CASE(4) GEMM_CASE(5)
#if GEMM_MR > 6
		GEMM_CASE(6) GEMM_CASE(7) GEMM_CASE(8) GEMM_CASE(9) GEMM_CASE(10) GEMM_CASE(11)
#endif
	}
}

/* Columns j0 .. j0+nr-1 of rows k0 .. k0+kn-1 of b, row by row; missing columns are 0. */
static void gemm_pack(const Gemm *g, int64_t j0, int64_t nr, int64_t k0, int64_t kn, float *panel)
{
	if (g->form != 0) {
		for (int64_t k = 0; k < kn; k++) {
			const float *from = g->b + (k0 + k) * g->ldb + j0;
			float *to = panel + k * GEMM_NR;
			if (nr == GEMM_NR) {
				for (int v = 0; v < GEMM_NV; v++)
					v_store(to + v * VW, v_load(from + v * VW));
			} else {
				memset(to, 0, GEMM_NR * 4);
				memcpy(to, from, (size_t)nr * 4);
			}
		}
		return;
	}
	int64_t whole = kn / VW * VW;
	for (int64_t j = 0; j < GEMM_NR; j += VW) {
		Vf t[VW];
		for (int64_t k = 0; k < whole; k += VW) {
			for (int r = 0; r < VW; r++)
				t[r] = j + r < nr ? v_load(g->b + (j0 + j + r) * g->ldb + k0 + k) : v_set(0);
			v_transpose(t);
			for (int r = 0; r < VW; r++)
				v_store(panel + (k + r) * GEMM_NR + j, t[r]);
		}
		for (int64_t k = whole; k < kn; k++)
			for (int r = 0; r < VW; r++)
				panel[k * GEMM_NR + j + r] = j + r < nr ? g->b[(j0 + j + r) * g->ldb + k0 + k] : 0;
	}
}

/* Rows m0 .. m1-1 of the panel of columns at j0. */
static void gemm_panel(const Gemm *g, const RtCall *ctx, int64_t j0, int64_t m0, int64_t m1, float *panel)
{
	int64_t nr = g->n - j0 < GEMM_NR ? g->n - j0 : GEMM_NR;
	if (g->k == 0 && !g->acc)
		for (int64_t i = m0; i < m1; i++)
			memset(g->c + i * g->ldc + j0, 0, (size_t)nr * 4);
	for (int64_t k0 = 0; k0 < g->k; k0 += GEMM_KC) {
		int64_t kn = g->k - k0 < GEMM_KC ? g->k - k0 : GEMM_KC, i = m0;
		int first = k0 == 0, last = k0 + kn == g->k;
		gemm_pack(g, j0, nr, k0, kn, panel);
		if (nr == GEMM_NR)
			for (; i + GEMM_MR <= m1; i += GEMM_MR)
				gemm_tile(g, ctx, GEMM_MR, i, j0, GEMM_NR, k0, kn, panel, first, last);
		else
			for (; i + GEMM_MR <= m1; i += GEMM_MR)
				gemm_tile(g, ctx, GEMM_MR, i, j0, nr, k0, kn, panel, first, last);
		gemm_edge(g, ctx, m1 - i, i, j0, nr, k0, kn, panel, first, last);
	}
}

/* A product, or a stack of `count` of them made by `make`, split in jobs. */
typedef struct GemmWork {
	const RtCall *ctx;
	const void *what;
	Gemm (*make)(const void *what, int64_t which);
	int64_t panels, blocks;  /* jobs per product */
} GemmWork;

static void gemm_job(void *arg, int64_t job, int thread)
{
	const GemmWork *w = arg;
	int64_t which = job / (w->panels * w->blocks), part = job % (w->panels * w->blocks);
	int64_t panel = part / w->blocks, block = part % w->blocks;
	Gemm g = w->make(w->what, which);
	int64_t tiles = (g.m + GEMM_MR - 1) / GEMM_MR, per = (tiles + w->blocks - 1) / w->blocks * GEMM_MR;
	int64_t m0 = block * per, m1 = m0 + per < g.m ? m0 + per : g.m;
	if (m0 < m1)
		gemm_panel(&g, w->ctx, panel * GEMM_NR, m0, m1, rt_scratch(w->ctx->pool, thread));
}

/* Runs `count` products of n columns and at most m rows. */
static void gemm_run(const RtCall *ctx, const void *what, Gemm (*make)(const void *what, int64_t which),
                     int64_t count, int64_t m, int64_t n)
{
	GemmWork w = {.ctx = ctx, .what = what, .make = make, .panels = (n + GEMM_NR - 1) / GEMM_NR, .blocks = 1};
	/* enough jobs that the last one to end does not hold up the rest; a block repacks its panel */
	while (count * w.panels * w.blocks < 4 * rt_threads(ctx->pool) && m / (w.blocks + 1) >= 8 * GEMM_MR)
		w.blocks++;
	rt_parallel(ctx->pool, count * w.panels * w.blocks, gemm_job, &w);
}

static inline Gemm gemm_same(const void *what, int64_t which)
{
	(void)which;
	return *(const Gemm *)what;
}

#endif
