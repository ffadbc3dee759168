/* embedding.cuh - rows of the embedding table: y[t,:] = w[tokens[t],:].
 *
 * arg: tokens i32[T], w ELEM[V,WIDTH], y ELEM[T,WIDTH] (written). Every token is in 0 .. V-1.
 * Parameters: KERNEL_NAME, WIDTH, ELEM (bf16, or float).
 * Launch: EMBEDDING_THREADS threads, ceil(T / EMBEDDING_TOKENS) blocks, no shared memory; 28
 * registers.
 *
 * A warp copies the row of one token, 16 bytes to an access where rows are multiples of that. Bytes:
 * 2 * T * row; no arithmetic.
 *
 * @threads 256
 * @grid T, 8, 1
 */
#include "copy.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME embedding
#endif
#ifndef WIDTH
#define WIDTH 6144
#endif
#ifndef ELEM
#define ELEM bf16
#endif

constexpr int EMBEDDING_TOKENS = 8, EMBEDDING_THREADS = EMBEDDING_TOKENS * WARP;

KERNEL void LAUNCH_BOUNDS(EMBEDDING_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	const i32 *tokens = (const i32 *)c.arg[0];
	const ELEM *w = (const ELEM *)c.arg[1];
	ELEM *y = (ELEM *)c.arg[2];
	i64 t = block_id() * EMBEDDING_TOKENS + thread_id() / WARP;

	if (t < c.env.T)
		copy_row(y + t * WIDTH, w + (i64)tokens[t] * WIDTH, WIDTH * sizeof(ELEM));
}
