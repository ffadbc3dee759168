/* every_key.cuh - the selection that holds every key.
 *
 * arg: selection u32[T,SELW] (written, all bits set; attention looks at causal keys only).
 * Parameters: KERNEL_NAME, SELW.
 * Launch: EVERY_KEY_THREADS threads, any number of blocks, no shared memory; 24 registers.
 * Bytes: 4 T SELW.
 *
 * @threads 256
 * @grid SMS, 4
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME every_key
#endif
#ifndef SELW
#define SELW 128
#endif

constexpr int EVERY_KEY_THREADS = 256;

KERNEL void LAUNCH_BOUNDS(EVERY_KEY_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	u32 *selection = (u32 *)c.arg[0];
	i64 n = (i64)c.env.T * SELW, step = (i64)grid_blocks() * EVERY_KEY_THREADS;

	for (i64 i = (i64)block_id() * EVERY_KEY_THREADS + thread_id(); i < n; i += step)
		selection[i] = 0xffffffffu;
}
