/* test_attention.c - attention.h and attention_grad.h against double loops, and their bits.
 *
 * One variant per executable: the macros of attention_sizes.h come from the command line, from a
 * line of variants_attention.txt. Checked for several packings of documents: values against naive
 * loops; equal bits for 1, 2 and 3 threads; equal bits when a document is computed alone; queries
 * that see nothing; that results are written everywhere and scratch is as small as documented.
 */
#include <math.h>

#define KERNEL attention_fwd
#include "attention.h"
#undef KERNEL
#define KERNEL attention_bwd
#include "attention_grad.h"

#include "pool.h"
#include "check.h"

#define DOCUMENTED_FWD                                                                          \
	(4 * (64 * (AT_HP + AT_VP + 32) + AT_TILES * 32 * (HEAD_DIM + AT_VP + 2) + 96) +            \
	 (GATHER ? 128 * SELW : 0))
#define DOCUMENTED_BWD                                                                          \
	(4 * (2 * AG_SLAB * (AT_HP + AT_VP) + 32 * (HEAD_DIM + V_DIM + 2 * AT_HP + AT_VP) +         \
	      64 * 64 + 128 + AG_SLAB) + 64)

_Static_assert(sizeof(AtScratch) <= DOCUMENTED_FWD, "scratch of attention.h as documented");
_Static_assert(sizeof(AgScratch) <= DOCUMENTED_BWD, "scratch of attention_grad.h as documented");

/* The tensors of one packing. */
typedef struct Data {
	int32_t ndoc, cu[16], pos[1024];
	int64_t T;
	uint32_t *sel;
	float *q, *k, *v, *dy;
	float *o, *lse, *dq, *dk, *dv;
} Data;

static size_t rows(const Data *d, int width)
{
	return (size_t)d->T * (size_t)width;
}

static int seen(const Data *d, int64_t first, int64_t t, int64_t u)
{
	if (u > t)
		return 0;
	return !d->sel || (d->sel[(first + t) * SELW + u / 32] >> (u % 32) & 1);
}

/* Every query selects a random half or tenth of the keys; one in 11 selects nothing. Bits
 * beyond the diagonal are noise that kernels must not look at. */
static void select_random(Data *d)
{
	size_t n = (size_t)d->T * SELW;

	d->sel = SELW ? malloc((n + 1) * sizeof *d->sel) : NULL;
	for (size_t i = 0; SELW && i < n; i++) {
		size_t t = i / (SELW ? SELW : 1);
		d->sel[i] = check_random() & (t % 3 ? check_random() & check_random() : ~0u);
		if (t % 11 == 7)
			d->sel[i] = 0;
	}
}

static void data_new(Data *d, const int *docs)
{
	*d = (Data){ 0 };
	for (; docs[d->ndoc] > 0; d->ndoc++) {
		for (int i = 0; i < docs[d->ndoc]; i++)
			d->pos[d->T + i] = i;
		d->T += docs[d->ndoc];
		d->cu[d->ndoc + 1] = (int32_t)d->T;
	}
	d->q = check_values(rows(d, HEADS * HEAD_DIM), 1);
	d->k = check_values(rows(d, KV_HEADS * HEAD_DIM), 1);
	d->v = check_values(rows(d, KV_HEADS * V_DIM), 1);
	d->dy = check_values(rows(d, HEADS * V_DIM), 1);
	select_random(d);
}

static void outputs_new(Data *d)
{
	d->o = check_garbage(rows(d, HEADS * V_DIM));
	d->lse = check_garbage(rows(d, HEADS));
	d->dq = check_garbage(rows(d, HEADS * HEAD_DIM));
	d->dk = check_garbage(rows(d, KV_HEADS * HEAD_DIM));
	d->dv = check_garbage(rows(d, KV_HEADS * V_DIM));
}

static void outputs_free(Data *d)
{
	free(d->o);
	free(d->lse);
	free(d->dq);
	free(d->dk);
	free(d->dv);
}

