/* test_optim.c - adam.h against the formulas of torch.optim in double, sumsq.h against a plain sum.
 * One variant per executable: macros from a line of variants_route.txt.
 */
#include "adam.h"
#undef KERNEL
#include "sumsq.h"

#include "pool.h"
#include "check.h"

/* One element in double. */
static void naive_adam(double *p, double g, double *m, double *v, const RtEnv *env)
{
	double lr = (double)env->lr;

	g *= (double)env->scale;
	if (DECOUPLED)
		*p -= lr * (WEIGHT_DECAY) * *p;
	else
		g += (WEIGHT_DECAY) * *p;
	*m = (BETA1) * *m + (1 - (BETA1)) * g;
	*v = (BETA2) * *v + (1 - (BETA2)) * g * g;
	*p -= lr / (double)env->bias1 * *m / (sqrt(*v) / sqrt((double)env->bias2) + (EPS));
}

/* Three steps of n elements, with gradients of 1e-9 to 1 and zeros; 1 and 3 threads agree. */
static void test_adam(size_t n)
{
	float *x[2][4];
	double *want[3] = { check_zeros(n), check_zeros(n), check_zeros(n) };
	float *p = check_values(n, 1), *g = check_values(n, 1);

	for (size_t i = 0; i < n; i++) {
		g[i] *= i % 5 == 4 ? 0 : powf(10, -(float)(i % 10));
		want[0][i] = (double)p[i];
	}
	for (int k = 0; k < 2; k++)
		for (int j = 0; j < 4; j++) {
			x[k][j] = calloc(n + 1, sizeof(float));
			if (j < 2)
				memcpy(x[k][j], j ? g : p, n * sizeof(float));
		}
	for (int step = 1; step <= 3; step++) {
		RtEnv env = { .scale = 0.5f, .lr = 1e-3f, .bias1 = (float)(1 - pow(BETA1, step)),
		              .bias2 = (float)(1 - pow(BETA2, step)) };
		for (int k = 0; k < 2; k++) {
			RtPool *pool = pool_new(1 + 2 * k, 64);
			void *arg[] = { x[k][0], x[k][1], x[k][2], x[k][3] };
			adam(&(RtCall){ arg, (const int64_t[]){ (int64_t)n }, &env, pool });
			pool_free(pool);
		}
		for (size_t i = 0; i < n; i++)
			naive_adam(&want[0][i], (double)g[i], &want[1][i], &want[2][i], &env);
	}
	/* three roundings a step, three steps, of numbers up to 1 */
	check_close("param", x[0][0], want[0], n, 5e-7);
	check_close("m", x[0][2], want[1], n, 1e-6);
	check_close("v", x[0][3], want[2], n, 1e-6);
	check_bits("grad is read only", x[0][1], g, n);
	for (int j = 0; j < 4; j++)
		check_bits("threads", x[0][j], x[1][j], n);
	for (int k = 0; k < 2; k++)
		for (int j = 0; j < 4; j++)
			free(x[k][j]);
	for (int j = 0; j < 3; j++)
		free(want[j]);
	free(p);
	free(g);
}

/* The sum in its documented order, which tests/cuda/test_optim.cpp demands of the cuda target too. */
static double ordered_squares(const float *x, size_t n)
{
	double *chain = check_zeros(2112), sum = 0;

	for (size_t at = 0; at < n; at += 1024) {
		double lane[128] = { 0 };
		for (size_t i = 0; i < 1024 && at + i < n; i++)
			lane[i % 128] += (double)x[at + i] * (double)x[at + i];
		for (size_t half = 64; half; half /= 2)
			for (size_t i = 0; i < half; i++)
				lane[i] += lane[i + half];
		chain[at / 1024 % 2112] += lane[0];
	}
	for (size_t p = 0; p < 264; p++) {
		double part = 0;
		for (size_t k = 0; k < 8; k++)
			part += chain[8 * p + k];
		sum += part;
	}
	free(chain);
	return sum;
}

static void test_sumsq(size_t n)
{
	float *g = check_values(n, 1), *was = malloc((n + 1) * sizeof *was);
	double out[3] = { -1, -1, -1 };
	long double sum = 0;

	memcpy(was, g, n * sizeof *g);
	for (int k = 0; k < 3; k++) {
		RtEnv env = { .scale = 0.25f };
		RtPool *pool = pool_new(1 + k, 64);
		memcpy(g, was, n * sizeof *g);
		sumsq(&(RtCall){ (void *[]){ g, &out[k] }, (const int64_t[]){ (int64_t)n }, &env, pool });
		pool_free(pool);
	}
	for (size_t i = 0; i < n; i++) {
		float x = was[i] * 0.25f;
		sum += (long double)x * (long double)x;
		if (g[i] != x)
			check_fail("scaled gradient", i, (double)g[i], (double)x);
	}
	double want = (double)sum;
	if (!(fabs(out[0] - want) <= 1e-13 * want))
		check_fail("sum of squares", n, out[0], want);
	if (out[0] != ordered_squares(g, n))
		check_fail("order of the sum of squares", n, out[0], ordered_squares(g, n));
	if (out[1] != out[0] || out[2] != out[0])
		check_fail("sum of squares by threads", n, out[1], out[0]);
	free(g);
	free(was);
}

int main(void)
{
	const size_t n[] = { 0, 1, 15, 16, 17, 4096, 16385, 50000 };

	for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
		test_adam(n[i]);
		test_sumsq(n[i]);
	}
	test_sumsq(2 * 1024 * 4096 + 77);
	return check_done("optimizer");
}
