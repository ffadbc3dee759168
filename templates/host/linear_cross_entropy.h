/* linear_cross_entropy.h - the head: logits, softmax cross-entropy and, with GRAD, its gradient.
 *
 *     loss = sum over labels[t] >= 0 of  log sum_v exp(x[t].w[v]) - x[t].w[labels[t]]
 *     dlogits = softmax - onehot;  dx = dlogits w;  dw = dlogits' x
 *
 * arg: x ELEM[T,D], w ELEM[V,D], labels i32[T] (-100 ignored), loss f64[1] (written), with GRAD
 * dx ELEM[T,D] (written) and dw f32[V,D] (written; with ACC added to), then work:
 * SLICE * (4 * (V + 16) + 8) bytes. Parameters: KERNEL, ELEM (float or bf16), D, V, GRAD, ACC.
 *
 * Tokens go in slices of SLICE, so only SLICE * V logits ever exist; dlogits overwrites them. Their rows
 * are LD floats apart: a multiple of 4096 bytes would put a column into one set of the cache. Every
 * element of dw is one chain over ascending tokens whatever the slices. The loss is added in
 * float64 in token order. Where ELEM is bf16, logits and dlogits are rounded to it, though kept in float.
 */
#ifndef KERNEL
#define KERNEL linear_cross_entropy
#endif
#ifndef ELEM
#define ELEM float
#endif
#ifndef D
#define D 256
#endif
#ifndef V
#define V 1024
#endif
#ifndef GRAD
#define GRAD 1
#endif
#ifndef ACC
#define ACC 1
#endif

#include "elem.h"

#define GEMM_HALVES_OF(g) (ELEM_HALF(ELEM) ? (g)->halves : 0)
#if GRAD
#define GEMM_DEPTH (ELEM_HALF(ELEM) ? V : 0)
#endif
#include "gemm_core.h"
#include "token_loss.h"

#define SLICE 128
#define LD (V + 16)
#define HALF(which) (ELEM_HALF(ELEM) ? (which) : 0)
#define SCRATCH_BYTES GEMM_SCRATCH

typedef struct Head {
	const RtCall *c;
	int64_t t0, rows;
	float *logits;           /* [SLICE][LD] */
	double *loss;            /* [SLICE] */
} Head;

/* Logits or their gradients as ELEM holds them. */
static void round_row(float *z)
{
	for (int64_t v = 0; ELEM_HALF(ELEM) && v < V; v++)
		z[v] = rounded(z[v]);
}

static void softmax_row(void *ctx, int64_t r, int thread)
{
	const Head *h = ctx;
	float *z = h->logits + r * LD;
	(void)thread;
	round_row(z);
	h->loss[r] = token_loss(z, V, ((const int32_t *)h->c->arg[2])[h->t0 + r]);
	round_row(z);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	float *work = c->arg[GRAD ? 6 : 4];
	Head h = {.c = c, .logits = work, .loss = (double *)(void *)(work + (int64_t)SLICE * LD)};
	double loss = 0;
#if GRAD
	if (!ACC && c->env->T == 0)
		memset(c->arg[5], 0, (size_t)V * D * 4);
#endif
	for (h.t0 = 0; h.t0 < c->env->T; h.t0 += SLICE) {
		const ELEM *x = (const ELEM *)c->arg[0] + h.t0 * D, *w = c->arg[1];
		h.rows = c->env->T - h.t0 < SLICE ? c->env->T - h.t0 : SLICE;
		Gemm forward = {.form = 0, .halves = HALF(GEMM_HALF_A | GEMM_HALF_B), .m = h.rows, .n = V, .k = D, .a = x,
		                .b = w, .c = h.logits, .lda = D, .ldb = D, .ldc = LD};
		gemm_run(c, &forward, gemm_same, 1, h.rows, V);
		rt_parallel(c->pool, h.rows, softmax_row, &h);
		for (int64_t r = 0; r < h.rows; r++)
			loss += h.loss[r];
#if GRAD
		Gemm dx = {.form = 1, .halves = HALF(GEMM_HALF_B | GEMM_HALF_C), .m = h.rows, .n = D, .k = V, .a = h.logits,
		           .b = w, .c = (ELEM *)c->arg[4] + h.t0 * D, .lda = LD, .ldb = D, .ldc = D};
		Gemm dw = {.form = 2, .halves = HALF(GEMM_HALF_B), .acc = ACC || h.t0 > 0, .m = V, .n = D, .k = h.rows,
		           .a = h.logits, .b = x, .c = c->arg[5], .lda = LD, .ldb = D, .ldc = D};
		gemm_run(c, &dx, gemm_same, 1, h.rows, D);
		gemm_run(c, &dw, gemm_same, 1, V, D);
#endif
	}
	*(double *)c->arg[3] = loss;
}
