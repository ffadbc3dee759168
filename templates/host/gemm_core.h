/* gemm_core.h - matrix products of float or bf16 elements, summed in float32, for the templates that contain one.
 *
 *   form 0  NT   c[i,j] = sum_k a[i,k] b[j,k]        forward: activations by weights
 *   form 1  NN   c[i,j] = sum_k a[i,k] b[k,j]        input gradient
 *   form 2  TN   c[i,j] = sum_k a[k,i] b[k,j]        weight gradient, k over the rows
 *
 * Order: every element is one chain of fused multiply-adds, k ascending, started from c when
 * accumulating and from 0 otherwise. It does not depend on tiles, neighbours or threads, so a row's
 * result does not depend on its batch, and a sum over rows may be cut in calls anywhere.
 *
 * An addend d (GEMM_ADDEND) is added to the whole sum, as a sum of its own would be, before a result in bf16 is
 * rounded.
 *
 * Shape: tiles of at most GEMM_MR x GEMM_NR elements in registers; panels of GEMM_NR columns of b are
 * packed in thread scratch (transposed by vectors for form 0), at most GEMM_KC deep and as many as fit; a
 * is read in place if it is float. Flops per byte from the second-level cache: a panel row of GEMM_NR floats feeds
 * GEMM_MR * GEMM_NR multiply-adds. Rows are shared out evenly among tiles: 25 rows are 9 + 8 + 8, not 12 + 12 + 1.
 *
 * Memory: products of few rows (experts) are fed by it, so a tile fetches ahead: the part of c that the
 * next tile updates, and, a line per step of k, the next panel of b.
 *
 * Operands in bf16 are widened when they are packed, b with its panel and a with its tile of rows; a result in
 * bf16 is rounded once, from the whole sum, so its panels are as deep as the sum: the file says how deep
 * (GEMM_DEPTH). Such a result is not added to what c holds.
 */
#ifndef GLMC_GEMM_CORE_H
#define GLMC_GEMM_CORE_H

#include <string.h>

#include "lanes.h"
#include "rt_kernel.h"

/* Which of a, b, c are bf16. */
#define GEMM_HALF_A 1
#define GEMM_HALF_B 2
#define GEMM_HALF_C 4

/* A file whose products are all of one form, of the same elements, or have the same number of columns, says
 * so, to spare the compiler work. */
#ifdef GEMM_FORM
#define GEMM_FORM_OF(g) GEMM_FORM
#else
#define GEMM_FORM_OF(g) ((g)->form)
#endif
#ifndef GEMM_HALVES_OF
#define GEMM_HALVES_OF(g) ((g)->halves)
#endif
#ifndef GEMM_ADDEND
#define GEMM_ADDEND 0
#define GEMM_ADDEND_HALF 0
#endif
#define GEMM_IS_HALF(g, which) ((GEMM_HALVES_OF(g) & (which)) != 0)
#ifdef GEMM_COLUMNS
#define GEMM_RAGGED (GEMM_COLUMNS % GEMM_NR != 0)
#define GEMM_NARROW (GEMM_RAGGED && GEMM_COLUMNS % GEMM_NR <= VW)
#else
#define GEMM_RAGGED 1
#define GEMM_NARROW 1
#endif

#define GEMM_NV 2                       /* vectors in a row of the tile */
#define GEMM_NR (GEMM_NV * VW)
#if VW == 16
#define GEMM_MR 12
#else
#define GEMM_MR 6
#endif
#ifdef GEMM_DEPTH
#define GEMM_KC (GEMM_DEPTH > 512 ? GEMM_DEPTH : 512)
#else
#define GEMM_KC 512
#endif
#define GEMM_STEP 16                    /* steps of k, and lines fetched meanwhile */
#define GEMM_SCRATCH (GEMM_KC * (GEMM_NR + GEMM_MR) * 4)

typedef struct Gemm {
	int form, acc;           /* acc: add to c */
	int halves;              /* GEMM_HALF_A ..: which are bf16; the others are float */
	int64_t m, n, k;
	const void *a, *b;
	void *c;
	const void *d;           /* GEMM_ADDEND: what is added, rows as those of c, bf16 with GEMM_ADDEND_HALF; k > 0 */
	int64_t lda, ldb, ldc;   /* row strides, in elements */
} Gemm;

/* Element `at` of b, or the vector that begins there. */
static inline float gemm_b_elem(const Gemm *g, int64_t at)
{
	return GEMM_IS_HALF(g, GEMM_HALF_B) ? float_of(((const bf16 *)g->b)[at]) : ((const float *)g->b)[at];
}

