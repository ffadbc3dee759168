/* test_cross_entropy.c - linear_cross_entropy.h against plain loops in float64, any number of tokens; a
 * token's gradient, and every sum over tokens, to the bit whatever the threads and slices.
 */
#include "linear_cross_entropy.h"

#include "pool.h"
#include "check.h"

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

/* The head on tokens t0 .. t0+n-1; dw starts from `dw`. */
static void run(Run *r, float *x, float *w, int32_t *label, int64_t t0, int64_t n, int threads)
{
	float *work = check_garbage((size_t)SLICE * LD + SLICE * 2);
	void *arg[] = { x + t0 * D, w, label + t0, &r->loss, r->dx + t0 * D, r->dw, work };
	RtEnv env = { .T = n };
	RtPool *pool = pool_new(threads, SCRATCH_BYTES);
	RtCall call = { .arg = arg, .env = &env, .pool = pool };

	pool->poison = 1;
	KERNEL(&call);
	pool_free(pool);
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

/* p[v] = softmax of token t's logits; returns their logsumexp minus the label's logit. */
static double softmax(const float *x, const float *w, int32_t label, double *p)
{
	double most = -1e300, sum = 0, at = 0;

	for (int v = 0; v < V; v++) {
		p[v] = 0;
		for (int d = 0; d < D; d++)
			p[v] += (double)x[d] * (double)w[v * D + d];
		most = p[v] > most ? p[v] : most;
		at = v == label ? p[v] : at;
	}
	for (int v = 0; v < V; v++)
		sum += exp(p[v] - most);
	for (int v = 0; v < V; v++)
		p[v] = exp(p[v] - most) / sum;
	return log(sum) + most - at;
}

static void check_values_of(const Run *r, const float *x, const float *w, const int32_t *label, size_t n)
{
	double *dx = check_zeros(n * D), *dw = check_zeros(V * D), *p = check_zeros(V), loss = 0;

	for (size_t t = 0; t < n; t++) {
		if (label[t] < 0)
			continue;
		loss += softmax(x + t * D, w, label[t], p);
		p[label[t]] -= 1;
		for (int v = 0; v < V; v++)
			for (int d = 0; d < D; d++) {
				dx[t * D + (size_t)d] += p[v] * (double)w[v * D + d];
				dw[v * D + d] += p[v] * (double)x[t * D + (size_t)d];
			}
	}
	if (fabs(r->loss - loss) > 1e-6 * (1 + fabs(loss)))
		check_fail("loss", 0, r->loss, loss);
	check_close("dx", r->dx, dx, n * D, 5e-6);
	check_close("dw", r->dw, dw, V * D, 5e-6);
	free(dx);
	free(dw);
	free(p);
}

static void test_tokens(int64_t n)
{
	float *x = check_values((size_t)n * D, 1), *w = check_values(V * D, 0.2f);
	int32_t *label = random_labels((size_t)n);
	Run one = new_run((size_t)n), many = new_run((size_t)n), parts = new_run((size_t)n);

	run(&one, x, w, label, 0, n, 1);
	run(&many, x, w, label, 0, n, 3);
	check_values_of(&one, x, w, label, (size_t)n);
	check_bits("dx on three threads", many.dx, one.dx, (size_t)n * D);
	check_bits("dw on three threads", many.dw, one.dw, V * D);
	if (ACC) {
		run(&parts, x, w, label, 0, n / 3, 1);
		run(&parts, x, w, label, n / 3, n - n / 3, 1);
		check_bits("dx in two calls", parts.dx, one.dx, (size_t)n * D);
		check_bits("dw in two calls", parts.dw, one.dw, V * D);
	}
	free_run(&one);
	free_run(&many);
	free_run(&parts);
	free(x);
	free(w);
	free(label);
}

int main(void)
{
	test_tokens(0);
	test_tokens(1);
	test_tokens(37);
	test_tokens(SLICE);
	test_tokens(2 * SLICE + 5);
	return check_done("test_cross_entropy");
}
