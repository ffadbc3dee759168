/* balanced_ids.cuh - the fake balanced gate: ids[t,j] = (t * TOP_K + j) mod EXPERTS, ascending in j.
 *
 * arg: ids i32[T,TOP_K] (written); t is the position in the microbatch.
 * Parameters: KERNEL_NAME, EXPERTS, TOP_K (at most EXPERTS).
 * Launch: BALANCED_IDS_THREADS threads, any number of blocks, no shared memory; 30 registers.
 * A thread writes one id. Bytes: 4 T TOP_K.
 *
 * @threads 256
 * @grid T, 32, 1
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME balanced_ids
#endif
#ifndef EXPERTS
#define EXPERTS 256
#endif
#ifndef TOP_K
#define TOP_K 8
#endif

static_assert(TOP_K >= 1 && TOP_K <= EXPERTS, "distinct experts");

constexpr int BALANCED_IDS_THREADS = 256;

/* The run start .. start+K-1 wraps at most once: what wrapped comes first. */
DEV i32 balanced_id(i64 t, i32 j)
{
	i32 start = (i32)(t * TOP_K % EXPERTS);
	i32 wrapped = start + TOP_K > EXPERTS ? start + TOP_K - EXPERTS : 0;
	return j < wrapped ? j : start + j - wrapped;
}

KERNEL void LAUNCH_BOUNDS(BALANCED_IDS_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	i32 *ids = (i32 *)c.arg[0];
	i64 n = (i64)c.env.T * TOP_K, step = (i64)grid_blocks() * BALANCED_IDS_THREADS;

	for (i64 i = (i64)block_id() * BALANCED_IDS_THREADS + thread_id(); i < n; i += step)
		ids[i] = balanced_id(i / TOP_K, (i32)(i % TOP_K));
}