static inline __attribute__((always_inline)) Vf gemm_b_vector(const Gemm *g, int64_t at)
{
	return GEMM_IS_HALF(g, GEMM_HALF_B) ? v_load_bf16((const bf16 *)g->b + at) : v_load((const float *)g->b + at);
}

/* Where element `at` of b and c is. */
static inline const char *gemm_b_at(const Gemm *g, int64_t at)
{
	return (const char *)g->b + at * (GEMM_IS_HALF(g, GEMM_HALF_B) ? 2 : 4);
}

static inline char *gemm_c_at(const Gemm *g, int64_t at)
{
	return (char *)g->c + at * (GEMM_IS_HALF(g, GEMM_HALF_C) ? 2 : 4);
}

/* Lines of memory to fetch ahead: `rows` runs of `lines` lines, `stride` bytes apart. */
typedef struct GemmAhead {
	const char *at;
	int64_t rows, lines, stride;
	int64_t line;            /* of the current run, done */
} GemmAhead;

static inline void gemm_fetch(GemmAhead *f)
{
	for (int i = 0; i < GEMM_STEP && f->rows; i++) {
		__builtin_prefetch(f->at + f->line * 64, 0, 2);
		if (++f->line < f->lines)
			continue;
		f->line = 0;
		f->at += f->stride;
		f->rows--;
	}
}

/* A panel of b at work: its columns j0 .. j0+nr-1, rows k0 .. k0+kn-1, packed. */
typedef struct GemmPanel {
	int64_t j0, nr, k0, kn;
	int first;               /* part of the sum over k */
	const float *b;          /* the packed columns */
	float *a;                /* rows of a tile, widened from bf16 */
	const char *next;        /* where the next tile of c begins */
	GemmAhead ahead;
} GemmPanel;

/* Rows of `width` bytes. Out of line: tiles are many. */
static __attribute__((noinline)) void gemm_copy(char *to, int64_t to_stride, const char *from, int64_t from_stride,
                                                int rows, int64_t width)
{
	for (int i = 0; i < rows; i++)
		memcpy(to + i * to_stride, from + i * from_stride, (size_t)width);
}

/* s[mr][nv] += a b for k = 0 .. kn-1. Element (i, k) of a is a[i*si + k*sk]; rows of it are reached three
 * from one pointer, which leaves them in registers. */
static inline __attribute__((always_inline)) void
gemm_sum(Vf s[GEMM_MR][GEMM_NV], const int mr, const int nv, int64_t kn, const float *a, int64_t si, int64_t sk,
         const float *b)
{
	const float *row[GEMM_MR / 3] = {a};
	for (int i = 1; i < GEMM_MR / 3; i++)
		row[i] = row[i - 1] + 3 * si;
	for (int64_t k = 0; k < kn; k++, b += GEMM_NR) {
		Vf y[GEMM_NV];
		for (int v = 0; v < nv; v++)
			y[v] = v_load(b + v * VW);
#pragma GCC unroll 12
		for (int i = 0; i < mr; i++) {
			const Vf x = v_set(row[i / 3][i % 3 * si]);
			for (int v = 0; v < nv; v++)
				s[i][v] += x * y[v];
		}
		for (int i = 0; i < (mr + 2) / 3; i++)
			row[i] += sk;
	}
}

/* s[mr][nv] += d, whose tile begins at element `at`. Where it has fewer columns, it goes by `edge`. */
static inline __attribute__((always_inline)) void
gemm_add(const Gemm *g, Vf s[GEMM_MR][GEMM_NV], const int mr, const int nv, int64_t at, int64_t nr, char *edge)
{
	const int half = GEMM_ADDEND_HALF, size = half ? 2 : 4, ragged = GEMM_RAGGED && nr < nv * VW;
	const int64_t ld = ragged ? GEMM_NR * size : g->ldc * size;
	const char *d = (const char *)g->d + at * size;
	if (ragged) {
		memset(edge, 0, GEMM_MR * GEMM_NR * 4);
		gemm_copy(edge, ld, d, g->ldc * size, mr, nr * size);
		d = edge;
	}
#pragma GCC unroll 12
	for (int i = 0; i < mr; i++)
		for (int v = 0; v < nv; v++) {
			const char *from = d + i * ld + v * VW * size;
			s[i][v] += half ? v_load_bf16((const bf16 *)(const void *)from) : v_load((const float *)(const void *)from);
		}
}

