/* columns.cuh - the second stage of a sum over rows: adds the partial sums that a row kernel has left
 * per block of PER rows.
 *
 *   partial  f32 [blocks][WIDTH]  in   blocks = ceil(rows / PER), rows = T, or R with ROWS_R
 *   out      f32 [WIDTH]          out  written, or added to with ACC
 *
 * A block has 32 columns and 8 warps. A warp adds an eighth of the partial sums, consecutive ones, in
 * ascending order; then the eight are added in ascending order, last to what is there. Bytes: 4 * blocks *
 * WIDTH; no more than 24 registers.
 *
 * @threads 256
 * @shared 1024
 * @grid FIXED, (WIDTH + 31) / 32
 */
#ifndef KERNEL_NAME
#define KERNEL_NAME columns
#define WIDTH 6144
#define PER 16
#define ROWS_R 0
#define ACC 1
#endif

#include "dev.cuh"

KERNEL void LAUNCH_BOUNDS(256, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	float *sums = (float *)smem;
	const float *partial = (const float *)c.arg[0];
	float *out = (float *)c.arg[1];
	const int rows = ROWS_R ? c.env.R : c.env.T, blocks = (rows + PER - 1) / PER;
	const int warp = thread_id() / 32, col = block_id() * 32 + lane_id();
	const int first = (int)((i64)blocks * warp / 8), last = (int)((i64)blocks * (warp + 1) / 8);
	float sum = 0;
	if (col < WIDTH)
		for (int b = first; b < last; b++)
			sum += partial[(i64)b * WIDTH + col];
	sums[thread_id()] = sum;
	block_sync();
	if (warp != 0 || col >= WIDTH)
		return;
	sum = 0;
	for (int w = 0; w < 8; w++)
		sum += sums[w * 32 + lane_id()];
	out[col] = ACC ? out[col] + sum : sum;
}
