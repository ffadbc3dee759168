/* embedding_grad.cuh - gradient of the embedding table: dw[tokens[t],:] += dy[t,:], t ascending.
 *
 * arg: tokens i32[T], dy ELEM[T,WIDTH], dw f32[VOCAB,WIDTH]. Tokens equal to PADDING_IDX (-1: none) give
 * no gradient. ACC 1 adds to dw. ACC 0 writes all of dw, with two kernels: PART 0 zeros it, PART 1 adds.
 * Parameters: KERNEL_NAME, WIDTH (a multiple of 8), VOCAB (used by ACC 0 only), PADDING_IDX, ELEM (bf16, or
 * float), ACC, PART.
 * Launch: EMBEDDING_GRAD_THREADS threads, T * EMBEDDING_GRAD_SLICES blocks (EMBEDDING_GRAD_SLICES =
 * ceil(WIDTH / 2048); any number where PART 0 zeros), EMBEDDING_GRAD_SHARED bytes of shared memory; 70
 * registers.
 *
 * A block belongs to a token and 2048 columns. It works when no earlier token is the same word: then it
 * adds the rows of all tokens of that word, in order, to the word's row of dw, which no other block
 * touches. So every element is one chain in token order, the same as on the host, and there are no
 * atomics. Bytes: T WIDTH * sizeof(ELEM) and 8 WIDTH per distinct word; 4 T^2 / 2 from the L2 to find
 * equal tokens.
 *
 * @need WIDTH, WIDTH % 8 == 0, embeddings whose width is a multiple of 8
 * @parts ACC ? 1 : 2
 * @let ZEROS, !ACC && PART == 0
 * @threads 256
 * @shared 1056
 * @if ZEROS: @grid SMS, 8
 * @if !ZEROS: @grid T, 1, (WIDTH + 2047) / 2048
 */
#include "row.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME embedding_grad
#endif
#ifndef WIDTH
#define WIDTH 6144
#endif
#ifndef VOCAB
#define VOCAB 154880
#endif
#ifndef PADDING_IDX
#define PADDING_IDX -1
#endif
#ifndef ELEM
#define ELEM bf16
#endif
#ifndef ACC
#define ACC 1
#endif
#ifndef PART
#define PART 0
#endif

constexpr int EMBEDDING_GRAD_THREADS = 256, EG_V = 8, EG_COLUMNS = EMBEDDING_GRAD_THREADS * EG_V;
constexpr int EMBEDDING_GRAD_SLICES = (WIDTH + EG_COLUMNS - 1) / EG_COLUMNS;
constexpr int EG_WARPS = EMBEDDING_GRAD_THREADS / WARP, EG_DEPTH = 4;
constexpr int EMBEDDING_GRAD_SHARED = 4 * (EMBEDDING_GRAD_THREADS + EG_WARPS);

static_assert(WIDTH % EG_V == 0, "rows of whole vectors");

/* Whether p holds in any thread of the block. `words`: one per warp, not read by anyone any more. */
DEV bool eg_any(bool p, u32 *words)
{
	u32 mine = ballot(p), any = 0;
	if (lane_id() == 0)
		words[thread_id() / WARP] = mine;
	block_sync();
	for (int w = 0; w < EG_WARPS; w++)
		any |= words[w];
	block_sync();
	return any != 0;
}

/* Whether a token before t is the same. */
DEV bool eg_earlier(const i32 *tokens, int t, u32 *words)
{
	for (int base = 0; base < t; base += EMBEDDING_GRAD_THREADS) {
		int i = base + thread_id();
		if (eg_any(i < t && tokens[i] == tokens[t], words))
			return true;
	}
	return false;
}

/* The positions in base .. base+255, below T, of tokens that are `word`: to list, ascending; how many. */
DEV int eg_find(const i32 *tokens, int T, int base, i32 word, i32 *list, u32 *words)
{
	int i = base + thread_id(), warp = thread_id() / WARP, before = 0, all = 0;
	bool found = i < T && tokens[i] == word;
	u32 mine = ballot(found);
	if (lane_id() == 0)
		words[warp] = mine;
	block_sync();
	for (int w = 0; w < EG_WARPS; w++) {
		int n = popcount(words[w]);
		before += w < warp ? n : 0;
		all += n;
	}
	if (found)
		list[before + lane_rank(mine)] = i;
	block_sync();
	return all;
}

/* Adds n listed rows of dy, from this thread's columns on; EG_DEPTH loads are under way at a time. */
DEV void eg_add(float (&sum)[EG_V], const ELEM *dy, const i32 *list, int n)
{
	for (int i = 0; i < n; i += EG_DEPTH) {
		float x[EG_DEPTH][EG_V];
		UNROLL
		for (int k = 0; k < EG_DEPTH; k++)
			if (i + k < n)
				load_row(x[k], dy + (i64)list[i + k] * WIDTH);
		UNROLL
		for (int k = 0; k < EG_DEPTH; k++)
			for (int j = 0; j < EG_V && i + k < n; j++)
				sum[j] += x[k][j];
	}
}

/* The block's token and columns. */
DEV void eg_block(const GlmcCall &c, u8 *smem)
{
	const i32 *tokens = (const i32 *)c.arg[0];
	i32 *list = (i32 *)smem;
	u32 *words = (u32 *)(list + EMBEDDING_GRAD_THREADS);
	int t = block_id() / EMBEDDING_GRAD_SLICES, T = c.env.T;
	int col = block_id() % EMBEDDING_GRAD_SLICES * EG_COLUMNS + thread_id() * EG_V;

	if (t >= T || tokens[t] == PADDING_IDX || eg_earlier(tokens, t, words))
		return;
	const i32 word = tokens[t];
	const ELEM *dy = (const ELEM *)c.arg[1] + col;
	float *dw = (float *)c.arg[2] + (i64)word * WIDTH + col, sum[EG_V];
	if (col < WIDTH)
		load_row(sum, dw);
	for (int base = t; base < T; base += EMBEDDING_GRAD_THREADS) {
		int n = eg_find(tokens, T, base, word, list, words);
		if (col < WIDTH)
			eg_add(sum, dy, list, n);
	}
	if (col < WIDTH)
		store_row(dw, sum);
}

DEV void eg_zero(float *dw)
{
	const i64 n = (i64)VOCAB * WIDTH / 4, step = (i64)grid_blocks() * EMBEDDING_GRAD_THREADS;
	for (i64 i = (i64)block_id() * EMBEDDING_GRAD_THREADS + thread_id(); i < n; i += step)
		st16((f32x4 *)dw + i, f32x4{0, 0, 0, 0});
}

KERNEL void LAUNCH_BOUNDS(EMBEDDING_GRAD_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	if (!ACC && PART == 0)
		eg_zero((float *)c.arg[2]);
	else
		eg_block(c, smem);
}