/* One tile: rows i0 .. i0+mr-1, nv vectors of columns. Where c has fewer columns, it is built in `edge`. */
static inline __attribute__((always_inline)) void
gemm_tile(const Gemm *g, const int form, const int mr, const int nv, int64_t i0, GemmPanel *p)
{
	const int half_a = GEMM_IS_HALF(g, GEMM_HALF_A), half_c = GEMM_IS_HALF(g, GEMM_HALF_C), size = half_c ? 2 : 4;
	const int add = !half_c && (!p->first || g->acc), ragged = GEMM_RAGGED && p->nr < nv * VW;
	const int last = GEMM_ADDEND && p->k0 + p->kn == g->k, size_d = GEMM_ADDEND_HALF ? 2 : 4;
	const char *d = g->d;
	const int64_t lda = !half_a ? g->lda : form == 2 ? GEMM_MR : p->kn;
	const int64_t si = form == 2 ? 1 : lda, sk = form == 2 ? lda : 1, stride = g->ldc * size;
	const float *a = half_a ? p->a : (const float *)g->a + i0 * si + p->k0 * sk;
	char edge[GEMM_RAGGED ? GEMM_MR * GEMM_NR * 4 : 1];
	char *c = gemm_c_at(g, i0 * g->ldc + p->j0), *to = ragged ? edge : c;
	const int64_t ld = ragged ? GEMM_NR * size : stride;
	Vf s[GEMM_MR][GEMM_NV];
	if (ragged && add) {
		memset(edge, 0, sizeof edge);
		gemm_copy(edge, ld, c, stride, mr, p->nr * size);
	}
#pragma GCC unroll 12
	for (int i = 0; i < mr; i++)
		for (int v = 0; v < nv; v++) {
			s[i][v] = add ? v_load((const float *)(void *)(to + i * ld) + v * VW) : v_set(0);
			__builtin_prefetch(p->next + i * stride + v * VW * size, 1, 3);
			if (last)
				__builtin_prefetch(d + (p->next - (char *)g->c + i * stride) / size * size_d + v * VW * size_d, 0, 3);
		}
	for (int64_t k = 0; k < p->kn; k += GEMM_STEP) {
		gemm_fetch(&p->ahead);
		gemm_sum(s, mr, nv, p->kn - k < GEMM_STEP ? p->kn - k : GEMM_STEP, a + k * sk, si, sk, p->b + k * GEMM_NR);
	}
	if (last)
		gemm_add(g, s, mr, nv, i0 * g->ldc + p->j0, p->nr, edge);
#pragma GCC unroll 12
	for (int i = 0; i < mr; i++)
		for (int v = 0; v < nv; v++) {
			if (half_c)
				v_store_bf16((bf16 *)(void *)(to + i * ld) + v * VW, s[i][v]);
			else
				v_store((float *)(void *)(to + i * ld) + v * VW, s[i][v]);
		}
	if (ragged)
		gemm_copy(c, stride, edge, ld, mr, p->nr * size);
}

#define GEMM_CASE(r) \
	case r: gemm_tile(g, form, r, nv, i0, p); break;

static inline __attribute__((always_inline)) void
gemm_tiles(const Gemm *g, const int form, int64_t mr, const int nv, int64_t i0, GemmPanel *p)
{
	switch (mr) {
		GEMM_CASE(1) GEMM_CASE(2) GEMM_CASE(3) GEMM_CASE(4) GEMM_CASE(5) GEMM_CASE(6)
#if GEMM_MR > 6
		GEMM_CASE(7) GEMM_CASE(8) GEMM_CASE(9) GEMM_CASE(10) GEMM_CASE(11) GEMM_CASE(12)
#endif
	}
}

/* Rows i0 .. i0+mr-1 of the panel. */
static void gemm_rows(const Gemm *g, int64_t mr, int64_t i0, GemmPanel *p)
{
	const int form = GEMM_FORM_OF(g);
	if (GEMM_NARROW && p->nr <= VW)
		gemm_tiles(g, form, mr, 1, i0, p);
	else
		gemm_tiles(g, form, mr, 2, i0, p);
}

