/* rows.cuh - rows between the order of tokens or slots and that of an exchange round.
 *
 *     slot(i) = order[begin[e] + i - at[e]]     packed row i with at[e] <= i < at[e+1]
 *     UNPACK 0:  packed[i] = rows[slot(i) / K]
 *     UNPACK 1:  rows[slot(i)] = packed[i];  rows[order[j]] = 0 for the places j = n[2] .. n[3]-1
 *
 * arg: rows (by token, or by slot when K is 1), packed, order i32[slots], round i32[2*E+1]: begin[E],
 * then at[E+1] (runtime/rt_exchange.h). `packed` (UNPACK 0) or `rows` is written.
 * n[0] = bytes of a row, even; n[1] = E; UNPACK 0: n[2] = K; UNPACK 1: n[2], n[3] = places of slots that
 * get zeros.
 * Parameters: KERNEL_NAME, UNPACK.
 * Launch: ROWS_THREADS threads, any number of blocks, no shared memory; 72 registers.
 *
 * A warp copies a row, 16 bytes to an access where rows are multiples of that. Bytes: 2 per byte moved.
 *
 * @threads 256
 * @grid SMS, 8
 */
#include "copy.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME rows
#endif
#ifndef UNPACK
#define UNPACK 0
#endif

constexpr int ROWS_THREADS = 256;

/* The expert of packed row i: the last e with at[e] <= i, as experts without rows come first. */
DEV int rows_expert(const i32 *at, int experts, i64 i)
{
	int lo = 0, hi = experts - 1;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (at[mid + 1] > i)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

KERNEL void LAUNCH_BOUNDS(ROWS_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	u8 *rows = (u8 *)c.arg[0], *packed = (u8 *)c.arg[1];
	const i32 *order = (const i32 *)c.arg[2], *begin = (const i32 *)c.arg[3];
	const int experts = (int)c.n[1];
	const i32 *at = begin + experts;
	i64 bytes = c.n[0], moved = at[experts], end = moved + (UNPACK ? c.n[3] - c.n[2] : 0);
	i64 step = (i64)grid_blocks() * (ROWS_THREADS / WARP);

	for (i64 i = block_id() * (ROWS_THREADS / WARP) + thread_id() / WARP; i < end; i += step) {
		if (i >= moved) {
			zero_row(rows + order[c.n[2] + i - moved] * bytes, bytes);
			continue;
		}
		int e = rows_expert(at, experts, i);
		i64 slot = order[begin[e] + i - at[e]];
		if (UNPACK)
			copy_row(rows + slot * bytes, packed + i * bytes, bytes);
		else
			copy_row(packed + i * bytes, rows + slot / c.n[2] * bytes, bytes);
	}
}
