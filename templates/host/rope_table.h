/* rope_table.h - cosines and sines of the rotary embedding, once per step.
 *
 *   KERNEL  name        THETA  base        D  rotated width, even
 *   out  [n[0], D/2, 2]  f32  out  cos and sin of position * THETA^(-2j/D)
 *
 * The angle is a float32 product of a float32 frequency, as transformers computes it; its cosine
 * is then exact to float32.
 */
#ifndef KERNEL
#define KERNEL rope_table
#define THETA 10000.0
#define D 64
#endif

#include <math.h>

#include "rt_kernel.h"

#define SCRATCH_BYTES 0

static void rope_positions(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	const int64_t p0 = job * 64, p1 = p0 + 64 < c->n[0] ? p0 + 64 : c->n[0];
	float *out = c->arg[0];
	(void)thread;
	for (int j = 0; j < D / 2; j++) {
		const float frequency = 1.0f / powf((float)THETA, (float)(2 * j) / (float)D);
		for (int64_t p = p0; p < p1; p++) {
			const double angle = (double)((float)p * frequency);
			out[p * D + 2 * j] = (float)cos(angle);
			out[p * D + 2 * j + 1] = (float)sin(angle);
		}
	}
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	rt_parallel(c->pool, (c->n[0] + 63) / 64, rope_positions, (void *)c);
}
