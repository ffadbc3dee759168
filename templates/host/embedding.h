/* embedding.h - rows of the embedding table: y[t,:] = w[tokens[t],:].
 *
 * arg: tokens i32[T], w ELEM[V,WIDTH], y ELEM[T,WIDTH] (written). Every token is in 0 .. V-1.
 * Parameters: KERNEL, ELEM (float or bf16), WIDTH. No scratch. Jobs are 64 tokens.
 */
#include "elem.h"
#include "rt_kernel.h"

#include <string.h>

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL embedding
#endif
#ifndef ELEM
#define ELEM float
#endif
#ifndef WIDTH
#define WIDTH 256
#endif

enum { EM_TOKENS = 64 };

static void em_job(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	const int32_t *tokens = c->arg[0];
	const ELEM *w = c->arg[1];
	ELEM *y = c->arg[2];
	int64_t t = job * EM_TOKENS, end = t + EM_TOKENS < c->env->T ? t + EM_TOKENS : c->env->T;

	(void)thread;
	for (; t < end; t++)
		memcpy(y + t * WIDTH, w + (int64_t)tokens[t] * WIDTH, WIDTH * sizeof *y);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;

	rt_parallel(c->pool, (c->env->T + EM_TOKENS - 1) / EM_TOKENS, em_job, &call);
}
