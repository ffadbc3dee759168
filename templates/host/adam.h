/* adam.h - one step of Adam or AdamW, as torch.optim computes it.
 *
 *     g = grad * scale                      scale: the clipping factor
 *     g += WEIGHT_DECAY p                   Adam;   AdamW (DECOUPLED 1): p -= lr WEIGHT_DECAY p
 *     m += (1 - BETA1) (g - m)
 *     v = BETA2 v + (1 - BETA2) g g
 *     p -= lr / (1 - BETA1^t) * m / (sqrt(v) / sqrt(1 - BETA2^t) + EPS)
 *
 * arg: param PARAM[n], grad f32[n] (read only), m STORED[n], v STORED[n], and with MASTER 1 master
 * STORED[n]: then master is p, and param (written) its rounded copy; else param is p and PARAM is STORED.
 * n[0] = n. env: scale, lr, bias1 = 1 - BETA1^t, bias2 = 1 - BETA2^t.
 * Parameters: KERNEL, PARAM, STORED (float or bf16), MASTER, BETA1, BETA2, EPS, WEIGHT_DECAY, DECOUPLED.
 * No scratch. Jobs are 16384 elements.
 *
 * Where STORED is bf16, g, and each result of torch's foreach operators, is rounded to bf16: g, the
 * decayed g or p, m, v BETA2, v, sqrt(v), its quotient, its sum with EPS, p; as in templates/cuda/adam.cuh.
 */
#include "elem.h"
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL adam
#endif
#ifndef PARAM
#define PARAM float
#endif
#ifndef STORED
#define STORED float
#endif
#ifndef MASTER
#define MASTER 0
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

static inline float adam_round(float x)
{
	return ELEM_HALF(STORED) ? rounded(x) : x;
}

/* Elements of p, with their copies in param if MASTER. */
static void adam_block(const RtEnv *env, int64_t n, PARAM *restrict param, STORED *restrict p,
                       const float *restrict grad, STORED *restrict m, STORED *restrict v)
{
	const float decay = (float)(WEIGHT_DECAY), rate = (float)(1 - BETA1);
	const float b2 = (float)(BETA2), c2 = (float)(1 - BETA2), eps = (float)(EPS);
	const float scale = env->scale, keep = 1 - env->lr * decay;
	const float step = env->lr / env->bias1, root = __builtin_sqrtf(env->bias2);

	for (int64_t i = 0; i < n; i++) {
		float g = adam_round(grad[i] * scale), x = elem_get(p[i]);
		if (WEIGHT_DECAY != 0 && DECOUPLED)
			x = adam_round(x * keep);
		if (WEIGHT_DECAY != 0 && !DECOUPLED)
			g = adam_round(g + decay * x);
		float first = elem_get(m[i]), second = adam_round(elem_get(v[i]) * b2);
		first = adam_round(first + rate * (g - first));
		second = adam_round(second + c2 * g * g);
		float low = adam_round(adam_round(adam_round(__builtin_sqrtf(second)) / root) + eps);
		x -= step * first / low;
		elem_put(m + i, first);
		elem_put(v + i, second);
		elem_put(p + i, x);
		if (MASTER)
			elem_put(param + i, x);
	}
}

static void adam_job(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	int64_t at = job * ADAM_BLOCK, n = c->n[0] - at < ADAM_BLOCK ? c->n[0] - at : ADAM_BLOCK;

	(void)thread;
	adam_block(c->env, n, MASTER ? (PARAM *)c->arg[0] + at : NULL, (STORED *)c->arg[MASTER ? 4 : 0] + at,
	           (const float *)c->arg[1] + at, (STORED *)c->arg[2] + at, (STORED *)c->arg[3] + at);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;

	rt_parallel(c->pool, (c->n[0] + ADAM_BLOCK - 1) / ADAM_BLOCK, adam_job, &call);
}
