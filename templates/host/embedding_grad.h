/* embedding_grad.h - gradient of the embedding table: dw[tokens[t],:] += dy[t,:], t ascending.
 *
 * arg: tokens i32[T], dy ELEM[T,WIDTH], dw f32[VOCAB,WIDTH]. Tokens equal to PADDING_IDX (-1: none)
 * give no gradient. ACC 1 adds to dw, ACC 0 writes all of dw.
 * Parameters: KERNEL, ELEM (float or bf16), WIDTH, VOCAB (used by ACC 0 only), PADDING_IDX, ACC. No scratch.
 *
 * Jobs are runs of 64 columns, so every element is summed by one thread, in token order: the bits
 * depend neither on threads nor on how tokens are split in calls.
 */
#include "elem.h"
#include "rt_kernel.h"

#include <string.h>

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL embedding_grad
#endif
#ifndef ELEM
#define ELEM float
#endif
#ifndef WIDTH
#define WIDTH 256
#endif
#ifndef VOCAB
#define VOCAB 1024
#endif
#ifndef PADDING_IDX
#define PADDING_IDX -1
#endif
#ifndef ACC
#define ACC 1
#endif

enum { EG_COLUMNS = 64 };

static void eg_job(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	const int32_t *tokens = c->arg[0];
	int64_t col = job * EG_COLUMNS, n = WIDTH - col < EG_COLUMNS ? WIDTH - col : EG_COLUMNS;
	const ELEM *dy = (const ELEM *)c->arg[1] + col;
	float *dw = (float *)c->arg[2] + col;

	(void)thread;
	if (!ACC)
		for (int64_t v = 0; v < VOCAB; v++)
			memset(dw + v * WIDTH, 0, (size_t)n * sizeof(float));
	for (int64_t t = 0; t < c->env->T; t++) {
		float *row = dw + (int64_t)tokens[t] * WIDTH;
		if (tokens[t] == PADDING_IDX)
			continue;
		for (int64_t i = 0; i < n; i++)
			row[i] += elem_get(dy[t * WIDTH + i]);
	}
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;

	rt_parallel(c->pool, (WIDTH + EG_COLUMNS - 1) / EG_COLUMNS, eg_job, &call);
}
