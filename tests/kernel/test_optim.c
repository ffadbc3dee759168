/* test_optim.c - adam.h against the formulas of torch.optim in double, where it stores bf16 with the result of
 * each foreach operator rounded; sumsq.h against a plain sum.
 * One variant per executable: macros from a line of variants_route.txt.
 */
#include "adam.h"
#undef KERNEL
#include "sumsq.h"

#include "pool.h"
#include "elems.h"

enum { HALF = ELEM_HALF(STORED), MAIN = MASTER ? 4 : 0, STEPS = 3 };

/* A float32 result, rounded as it is stored. */
static double kept(double x)
{
	return HALF ? nearest((double)(float)x, 1) : x;
}

/* One element in double, the constants as float32 has them: some sums lie between two numbers of bf16 but for that. */
static void naive_adam(double *p, double g, double *m, double *v, const RtEnv *env)
{
	const double decay = (double)(float)(WEIGHT_DECAY), rate = (double)(float)(1 - (BETA1));
	const double b2 = (double)(float)(BETA2), c2 = (double)(float)(1 - (BETA2)), lr = (double)env->lr;

	g = kept(g * (double)env->scale);
	if (DECOUPLED)
		*p = kept(*p - lr * decay * *p);
	else
		g = kept(g + decay * *p);
	*m = kept(*m + rate * (g - *m));
	*v = kept(kept(b2 * *v) + c2 * g * g);
	double low = kept(kept(kept(sqrt(*v)) / sqrt((double)env->bias2)) + (EPS));
	*p = kept(*p - lr / (double)env->bias1 * *m / low);
}

static RtEnv env_of(int step)
{
	return (RtEnv){ .scale = 0.5f, .lr = 1e-3f, .bias1 = (float)(1 - pow(BETA1, step)),
	                .bias2 = (float)(1 - pow(BETA2, step)) };
}

/* The kernel's steps on its five arguments, of n elements each. */
static void run_adam(float *x[5], size_t n, int threads)
{
	const int half[] = { ELEM_HALF(PARAM), 0, HALF, HALF, HALF };
	RtPool *pool = pool_new(threads, 64);
	void *arg[5];

	for (int j = 0; j < 5; j++)
		arg[j] = elems_new(x[j], n, half[j]);
	for (int step = 1; step <= STEPS; step++) {
		RtEnv env = env_of(step);
		adam(&(RtCall){ arg, (const int64_t[]){ (int64_t)n }, &env, pool });
	}
	for (int j = 0; j < 5; j++)
		elems_take(x[j], arg[j], n, half[j]);
	pool_free(pool);
}

/* Stored numbers; in bf16 a few of them are neighbours, which float32 took for the nearest. */
static void check_stored(const char *what, const float *got, const double *want, size_t n, double tolerance)
{
	size_t others = 0;

	if (!HALF)
		check_close(what, got, want, n, tolerance);
	for (size_t i = 0; HALF && i < n; i++) {
		others += (double)got[i] != want[i];
		if (!(fabs((double)got[i] - want[i]) <= ldexp(fabs(want[i]), -7)))
			check_fail(what, i, (double)got[i], want[i]);
	}
	if (others > 1 + n / 1000)
		check_fail("numbers not rounded to the nearest", n, (double)others, 0);
}

/* Steps of n elements, with gradients of 1e-9 to 1 and zeros; 1 and 3 threads agree. */
static void test_adam(size_t n)
{
	float *p = elems_values(n, 1, HALF), *g = check_values(n, 1), *x[2][5];
	double *want[3] = { check_zeros(n), check_zeros(n), check_zeros(n) };

	for (size_t i = 0; i < n; i++)
		g[i] *= i % 5 == 4 ? 0 : powf(10, -(float)(i % 10));
	for (int k = 0; k < 2; k++) {
		for (int j = 0; j < 5; j++) {
			x[k][j] = calloc(n + 1, sizeof(float));
			if (j < 2 || j == MAIN)
				memcpy(x[k][j], j == 1 ? g : p, n * sizeof(float));
		}
		run_adam(x[k], n, 1 + 2 * k);
	}
	for (size_t i = 0; i < n; i++)
		want[0][i] = (double)p[i];
	for (int step = 1; step <= STEPS; step++) {
		RtEnv env = env_of(step);
		for (size_t i = 0; i < n; i++)
			naive_adam(&want[0][i], (double)g[i], &want[1][i], &want[2][i], &env);
	}
	/* three roundings a step, three steps, of numbers up to 1 */
	check_stored("param", x[0][MAIN], want[0], n, 5e-7);
	check_stored("m", x[0][2], want[1], n, 1e-6);
	check_stored("v", x[0][3], want[2], n, 1e-6);
	check_bits("grad is read only", x[0][1], g, n);
	memcpy(p, x[0][MAIN], n * sizeof *p);
	elems_round(p, n, ELEM_HALF(PARAM));
	check_bits("copy of the master", x[0][0], p, n);
	for (int j = 0; j < 5; j++)
		check_bits("threads", x[0][j], x[1][j], n);
	for (int j = 0; j < 10; j++)
		free(x[j / 5][j % 5]);
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