static void data_free(Data *d)
{
	free(d->q);
	free(d->k);
	free(d->v);
	free(d->dy);
	free(d->sel);
}

static void run(Data *d, int threads)
{
	RtEnv env = { .T = d->T, .ndoc = d->ndoc, .cu = d->cu, .pos = d->pos };
	void *fwd[6] = { d->q, d->k, d->v }, *bwd[10] = { d->q, d->k, d->v, d->o, d->lse, d->dy };
	int f = 3, b = 6;

	if (SELW)
		fwd[f++] = bwd[b++] = d->sel;
	fwd[f++] = d->o;
	fwd[f++] = d->lse;
	bwd[b++] = d->dq;
	bwd[b++] = d->dk;
	bwd[b++] = d->dv;
	RtPool *pool = pool_new(threads, sizeof(AtScratch));
	pool->poison = 1;
	attention_fwd(&(RtCall){ .arg = fwd, .env = &env, .pool = pool });
	pool_free(pool);
	pool = pool_new(threads, sizeof(AgScratch));
	pool->poison = 1;
	attention_bwd(&(RtCall){ .arg = bwd, .env = &env, .pool = pool });
	pool_free(pool);
}

static double dot(const float *a, const float *b, int n)
{
	double s = 0;

	for (int i = 0; i < n; i++)
		s += (double)a[i] * (double)b[i];
	return s;
}

/* Doubles of the naive result. */
typedef struct Naive {
	double *o, *lse, *dq, *dk, *dv;
} Naive;

static void naive_row(const Data *d, Naive *r, int64_t first, int64_t t, int n)
{
	int64_t g = n / AT_GROUP, i = (first + t) * HEADS + n;
	double p[1024], top = -1e300, sum = 0, delta = 0;

	for (int64_t u = 0; u <= t; u++) {
		const float *k = d->k + ((first + u) * KV_HEADS + g) * HEAD_DIM;
		p[u] = seen(d, first, t, u) ? SCALE * dot(d->q + i * HEAD_DIM, k, HEAD_DIM) : -1e300;
		top = p[u] > top ? p[u] : top;
	}
	for (int64_t u = 0; u <= t; u++)
		sum += p[u] = p[u] > -1e300 ? exp(p[u] - top) : 0;
	r->lse[i] = sum > 0 ? top + log(sum) : 0;
	for (int64_t u = 0; u <= t; u++) {
		int64_t j = (first + u) * KV_HEADS + g;
		p[u] = sum > 0 ? p[u] / sum : 0;
		for (int h = 0; h < V_DIM; h++)
			r->o[i * V_DIM + h] += p[u] * (double)d->v[j * V_DIM + h];
	}
	for (int h = 0; h < V_DIM; h++)
		delta += r->o[i * V_DIM + h] * (double)d->dy[i * V_DIM + h];
	for (int64_t u = 0; u <= t; u++) {
		int64_t j = (first + u) * KV_HEADS + g;
		double ds = SCALE * p[u] * (dot(d->dy + i * V_DIM, d->v + j * V_DIM, V_DIM) - delta);
		for (int h = 0; h < V_DIM; h++)
			r->dv[j * V_DIM + h] += p[u] * (double)d->dy[i * V_DIM + h];
		for (int h = 0; h < HEAD_DIM; h++) {
			r->dq[i * HEAD_DIM + h] += ds * (double)d->k[j * HEAD_DIM + h];
			r->dk[j * HEAD_DIM + h] += ds * (double)d->q[i * HEAD_DIM + h];
		}
	}
}

