/* row_sums.cuh - the second stage of sums over the columns of a row: adds the sums of TILES tiles of columns that
 * the epilogue of a product has left (grouped_gemm.cuh).
 *
 *   parts   f32 [R][SUMS][TILES]                 in
 *   SUMS results, bf16 (SUM_F32 1: f32) [R]      out, rounded once
 *
 * A thread adds the tiles of one sum of one row, ascending. Bytes: 4 R SUMS TILES; no more than 32 registers.
 *
 * @threads 256
 * @shared 0
 * @grid R, 256, SUMS
 */
#ifndef KERNEL_NAME
#define KERNEL_NAME row_sums
#endif
#ifndef SUMS
#define SUMS 1
#endif
#ifndef TILES
#define TILES 16
#endif
#ifndef SUM_F32
#define SUM_F32 0
#endif

#include "dev.cuh"

constexpr int ROW_SUMS_THREADS = 256;

KERNEL void LAUNCH_BOUNDS(ROW_SUMS_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	int s = block_id() % SUMS, row = block_id() / SUMS * ROW_SUMS_THREADS + thread_id();
	if (row >= c.env.R)
		return;
	const float *tile = (const float *)c.arg[0] + ((i64)row * SUMS + s) * TILES;
	float sum = tile[0];
	for (int i = 1; i < TILES; i++)
		sum += tile[i];
	if (SUM_F32)
		((float *)c.arg[1 + s])[row] = sum;
	else
		((bf16 *)c.arg[1 + s])[row] = to_bf16(sum);
}
