/* test_attention.c - attention.h and attention_grad.h against double loops, and their bits.
 *
 * One variant per executable: the macros of attention_sizes.h come from the command line, from a
 * line of variants_attention.txt. Checked for several packings of documents: values against naive
 * loops; equal bits for 1, 2 and 3 threads; equal bits when a document is computed alone; queries
 * that see nothing; that results are written everywhere and scratch is as small as documented.
 * With ELEM bf16 the loops round what the templates round.
 */
#include <math.h>

#define KERNEL attention_fwd
#include "attention.h"
#undef KERNEL
#define KERNEL attention_bwd
#include "attention_grad.h"

#include "pool.h"
#include "elems.h"

enum { HALF = ELEM_HALF(ELEM) };

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
	d->q = elems_values(rows(d, HEADS * HEAD_DIM), 1, HALF);
	d->k = elems_values(rows(d, KV_HEADS * HEAD_DIM), 1, HALF);
	d->v = elems_values(rows(d, KV_HEADS * V_DIM), 1, HALF);
	d->dy = elems_values(rows(d, HEADS * V_DIM), 1, HALF);
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

static void call(RtKernel *kernel, void **arg, const RtEnv *env, int threads, size_t scratch)
{
	RtPool *pool = pool_new(threads, scratch);

	pool->poison = 1;
	kernel(&(RtCall){ .arg = arg, .env = env, .pool = pool });
	pool_free(pool);
}

static void run(Data *d, int threads)
{
	const size_t nq = rows(d, HEADS * HEAD_DIM), nk = rows(d, KV_HEADS * HEAD_DIM), nv = rows(d, KV_HEADS * V_DIM);
	const size_t no = rows(d, HEADS * V_DIM);
	RtEnv env = { .T = d->T, .ndoc = d->ndoc, .cu = d->cu, .pos = d->pos };
	void *q = elems_new(d->q, nq, HALF), *k = elems_new(d->k, nk, HALF), *v = elems_new(d->v, nv, HALF);
	void *o = elems_new(d->o, no, HALF), *dy = elems_new(d->dy, no, HALF), *dq = elems_new(d->dq, nq, HALF);
	void *dk = elems_new(d->dk, nk, HALF), *dv = elems_new(d->dv, nv, HALF), *work = check_garbage(nq + nk + nv);
	void *fwd[6] = { q, k, v, o, d->lse }, *bwd[11] = { q, k, v, o, d->lse, dy, dq, dk, dv, work };

	if (SELW) {
		memcpy(fwd, (void *[]){ q, k, v, d->sel, o, d->lse }, sizeof fwd);
		memcpy(bwd, (void *[]){ q, k, v, o, d->lse, dy, d->sel, dq, dk, dv, work }, sizeof bwd);
	}
	call(attention_fwd, fwd, &env, threads, sizeof(AtScratch));
	call(attention_bwd, bwd, &env, threads, sizeof(AgScratch));
	free(q);
	free(k);
	free(v);
	free(dy);
	free(work);
	elems_take(d->o, o, no, HALF);
	elems_take(d->dq, dq, nq, HALF);
	elems_take(d->dk, dk, nk, HALF);
	elems_take(d->dv, dv, nv, HALF);
}

static double dot(const float *a, const float *b, int n)
{
	double s = 0;

	for (int i = 0; i < n; i++)
		s += (double)a[i] * (double)b[i];
	return s;
}

/* The naive result. */
typedef struct Naive {
	Sum *o, *lse, *dq, *dk, *dv;
} Naive;

/* Kernels have scores, and their sums with -lse, to about this: as large as 8, in float32. */
#define SCORE_ERROR 2e-6

static void add_row(Sum *to, Sum factor, const float *x, int n)
{
	for (int h = 0; h < n; h++)
		sum_add(&to[h], factor, (double)x[h]);
}