static void check_naive(const Data *d)
{
	Naive r = { check_zeros(rows(d, HEADS * V_DIM)), check_zeros(rows(d, HEADS)),
	            check_zeros(rows(d, HEADS * HEAD_DIM)), check_zeros(rows(d, KV_HEADS * HEAD_DIM)),
	            check_zeros(rows(d, KV_HEADS * V_DIM)) };

	for (int32_t b = 0; b < d->ndoc; b++)
		for (int64_t t = 0; t < d->cu[b + 1] - d->cu[b]; t++)
			for (int n = 0; n < HEADS; n++)
				naive_row(d, &r, d->cu[b], t, n);
	check_close("o", d->o, r.o, rows(d, HEADS * V_DIM), 1e-6);
	check_close("lse", d->lse, r.lse, rows(d, HEADS), 1e-6);
	/* do.v - delta cancels, to nothing for a document of one token: its rounding is what remains */
	check_close("dq", d->dq, r.dq, rows(d, HEADS * HEAD_DIM), 5e-6);
	check_close("dk", d->dk, r.dk, rows(d, KV_HEADS * HEAD_DIM), 5e-6);
	check_close("dv", d->dv, r.dv, rows(d, KV_HEADS * V_DIM), 2e-6);
	free(r.o);
	free(r.lse);
	free(r.dq);
	free(r.dk);
	free(r.dv);
}

static void check_same(const char *what, const Data *a, const Data *b, int64_t first)
{
	check_bits(what, a->o + first * HEADS * V_DIM, b->o, rows(b, HEADS * V_DIM));
	check_bits(what, a->lse + first * HEADS, b->lse, rows(b, HEADS));
	check_bits(what, a->dq + first * HEADS * HEAD_DIM, b->dq, rows(b, HEADS * HEAD_DIM));
	check_bits(what, a->dk + first * KV_HEADS * HEAD_DIM, b->dk, rows(b, KV_HEADS * HEAD_DIM));
	check_bits(what, a->dv + first * KV_HEADS * V_DIM, b->dv, rows(b, KV_HEADS * V_DIM));
}

/* Document b computed alone gives the bits it had among the others. */
static void check_alone(const Data *all, int32_t b)
{
	int64_t first = all->cu[b];
	Data d = { .ndoc = 1, .T = all->cu[b + 1] - first,
	           .sel = SELW ? all->sel + first * SELW : NULL,
	           .q = all->q + first * HEADS * HEAD_DIM,
	           .k = all->k + first * KV_HEADS * HEAD_DIM,
	           .v = all->v + first * KV_HEADS * V_DIM,
	           .dy = all->dy + first * HEADS * V_DIM };

	d.cu[1] = (int32_t)d.T;
	for (int64_t i = 0; i < d.T; i++)
		d.pos[i] = (int32_t)i;
	outputs_new(&d);
	run(&d, 2);
	check_same("a document alone", all, &d, first);
	outputs_free(&d);
}

static void packing(const int *docs)
{
	Data d;

	data_new(&d, docs);
	outputs_new(&d);
	run(&d, 1);
	check_naive(&d);
	for (int threads = 2; threads <= 3; threads++) {
		Data again = d;
		outputs_new(&again);
		run(&again, threads);
		check_same("threads", &d, &again, 0);
		outputs_free(&again);
	}
	for (int32_t b = 0; b < d.ndoc; b++)
		check_alone(&d, b);
	outputs_free(&d);
	data_free(&d);
}

/* What is not finite stays visible: a NaN in a query makes that head's output NaN, and no other. */
static void not_finite(void)
{
	Data d;

	data_new(&d, (const int[]){ 40, 0 });
	outputs_new(&d);
	for (int64_t u = 0; SELW && u < d.T; u++)
		d.sel[u * SELW] |= 1;
	d.q[35 * HEADS * HEAD_DIM] = NAN;
	run(&d, 1);
	for (size_t i = 0; i < rows(&d, HEADS * V_DIM); i++)
		if (!isnan(d.o[i]) != !(i / V_DIM == 35 * HEADS))
			check_fail("NaN", i, (double)d.o[i], NAN);
	outputs_free(&d);
	data_free(&d);
}

int main(void)
{
	not_finite();
	packing((const int[]){ 0 });
	packing((const int[]){ 1, 0 });
	packing((const int[]){ 5, 1, 33, 1, 1, 64, 2, 0 });
	packing((const int[]){ 31, 32, 33, 9, 127, 0 });
	packing((const int[]){ 70, 300, 0 });
	packing((const int[]){ 530, 0 });
	return check_done("attention");
}
