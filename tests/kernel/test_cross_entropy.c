/* test_cross_entropy.c - linear_cross_entropy.h and cross_entropy.h against plain loops in float64, any number of
 * tokens; a token's gradient, and every sum over tokens, to the bit whatever the threads and slices.
 */
#include "linear_cross_entropy.h"
#undef KERNEL
#include "cross_entropy.h"

#include "pool.h"
#include "elems.h"

enum { HALF = ELEM_HALF(ELEM) };

/* Kernels have a softmax to this part of it, in float32. */
#define SOFTMAX_ERROR 2e-6

typedef struct Run {
	float *dx, *dw;
	double loss;
} Run;

static int32_t *random_labels(size_t n)
{
	int32_t *label = calloc(n + 1, sizeof *label);

	for (size_t t = 0; t < n; t++)
		label[t] = check_random() % 5 == 0 ? -100 : (int32_t)(check_random() % V);
	return label;
}

static void call(RtKernel *kernel, void **arg, size_t n, int threads, size_t scratch)
{
	RtEnv env = { .T = (int64_t)n };
	RtPool *pool = pool_new(threads, scratch);

	pool->poison = 1;
	kernel(&(RtCall){ .arg = arg, .env = &env, .pool = pool });
	pool_free(pool);
}

/* The head on tokens t0 .. t0+n-1; dw starts from `dw`. */
static void run(Run *r, const float *x, const float *w, int32_t *label, size_t t0, size_t n, int threads)
{
	float *work = check_garbage((size_t)SLICE * LD + SLICE * 2);
	void *arg[] = { elems_new(x + t0 * D, n * D, HALF), elems_new(w, V * D, HALF), label + t0, &r->loss,
	                elems_new(r->dx + t0 * D, n * D, HALF), r->dw, work };

	call(linear_cross_entropy, arg, n, threads, GEMM_SCRATCH);
	elems_take(r->dx + t0 * D, arg[4], n * D, HALF);
	free(arg[0]);
	free(arg[1]);
	free(work);
}

static Run new_run(size_t n)
{
	return (Run){ .dx = check_garbage(n * D), .dw = ACC ? calloc(V * D, 4) : check_garbage(V * D) };
}

static void free_run(Run *r)
{
	free(r->dx);
	free(r->dw);
}

/* Logits z[V] to their gradient, as kernels round it; returns the loss. */
static double softmax(const double *z, int32_t label, Sum *dz)
{
	double most = -1e300, sum = 0;

	for (int v = 0; v < V; v++)
		most = z[v] > most ? z[v] : most;
	for (int v = 0; v < V; v++)
		sum += exp(z[v] - most);
	for (int v = 0; v < V; v++) {
		double p = exp(z[v] - most) / sum;
		dz[v] = round_about(p - (v == label), SOFTMAX_ERROR * p, HALF);
	}
	return log(sum) + most - z[label];
}

static void check_loss(double loss, double want)
{
	if (!(fabs(loss - want) <= 1e-6 * (1 + fabs(want))))
		check_fail("loss", 0, loss, want);
}

/* The logits of a token, exact sums, rounded. */
static void logits_of(double *z, const float *x, const float *w)
{
	for (int v = 0; v < V; v++) {
		z[v] = 0;
		for (int d = 0; d < D; d++)
			z[v] += (double)x[d] * (double)w[v * D + d];
		z[v] = nearest(z[v], HALF);
	}
}

static void check_values_of(const Run *r, const float *x, const float *w, const int32_t *label, size_t n)
{
	Sum *dx = sums_new(n * D), *dw = sums_new(V * D), *dz = sums_new(V);
	double *z = check_zeros(V), loss = 0;

	for (size_t t = 0; t < n; t++) {
		if (label[t] < 0)
			continue;
		logits_of(z, x + t * D, w);
		loss += softmax(z, label[t], dz);
		for (int v = 0; v < V; v++)
			for (int d = 0; d < D; d++) {
				sum_add(&dx[t * D + (size_t)d], dz[v], (double)w[v * D + d]);
				sum_add(&dw[v * D + d], dz[v], (double)x[t * D + (size_t)d]);
			}
	}
	check_loss(r->loss, loss);
	check_sums("dx", r->dx, dx, n * D, 5e-6, HALF);
	check_sums("dw", r->dw, dw, V * D, 5e-6, 0);
	free(dx);
	free(dw);
	free(dz);
	free(z);
}

/* Values of which products have exact sums in float32, so that it is known how a logit is rounded. */
static float *coarse_values(size_t n, float range, float step)
{
	float *x = check_values(n, range);

	for (size_t i = 0; i < n; i++)
		x[i] = rintf(x[i] / step) * step;
	return x;
}

static void test_tokens(size_t n)
{
	float *x = coarse_values(n * D, 1, 0.0625f), *w = coarse_values(V * D, 0.2f, 0.015625f);
	int32_t *label = random_labels(n);
	Run one = new_run(n), many = new_run(n), parts = new_run(n);

	run(&one, x, w, label, 0, n, 1);
	run(&many, x, w, label, 0, n, 3);
	check_values_of(&one, x, w, label, n);
	check_bits("dx on three threads", many.dx, one.dx, n * D);
	check_bits("dw on three threads", many.dw, one.dw, V * D);
	if (ACC) {
		run(&parts, x, w, label, 0, n / 3, 1);
		run(&parts, x, w, label, n / 3, n - n / 3, 1);
		check_bits("dx in two calls", parts.dx, one.dx, n * D);
		check_bits("dw in two calls", parts.dw, one.dw, V * D);
	}
	free_run(&one);
	free_run(&many);
	free_run(&parts);
	free(x);
	free(w);
	free(label);
}

/* Logits that are given. */
static void test_logits(size_t n, int threads)
{
	float *z = elems_values(n * V, 6, HALF), *dz = check_garbage(n * V);
	int32_t *label = random_labels(n);
	double loss = -1, want_loss = 0, *row = check_zeros(V), *work = check_zeros(n);
	Sum *want = sums_new(n * V);
	void *arg[] = { elems_new(z, n * V, HALF), label, &loss, elems_new(dz, n * V, HALF), work };

	for (size_t t = 0; t < n; t++) {
		for (int v = 0; v < V; v++)
			row[v] = (double)z[t * V + (size_t)v];
		want_loss += label[t] < 0 ? 0 : softmax(row, label[t], want + t * V);
	}
	call(cross_entropy, arg, n, threads, SCRATCH_BYTES);
	elems_take(dz, arg[3], n * V, HALF);
	check_loss(loss, want_loss);
	check_sums("dlogits", dz, want, n * V, HALF ? 0 : 1e-6, HALF);
	free(arg[0]);
	free(z);
	free(dz);
	free(label);
	free(row);
	free(work);
	free(want);
}

int main(void)
{
	const size_t n[] = { 0, 1, 37, SLICE, 2 * SLICE + 5 };

	for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
		test_tokens(n[i]);
		test_logits(n[i], 1 + (int)i % 3);
	}
	return check_done("test_cross_entropy");
}
