/* adam.h - one step of Adam or AdamW, as torch.optim computes it.
 *
 *     g = grad * scale                      scale: the clipping factor
 *     g += WEIGHT_DECAY p                   Adam;   AdamW (DECOUPLED 1): p -= lr WEIGHT_DECAY p
 *     m += (1 - BETA1) (g - m)
 *     v = BETA2 v + (1 - BETA2) g g
 *     p -= lr / (1 - BETA1^t) * m / (sqrt(v) / sqrt(1 - BETA2^t) + EPS)
 *
 * arg: param f32[n], grad f32[n] (read only), m f32[n], v f32[n]; n[0] = n.
 * env: scale, lr, bias1 = 1 - BETA1^t, bias2 = 1 - BETA2^t.
 * Parameters: KERNEL, BETA1, BETA2, EPS, WEIGHT_DECAY, DECOUPLED. No scratch.
 * Jobs are 16384 elements.
 */
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL adam
#endif
#ifndef BETA1
#define BETA1 0.9
#endif
#ifndef BETA2
#define BETA2 0.999
#endif
#ifndef EPS
#define EPS 1e-8
#endif
#ifndef WEIGHT_DECAY
#define WEIGHT_DECAY 0
#endif
#ifndef DECOUPLED
#define DECOUPLED 0
#endif

enum { ADAM_BLOCK = 16384 };

static void adam_block(const RtEnv *env, int64_t n, float *restrict p, const float *restrict grad,
                       float *restrict m, float *restrict v)
{
	const float decay = (float)(WEIGHT_DECAY), rate = (float)(1 - BETA1);
	const float b2 = (float)(BETA2), c2 = (float)(1 - BETA2), eps = (float)(EPS);
	const float scale = env->scale, keep = 1 - env->lr * decay;
	const float step = env->lr / env->bias1, root = __builtin_sqrtf(env->bias2);

	for (int64_t i = 0; i < n; i++) {
		float g = grad[i] * scale, x = p[i];
		if (WEIGHT_DECAY != 0 && DECOUPLED)
			x *= keep;
		if (WEIGHT_DECAY != 0 && !DECOUPLED)
			g += decay * x;
		float first = m[i] + rate * (g - m[i]);
		float second = v[i] * b2 + c2 * g * g;
		m[i] = first;
		v[i] = second;
		p[i] = x - step * first / (__builtin_sqrtf(second) / root + eps);
	}
}

static void adam_job(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	int64_t at = job * ADAM_BLOCK, n = c->n[0] - at < ADAM_BLOCK ? c->n[0] - at : ADAM_BLOCK;

	(void)thread;
	adam_block(c->env, n, (float *)c->arg[0] + at, (const float *)c->arg[1] + at,
	           (float *)c->arg[2] + at, (float *)c->arg[3] + at);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;

	rt_parallel(c->pool, (c->n[0] + ADAM_BLOCK - 1) / ADAM_BLOCK, adam_job, &call);
}
