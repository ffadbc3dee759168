/* rope_table.cuh - cosines and sines of the rotary embedding, once per step.
 *
 *     out[p,j,:] = cos, sin of the float32 product p * (1 / THETA^(2j/DIM))
 *
 * arg: out f32[n[0],DIM/2,2] (written).
 * Parameters: KERNEL_NAME, THETA, DIM (rotated width, even).
 * Launch: ROPE_TABLE_THREADS threads, any number of blocks, no shared memory; 34 registers.
 *
 * The frequency is a float32 power and its float32 reciprocal, the angle a float32 product, as
 * transformers computes them; cosine and sine of the angle are then right to float32, by float64
 * polynomials: the float32 library functions use local memory. Bytes: 8 per pair.
 *
 * @threads 256
 * @grid SMS, 2
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME rope_table
#endif
#ifndef THETA
#define THETA 1000000.0
#endif
#ifndef DIM
#define DIM 64
#endif

static_assert(DIM % 2 == 0, "pairs");

constexpr int ROPE_TABLE_THREADS = 256;
constexpr double RP_LN2 = 0.6931471805599453, RP_HALF_PI = 1.5707963267948966;
constexpr double RP_HALF_PI_REST = 6.123233995736766e-17;     /* pi/2 beyond float64 */

/* ln x at compile time, x >= 1: halvings, then 2 artanh((x-1)/(x+1)). */
constexpr double rp_ln(double x)
{
	double sum = 0, powers = 0;
	for (; x > 1.5; x /= 2)
		powers += RP_LN2;
	double z = (x - 1) / (x + 1), term = z;
	for (int k = 1; k < 60; k += 2, term *= z * z)
		sum += term / k;
	return powers + 2 * sum;
}
constexpr double RP_LN_THETA = rp_ln((double)(float)(THETA));
static_assert((double)(THETA) >= 1, "frequencies of at most 1");

/* exp of x in 0 .. ln(the largest float): 2^n times a Taylor sum over half an interval of ln 2. */
DEV double rp_exp(double x)
{
	int n = (int)(x / RP_LN2 + 0.5);
	double r = x - n * RP_LN2, sum = 1;
	for (int k = 14; k > 0; k--)
		sum = 1 + sum * r / k;
	for (; n > 0; n--)
		sum *= 2;
	return sum;
}

/* Sine of x (first = 1) or cosine (first = 0) for |x| <= pi/4, by their Taylor sums. */
DEV double rp_taylor(double x, int first)
{
	double sum = 1;
	for (int k = first + 16; k > first; k -= 2)
		sum = 1 - sum * x * x / (k * (k - 1));
	return first ? sum * x : sum;
}

KERNEL void LAUNCH_BOUNDS(ROPE_TABLE_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	f32x2 *out = (f32x2 *)c.arg[0];
	i64 n = c.n[0] * (DIM / 2), step = (i64)grid_blocks() * ROPE_TABLE_THREADS;

	for (i64 i = (i64)block_id() * ROPE_TABLE_THREADS + thread_id(); i < n; i += step) {
		int j = (int)(i % (DIM / 2));
		float power = (float)(2 * j) / (float)DIM;
		float frequency = 1.0f / (float)rp_exp((double)power * RP_LN_THETA);
		double angle = (double)((float)(i / (DIM / 2)) * frequency);
		i64 quarter = (i64)(angle / RP_HALF_PI + 0.5);
		double r = angle - (double)quarter * RP_HALF_PI - (double)quarter * RP_HALF_PI_REST;
		double x = rp_taylor(r, 0), y = rp_taylor(r, 1);
		if (quarter & 1) {
			double swap = x;
			x = -y;
			y = swap;
		}
		float sign = quarter & 2 ? -1.0f : 1.0f;
		out[i] = f32x2{sign * (float)x, sign * (float)y};
	}
}
