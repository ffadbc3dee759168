/* toy.cuh - kernels of a model that is small enough to write down by hand (toy.py): an embedding, a product by the
 * library, and one routed layer whose experts scale their rows. Every kernel is one thread per element or
 * plain loops of one thread: what is tested is what happens between kernels.
 */
#include "dev.cuh"

constexpr int D = 16, K = 2, E = 4, V = 11;
constexpr int TOY_THREADS = 64;

struct Toy {
	const GlmcCall &c;
	float *f(int i) const { return (float *)c.arg[i]; }
	int *i(int i) const { return (int *)c.arg[i]; }
	int T() const { return c.env.T; }
};

/* x[t,:] = table[token[t],:]; arg: tokens, table, x */
DEV void toy_embed(Toy a, int t, int d)
{
	a.f(2)[t * D + d] = a.f(1)[a.i(0)[t] * D + d];
}

/* arg: tokens, dx, dtable (added to); by one thread, tokens ascending */
DEV void toy_embed_grad(Toy a)
{
	for (int t = 0; t < a.T(); t++)
		for (int d = 0; d < D; d++)
			a.f(2)[a.i(0)[t] * D + d] += a.f(1)[t * D + d];
}

/* ids[t,:]: two experts that the position decides, one of them missing now and then; arg: ids */
DEV void toy_ids(Toy a, int t)
{
	int p = a.c.env.pos[t];
	a.i(0)[t * K] = p % 7 == 3 ? -1 : (p * 3 + 1) % E;
	a.i(0)[t * K + 1] = p % 5 == 0 ? -1 : p % E;
}

/* arg: rows in, w [E/ep, D], rows out */
DEV void toy_expert(Toy a, int r, int d)
{
	int e = 0;
	while (a.c.env.group[e + 1] <= r)
		e++;
	a.f(2)[r * D + d] = a.f(0)[r * D + d] * a.f(1)[e * D + d];
}

/* arg: rows in, drows, w, dw (added to), dx rows; dw by one thread, rows ascending */
DEV void toy_expert_grad(Toy a, int d)
{
	for (int r = 0, e = 0; r < a.c.env.R; r++) {
		while (a.c.env.group[e + 1] <= r)
			e++;
		a.f(3)[e * D + d] += a.f(0)[r * D + d] * a.f(1)[r * D + d];
		a.f(4)[r * D + d] = a.f(1)[r * D + d] * a.f(2)[e * D + d];
	}
}

/* z = y + sum_k slots; dz = z where the label counts; loss f64 = sum z^2/2; arg: y, slots, labels, dz, loss */
DEV void toy_loss(Toy a)
{
	double sum = 0;
	for (int t = 0; t < a.T(); t++)
		for (int d = 0; d < D; d++) {
			float z = a.f(0)[t * D + d] + a.f(1)[(t * K) * D + d] + a.f(1)[(t * K + 1) * D + d];
			z = a.i(2)[t] == -100 ? 0 : z;
			a.f(3)[t * D + d] = z;
			sum += 0.5 * (double)z * (double)z;
		}
	*(double *)a.c.arg[4] = sum;
}

/* dy = dz + sum_k dslots; arg: dz, dslots, dy */
DEV void toy_add(Toy a, int t, int d)
{
	a.f(2)[t * D + d] = a.f(0)[t * D + d] + a.f(1)[(t * K) * D + d] + a.f(1)[(t * K + 1) * D + d];
}

/* grad *= scale; one sum of squares per block; arg: grad, sums f64; n[0] elements */
DEV void toy_sumsq(Toy a)
{
	double sum = 0;
	for (i64 i = block_id(); i < a.c.n[0]; i += grid_blocks()) {
		float x = a.f(0)[i] * a.c.env.scale;
		a.f(0)[i] = x;
		sum += (double)x * (double)x;
	}
	((double *)a.c.arg[1])[block_id()] = sum;
}

/* Adam, betas 0.9 and 0.999, eps 1e-8; arg: param, grad, m, v; n[0] elements */
DEV void toy_adam(Toy a, i64 i)
{
	float g = a.f(1)[i] * a.c.env.scale, *m = a.f(2) + i, *v = a.f(3) + i;
	*m += 0.1f * (g - *m);
	*v = 0.999f * *v + 0.001f * g * g;
	a.f(0)[i] -= a.c.env.lr / a.c.env.bias1 * *m / (sqrtf(*v) / sqrtf(a.c.env.bias2) + 1e-8f);
}

#define TOY_KERNEL(name) KERNEL void LAUNCH_BOUNDS(TOY_THREADS, 1) name(const GRID_CONSTANT GlmcCall c)
/* Blocks of four rows. */
#define TOY_ROWS(rows) \
	const int row = block_id() * 4 + thread_id() / D, d = thread_id() % D; \
	if (row >= (rows)) \
		return