/* Columns j0 .. j0+nr-1 of rows k0 .. k0+kn-1 of b, row by row; missing columns are 0. */
static void gemm_pack(const Gemm *g, int64_t j0, int64_t nr, int64_t k0, int64_t kn, float *panel)
{
	if (g->form != 0) {
		for (int64_t k = 0; k < kn; k++) {
			const int64_t from = (k0 + k) * g->ldb + j0;
			float *to = panel + k * GEMM_NR;
			if (nr == GEMM_NR) {
				for (int v = 0; v < GEMM_NV; v++)
					v_store(to + v * VW, gemm_b_vector(g, from + v * VW));
			} else {
				for (int64_t j = 0; j < GEMM_NR; j++)
					to[j] = j < nr ? gemm_b_elem(g, from + j) : 0;
			}
		}
		return;
	}
	int64_t whole = kn / VW * VW;
	for (int64_t j = 0; j < GEMM_NR; j += VW) {
		Vf t[VW];
		for (int64_t k = 0; k < whole; k += VW) {
			for (int r = 0; r < VW; r++)
				t[r] = j + r < nr ? gemm_b_vector(g, (j0 + j + r) * g->ldb + k0 + k) : v_set(0);
			v_transpose(t);
			for (int r = 0; r < VW; r++)
				v_store(panel + (k + r) * GEMM_NR + j, t[r]);
		}
		for (int64_t k = whole; k < kn; k++)
			for (int r = 0; r < VW; r++)
				panel[k * GEMM_NR + j + r] = j + r < nr ? gemm_b_elem(g, (j0 + j + r) * g->ldb + k0 + k) : 0;
	}
}

/* What to fetch while columns j .. j+width-1 of part k0 are at work, of the columns j0 .. j1-1 of the caller:
 * the columns behind them, else the first columns of the next part, else what follows the caller's columns:
 * other columns, or the next product of the stack, which begins behind this one. */
static GemmAhead gemm_ahead(const Gemm *g, const GemmPanel *p, int64_t j, int64_t width, int64_t j0, int64_t j1)
{
	int64_t jn = j + width, kn = p->k0;
	if (jn >= j1) {
		kn = p->k0 + p->kn < g->k ? p->k0 + p->kn : 0;
		jn = kn ? j0 : j1;
	}
	const int64_t line = GEMM_IS_HALF(g, GEMM_HALF_B) ? 32 : 16, stride = g->ldb * 64 / line;
	if (g->form == 0)
		return (GemmAhead){gemm_b_at(g, jn * g->ldb + kn), width, (p->kn + line - 1) / line, stride, 0};
	const int64_t at = jn < g->n ? jn : g->k * g->ldb;
	return (GemmAhead){gemm_b_at(g, at + kn * g->ldb), p->kn, (width + line - 1) / line, stride, 0};
}

/* Rows i0 .. i0+mr-1 of part k0 of a, widened: [mr][kn], or in form 2 [kn][GEMM_MR], where rows that follow
 * come along: then their number is constant. */
static void gemm_widen(const Gemm *g, const GemmPanel *p, int64_t mr, int64_t i0)
{
	const bf16 *a = (const bf16 *)g->a + (GEMM_FORM_OF(g) == 2 ? p->k0 * g->lda + i0 : i0 * g->lda + p->k0);
	if (GEMM_FORM_OF(g) == 2) {
		const int whole = i0 + GEMM_MR <= g->m;
		for (int64_t k = 0; whole && k < p->kn; k++)
			for (int i = 0; i < GEMM_MR; i++)
				p->a[k * GEMM_MR + i] = float_of(a[k * g->lda + i]);
		for (int64_t k = 0; !whole && k < p->kn; k++)
			for (int64_t i = 0; i < mr; i++)
				p->a[k * GEMM_MR + i] = float_of(a[k * g->lda + i]);
		return;
	}
	for (int64_t i = 0; i < mr; i++)
		for (int64_t k = 0; k < p->kn; k++)
			p->a[i * p->kn + k] = float_of(a[i * g->lda + k]);
}

/* Columns j0 .. j1-1, packed side by side, of rows m0 .. m1-1. */
static void gemm_block(const Gemm *g, GemmPanel *p, int64_t j0, int64_t j1, int64_t m0,
                       int64_t m1, const float *packed)
{
	int64_t tiles = (m1 - m0 + GEMM_MR - 1) / GEMM_MR;
	for (int64_t t = 0, i = m0; t < tiles; t++) {
		int64_t mr = (m1 - i) / (tiles - t) + ((m1 - i) % (tiles - t) != 0);
		p->b = packed;
		if (GEMM_IS_HALF(g, GEMM_HALF_A))
			gemm_widen(g, p, mr, i);
		for (p->j0 = j0; p->j0 < j1; p->j0 += GEMM_NR, p->b += p->kn * GEMM_NR) {
			p->nr = j1 - p->j0 < GEMM_NR ? j1 - p->j0 : GEMM_NR;
			p->next = gemm_c_at(g, p->j0 + GEMM_NR < j1 ? i * g->ldc + p->j0 + GEMM_NR : (i + mr) * g->ldc + j0);
			gemm_rows(g, mr, i, p);
		}
		i += mr;
	}
}

