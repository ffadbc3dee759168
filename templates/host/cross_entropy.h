/* cross_entropy.h - softmax cross-entropy of logits that are no plain product, with its gradient.
 *
 *     loss = sum over labels[t] >= 0 of  log sum_v exp(z[t,v]) - z[t,labels[t]]
 *     dz = softmax(z) - onehot, 0 where the label is ignored
 *
 * arg: logits f32[T,V], labels i32[T] (-100 ignored), loss f64[1] (written), dlogits f32[T,V] (written),
 * work f64[T]. Parameters: KERNEL, V. No scratch. The loss is added in token order.
 */
#ifndef KERNEL
#define KERNEL cross_entropy
#define V 1024
#endif

#include "rt_kernel.h"
#include "token_loss.h"

#define SCRATCH_BYTES 0

static void ce_row(void *ctx, int64_t t, int thread)
{
	const RtCall *c = ctx;
	float *dz = (float *)c->arg[3] + t * V;
	(void)thread;
	memcpy(dz, (const float *)c->arg[0] + t * V, (size_t)V * 4);
	((double *)c->arg[4])[t] = token_loss(dz, V, ((const int32_t *)c->arg[1])[t]);
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
