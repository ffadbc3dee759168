/* sumsq.cuh - normalises a gradient and sums its squares: grad *= env.scale; sums of grad^2.
 *
 * arg: grad f32[n] (scaled in place), sums f64[SUMSQ_PARTS] (written; their sum in order from 0 is the
 * result); n[0] = n.
 * Parameters: KERNEL_NAME.
 * Launch: SUMSQ_THREADS threads, SUMSQ_PARTS blocks, SUMSQ_SHARED bytes of shared memory; 70
 * registers. grad needs 4-byte alignment; 16-byte accesses are used where it has 16.
 *
 * Order of the sum, the same bits as templates/host/sumsq.h, all in float64 (where squares are exact):
 * chunks of 1024 elements; in a chunk element i goes to partial sum i % 128, and the 128 are added in
 * halves (i + 64, i + 32, .. i + 1); chunk c goes to chain c % 2112, chunks ascending; block b adds its
 * chains 8*b .. 8*b+7. Bytes: 8 n; 2112 chains are two blocks on each of 132 multiprocessors.
 *
 * @threads 256
 * @shared 64
 * @grid FIXED, 264
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME sumsq
#endif

constexpr int SUMSQ_THREADS = 256, SUMSQ_PARTS = 264, SQ_WARPS = SUMSQ_THREADS / WARP;
constexpr int SUMSQ_SHARED = 8 * SQ_WARPS;
constexpr int SQ_CHUNK = 1024, SQ_STEPS = SQ_CHUNK / (4 * WARP), SQ_CHAINS = SUMSQ_PARTS * SQ_WARPS;

/* The lane's four elements of step k of a chunk, at p; those beyond n are 0. */
DEV f32x4 sq_load(const float *p, i64 n, bool aligned)
{
	if (aligned && n >= 4)
		return ld16<f32x4>(p);
	return f32x4{n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}

DEV void sq_store(float *p, f32x4 x, i64 n, bool aligned)
{
	if (aligned && n >= 4) {
		st16(p, x);
		return;
	}
	const float v[4] = {x.x, x.y, x.z, x.w};
	UNROLL
	for (int i = 0; i < 4; i++)
		if (i < n)
			p[i] = v[i];
}

/* Scales a chunk that has n elements; the sum of its squares, in all lanes. */
DEV double sq_chunk(float *grad, i64 n, float scale, bool aligned)
{
	double sum[4] = {0, 0, 0, 0};
	f32x4 x[SQ_STEPS];
	UNROLL
	for (int k = 0; k < SQ_STEPS; k++)
		x[k] = sq_load(grad + (k * WARP + lane_id()) * 4, n - (k * WARP + lane_id()) * 4, aligned);
	UNROLL
	for (int k = 0; k < SQ_STEPS; k++) {
		x[k] = f32x4{x[k].x * scale, x[k].y * scale, x[k].z * scale, x[k].w * scale};
		sq_store(grad + (k * WARP + lane_id()) * 4, x[k], n - (k * WARP + lane_id()) * 4, aligned);
		const float v[4] = {x[k].x, x[k].y, x[k].z, x[k].w};
		UNROLL
		for (int i = 0; i < 4; i++)
			sum[i] += (double)v[i] * (double)v[i];
	}
	UNROLL
	for (int mask = WARP / 2; mask; mask /= 2) {
		UNROLL
		for (int i = 0; i < 4; i++)
			sum[i] += shfl_xor(sum[i], mask);
	}
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

KERNEL void LAUNCH_BOUNDS(SUMSQ_THREADS, 2) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	double *chains = (double *)smem, sum = 0;
	float *grad = (float *)c.arg[0];
	const bool aligned = (u64)grad % 16 == 0;
	const int warp = thread_id() / WARP;

	for (i64 at = (i64)(block_id() * SQ_WARPS + warp) * SQ_CHUNK; at < c.n[0]; at += (i64)SQ_CHAINS * SQ_CHUNK)
		sum += sq_chunk(grad + at, c.n[0] - at, c.env.scale, aligned);
	if (lane_id() == 0)
		chains[warp] = sum;
	block_sync();
	if (thread_id() > 0)
		return;
	sum = 0;
	for (int w = 0; w < SQ_WARPS; w++)
		sum += chains[w];
	((double *)c.arg[1])[block_id()] = sum;
}