/* o = sum_u p v. Where keys are summed in blocks, p / (largest score so far) is what is rounded. */
static void naive_output(const Data *d, Sum *o, int64_t key, int64_t n, const double *s, double lse)
{
	double top = -1e300;

	for (int64_t u = 0, end; u < n; u = end) {
		int64_t seen_keys = 0;
		for (end = u; end < n && (GATHER ? seen_keys : end - u) < BLOCK; end++) {
			seen_keys += s[end] > -1e300;
			top = s[end] > top ? s[end] : top;
		}
		for (int64_t x = u; x < end; x++) {
			double p = s[x] > -1e300 ? exp(s[x] - top) : 0;
			Sum f = round_about(p, SCORE_ERROR * p, HALF);
			f.value *= exp(top - lse);
			f.slack *= exp(top - lse);
			add_row(o, f, d->v + (key + x * KV_HEADS) * V_DIM, V_DIM);
		}
	}
}

/* The gradient of a row whose o is the kernel's own: ds depends on how it was rounded. */
static void naive_grad(const Data *d, Naive *r, int64_t i, int64_t key, int64_t n, const double *s, double lse)
{
	const float *dy = d->dy + i * V_DIM;
	double delta = dot(dy, d->o + i * V_DIM, V_DIM);

	for (int64_t u = 0; u < n; u++) {
		int64_t j = key + u * KV_HEADS;
		double p = s[u] > -1e300 ? exp(s[u] - lse) : 0, off = SCORE_ERROR * p;
		double ds = SCALE * (dot(dy, d->v + j * V_DIM, V_DIM) - delta);
		Sum f = round_about(p * ds, off * (fabs(ds) + 1), HALF);
		add_row(r->dv + j * V_DIM, round_about(p, off, HALF), dy, V_DIM);
		add_row(r->dq + i * HEAD_DIM, f, d->k + j * HEAD_DIM, HEAD_DIM);
		add_row(r->dk + j * HEAD_DIM, f, d->q + i * HEAD_DIM, HEAD_DIM);
	}
}

static void naive_row(const Data *d, Naive *r, int64_t first, int64_t t, int n)
{
	int64_t key = first * KV_HEADS + n / AT_GROUP, i = (first + t) * HEADS + n;
	double s[1024], top = -1e300, sum = 0;

	for (int64_t u = 0; u <= t; u++) {
		const float *k = d->k + (key + u * KV_HEADS) * HEAD_DIM;
		s[u] = seen(d, first, t, u) ? SCALE * dot(d->q + i * HEAD_DIM, k, HEAD_DIM) : -1e300;
		top = s[u] > top ? s[u] : top;
	}
	for (int64_t u = 0; u <= t; u++)
		sum += s[u] > -1e300 ? exp(s[u] - top) : 0;
	r->lse[i].value = sum > 0 ? top + log(sum) : 0;
	naive_output(d, r->o + i * V_DIM, key, t + 1, s, r->lse[i].value);
	naive_grad(d, r, i, key, t + 1, s, r->lse[i].value);
}

static void check_naive(const Data *d)
{
	Naive r = { sums_new(rows(d, HEADS * V_DIM)), sums_new(rows(d, HEADS)), sums_new(rows(d, HEADS * HEAD_DIM)),
	            sums_new(rows(d, KV_HEADS * HEAD_DIM)), sums_new(rows(d, KV_HEADS * V_DIM)) };

	for (int32_t b = 0; b < d->ndoc; b++)
		for (int64_t t = 0; t < d->cu[b + 1] - d->cu[b]; t++)
			for (int n = 0; n < HEADS; n++)
				naive_row(d, &r, d->cu[b], t, n);
	check_sums("o", d->o, r.o, rows(d, HEADS * V_DIM), 1e-6, HALF);
	check_sums("lse", d->lse, r.lse, rows(d, HEADS), 1e-6, 0);
	/* do.v - delta cancels, to nothing for a document of one token: its rounding is what remains */
	check_sums("dq", d->dq, r.dq, rows(d, HEADS * HEAD_DIM), 5e-6, HALF);
	check_sums("dk", d->dk, r.dk, rows(d, KV_HEADS * HEAD_DIM), 5e-6, HALF);
	check_sums("dv", d->dv, r.dv, rows(d, KV_HEADS * V_DIM), 2e-6, HALF);
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
