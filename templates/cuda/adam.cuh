/* adam.cuh - one step of Adam or AdamW, as torch.optim computes it.
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
 * Parameters: KERNEL_NAME, PARAM, STORED (bf16 or float), MASTER, BETA1, BETA2, EPS, WEIGHT_DECAY, DECOUPLED.
 * Launch: ADAM_THREADS threads, any number of blocks, no shared memory; up to 67 registers. Buffers are
 * 16-byte aligned.
 *
 * Where STORED is bf16, g, and each result of torch's foreach operators, is rounded to bf16: g, the
 * decayed g or p, m, v BETA2, v, sqrt(v), its quotient, its sum with EPS, p. A thread has eight neighbouring
 * elements. Bytes per element: 4 + 3 times in and out of STORED, + PARAM with MASTER: 16 all bf16, 28
 * float32, 30 with a bf16 copy. Elements are independent.
 *
 * @threads 256
 * @grid SMS, 4
 */
#include "row.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME adam
#endif
#ifndef PARAM
#define PARAM bf16
#endif
#ifndef STORED
#define STORED bf16
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

constexpr int ADAM_THREADS = 256, AD_V = 8;
constexpr float AD_DECAY = (float)(WEIGHT_DECAY), AD_RATE = (float)(1 - (BETA1));
constexpr float AD_B2 = (float)(BETA2), AD_C2 = (float)(1 - (BETA2)), AD_EPS = (float)(EPS);

DEV float ad_round(float x) { return sizeof(STORED) == 2 ? rounded(x) : x; }

/* What is the same for all elements. */
struct AdStep {
	float scale, keep, step, root;
};

DEV void ad_update(const AdStep &s, float &p, float grad, float &m, float &v)
{
	float g = ad_round(grad * s.scale);
	if (WEIGHT_DECAY != 0 && DECOUPLED)
		p = ad_round(p * s.keep);
	if (WEIGHT_DECAY != 0 && !DECOUPLED)
		g = ad_round(g + AD_DECAY * p);
	m = ad_round(m + AD_RATE * (g - m));
	v = ad_round(ad_round(v * AD_B2) + AD_C2 * g * g);
	float low = ad_round(ad_round(ad_round(sqrtf(v)) / s.root) + AD_EPS);
	p = ad_round(p - s.step * (m / low));
}

/* N elements at `at`: AD_V, or 1 of the rest. */
template <int N> DEV void ad_elements(const GlmcCall &c, const AdStep &s, i64 at)
{
	PARAM *param = (PARAM *)c.arg[0] + at;
	STORED *first = (STORED *)c.arg[2] + at, *second = (STORED *)c.arg[3] + at;
	STORED *stored = MASTER ? (STORED *)c.arg[4] + at : (STORED *)c.arg[0] + at;
	float p[N], g[N], m[N], v[N];
	load_row(p, stored);
	load_row(g, (const float *)c.arg[1] + at);
	load_row(m, first);
	load_row(v, second);
	UNROLL
	for (int i = 0; i < N; i++)
		ad_update(s, p[i], g[i], m[i], v[i]);
	store_row(first, m);
	store_row(second, v);
	store_row(stored, p);
	if (MASTER)
		store_row(param, p);
}

KERNEL void LAUNCH_BOUNDS(ADAM_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	const GlmcEnv &e = c.env;
	const AdStep s = {e.scale, 1 - e.lr * AD_DECAY, e.lr / e.bias1, sqrtf(e.bias2)};
	i64 n = c.n[0], i = (i64)block_id() * ADAM_THREADS + thread_id(), step = (i64)grid_blocks() * ADAM_THREADS;

	for (; i < n / AD_V; i += step)
		ad_elements<AD_V>(c, s, i * AD_V);
	for (i -= n / AD_V; i < n % AD_V; i += step)
		ad_elements<1>(c, s, n / AD_V * AD_V + i);
}
