/* cross_entropy.h - softmax cross-entropy of logits that are no plain product, with its gradient.
 *
 *     loss = sum over labels[t] >= 0 of  log sum_v exp(z[t,v]) - z[t,labels[t]]
 *     dz = softmax(z) - onehot, 0 where the label is ignored
 *
 * arg: logits ELEM[T,V], labels i32[T] (-100 ignored), loss f64[1] (written), dlogits ELEM[T,V] (written),
 * work f64[T]. Parameters: KERNEL, ELEM (float or bf16), V. The loss is added in token order.
 * Scratch per thread: SCRATCH_BYTES, a row of floats.
 */
#ifndef KERNEL
#define KERNEL cross_entropy
#endif
#ifndef ELEM
#define ELEM float
#endif
#ifndef V
#define V 1024
#endif

#include "elem.h"
#include "rt_kernel.h"
#include "token_loss.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES (V * 4)

static void ce_row(void *ctx, int64_t t, int thread)
{
	const RtCall *c = ctx;
	const ELEM *z = (const ELEM *)c->arg[0] + t * V;
	ELEM *dz = (ELEM *)c->arg[3] + t * V;
	float *row = rt_scratch(c->pool, thread);
	for (int64_t v = 0; v < V; v++)
		row[v] = elem_get(z[v]);
	((double *)c->arg[4])[t] = token_loss(row, V, ((const int32_t *)c->arg[1])[t]);
	for (int64_t v = 0; v < V; v++)
		elem_put(dz + v, row[v]);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;
	double loss = 0;
	rt_parallel(c->pool, c->env->T, ce_row, &call);
	for (int64_t t = 0; t < c->env->T; t++)
		loss += ((const double *)c->arg[4])[t];
	*(double *)c->arg[2] = loss;
}