/* The result at columns j0 .. j1-1 of rows m0 .. m1-1: as many columns at a time as scratch holds. */
static void gemm_part(const Gemm *g, int64_t j0, int64_t j1, int64_t m0, int64_t m1,
                      float *scratch)
{
	GemmPanel p = {.first = 1, .a = scratch + GEMM_KC * GEMM_NR};
	for (int64_t i = m0; g->k == 0 && !g->acc && i < m1; i++)
		memset(gemm_c_at(g, i * g->ldc + j0), 0, (size_t)(gemm_c_at(g, j1) - gemm_c_at(g, j0)));
	for (; p.k0 < g->k; p.k0 += GEMM_KC, p.first = 0) {
		p.kn = g->k - p.k0 < GEMM_KC ? g->k - p.k0 : GEMM_KC;
		int64_t width = GEMM_KC / p.kn * GEMM_NR;
		for (int64_t j = j0; j < j1; j += width) {
			int64_t end = j + width < j1 ? j + width : j1;
			p.ahead = gemm_ahead(g, &p, j, end - j, j0, j1);
			for (int64_t at = j; at < end; at += GEMM_NR)
				gemm_pack(g, at, end - at < GEMM_NR ? end - at : GEMM_NR, p.k0, p.kn, scratch + (at - j) * p.kn);
			gemm_block(g, &p, j, end, m0, m1, scratch);
		}
	}
}

/* A product, or a stack of `count` of them made by `make`. Its units are (product, block of rows, panel of
 * columns), in this order; a job is a run of units. */
typedef struct GemmWork {
	const RtCall *ctx;
	const void *what;
	Gemm (*make)(const void *what, int64_t which);
	int64_t blocks, panels;  /* of a product */
	int64_t all, run;        /* units: all, of a job */
} GemmWork;

static void gemm_job(void *arg, int64_t job, int thread)
{
	const GemmWork *w = arg;
	int64_t end = (job + 1) * w->run < w->all ? (job + 1) * w->run : w->all;
	for (int64_t at = job * w->run, next; at < end; at = next) {
		int64_t panel = at % w->panels, block = at / w->panels % w->blocks;
		next = at - panel + w->panels < end ? at - panel + w->panels : end;
		Gemm g = w->make(w->what, at / w->panels / w->blocks);
		int64_t m0 = g.m * block / w->blocks, m1 = g.m * (block + 1) / w->blocks;
		int64_t j1 = (panel + next - at) * GEMM_NR < g.n ? (panel + next - at) * GEMM_NR : g.n;
		if (m0 < m1)
			gemm_part(&g, panel * GEMM_NR, j1, m0, m1, rt_scratch(w->ctx->pool, thread));
	}
}

/* Units of a job: neighbours, which share what they fetch, but no more than an eighth of a thread's share
 * of the work, even when one product of the stack has all the rows. */
static int64_t gemm_run_length(const GemmWork *w, int64_t count)
{
	int64_t sum = 0, most = 1;
	for (int64_t e = 0; e < count; e++) {
		Gemm g = w->make(w->what, e);
		sum += g.m * g.k;
		most = g.m * g.k > most ? g.m * g.k : most;
	}
	int64_t run = sum * w->panels * w->blocks / (most * 8 * rt_threads(w->ctx->pool));
	return run < 1 ? 1 : run;
}

/* Runs `count` products of n columns and about m rows. */
static void gemm_run(const RtCall *ctx, const void *what, Gemm (*make)(const void *what, int64_t which),
                     int64_t count, int64_t m, int64_t n)
{
	GemmWork w = {.ctx = ctx, .what = what, .make = make, .panels = (n + GEMM_NR - 1) / GEMM_NR, .blocks = 1};
	/* enough jobs that the last one to end does not hold up the rest; a block repacks its panel */
	while (count * w.panels * w.blocks < 4 * rt_threads(ctx->pool) && m / (w.blocks + 1) >= 8 * GEMM_MR)
		w.blocks++;
	w.all = count * w.panels * w.blocks;
	w.run = gemm_run_length(&w, count);
	rt_parallel(ctx->pool, (w.all + w.run - 1) / w.run, gemm_job, &w);
}

static inline Gemm gemm_same(const void *what, int64_t which)
{
	(void)which;
	return *(const Gemm *)what;
}

#endif
