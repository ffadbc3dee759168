/* attention_grad_kv.cuh - the gradient of attention.cuh to keys and values; after attention_grad_q.cuh.
 *
 *     p = exp(SCALE q.k - lse)    dv[u] = sum_t p do[t]
 *     ds = p (do[t].v[u] - delta[t])    dk[u] = SCALE sum_t ds q[t]
 *
 * summed over the heads of the keys' group too.
 *
 * arg: q bf16[T,N,H], k bf16[T,G,H], v bf16[T,G,HV], o (not read), lse f32[T,N], do bf16[T,N,HV],
 * [selection u32[T,SELW]], dq (not touched), dk bf16[T,G,H], dv bf16[T,G,HV] (written), delta f32[T,N].
 *
 * Parameters: KERNEL_NAME, those of attention_tile.cuh, TILE_Q queries of a tile (64).
 * Launch: ATTENTION_THREADS threads, ATTENTION_SHARED bytes, blocks ceil(T / 64) * G.
 *
 * A block owns 64 keys of one group and adds up over heads and queries, so nothing is added from
 * outside and the bits do not depend on timing. Transposed scores keep P in registers as operand:
 * warpgroup 0 makes p' = exp(k q') and dv += p' do, warpgroup 1 makes v do', takes p' through shared
 * memory, and dk += ds' q; one warpgroup copies tiles of queries (Q and do) with what belongs to their
 * rows: lse, delta, and 64 bits that say which of the block's keys the query sees.
 * H = HV = 256: 213 KiB of shared memory, 232 registers in the computing threads.
 *
 * Order of sums: heads, then queries ascending in tiles of TILE_Q from the first key on.
 *
 * @need HEAD_DIM, HEAD_DIM % 16 == 0 && HEAD_DIM <= 256, heads of queries and keys whose width is a multiple of 16 up to 256
 * @need V_DIM, V_DIM % 16 == 0 && V_DIM <= 256, heads of values whose width is a multiple of 16 up to 256
 * @tile TILE_Q, 64, TILE_Q % 16 == 0 && TILE_Q >= 16 && TILE_Q <= 128, a multiple of 16 up to 128
 * @let CHUNKS, (HEAD_DIM + 63) / 64 + (V_DIM + 63) / 64
 * @threads 384
 * @shared CHUNKS * 64 * 128 + 2 * CHUNKS * TILE_Q * 128 + TILE_Q * 256 + up(32 * TILE_Q + 56, 1024)
 * @work T, HEADS * 4
 * @grid T, 64, KV_HEADS
 */
#include "attention_tile.cuh"

static_assert(HEAD_DIM <= 256 && V_DIM <= 256, "wider heads are for attention_absorbed.cuh");

#ifndef KERNEL_NAME
#define KERNEL_NAME attention_grad_kv
#endif
#ifndef TILE_Q
#define TILE_Q 64
#endif

constexpr int AK_KEYS = 64;
constexpr int AK_K = at_bytes(AK_KEYS, HEAD_DIM), AK_V = at_bytes(AK_KEYS, V_DIM);
constexpr int AK_Q = at_bytes(TILE_Q, HEAD_DIM), AK_SLOT = AK_Q + at_bytes(TILE_Q, V_DIM);
constexpr int AK_SLOTS = 2;
constexpr int AK_P = TILE_Q / 2 * WARPGROUP * 4;     /* p' of a tile as it passes between warpgroups */
constexpr int ATTENTION_THREADS = 3 * WARPGROUP;
static_assert(TILE_Q <= WARPGROUP && TILE_Q % 16 == 0, "a thread describes a query");

/* What belongs to the rows of a tile of queries. */
struct AkRows {
	float lse2[TILE_Q], delta[TILE_Q];
	u32 sees[AK_KEYS / 32][TILE_Q];
};

struct AkShared {
	AkRows rows[AK_SLOTS];
	u64 keys, full[AK_SLOTS], empty[AK_SLOTS], passed, taken;
};
constexpr int ATTENTION_SHARED = AK_K + AK_V + AK_SLOTS * AK_SLOT + AK_P + ((int)sizeof(AkShared) + 1023) / 1024 * 1024;
static_assert(ATTENTION_SHARED <= AT_SHARED_MAX, "two tiles of queries fit");
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == ATTENTION_THREADS && LAUNCH_SHARED >= ATTENTION_SHARED, "the head gives threads and shared memory");
#endif

/* Keys key .. key+64 of a group; queries up to `end`, where the document of the last key ends. */
struct AkWork {
	int group, key, end, tiles;
};

DEV AkWork ak_work(const GlmcEnv &env)
{
	AkWork w;
	w.group = block_id() % KV_HEADS;
	w.key = block_id() / KV_HEADS * AK_KEYS;             /* long columns first */
	int last = at_min(w.key + AK_KEYS, env.T) - 1, d = 0;
	while (d + 1 < env.ndoc && env.cu[d + 1] <= last)
		d++;
	w.end = env.cu[d + 1];
	w.tiles = (w.end - w.key + TILE_Q - 1) / TILE_Q;
	return w;
}

/* lse, delta and visible keys of query t (none when it is beyond the end), at place i of the tile. */
DEV void ak_row(const GlmcCall &c, const AkWork &w, int head, int t, AkRows *rows, int i)
{
	const u32 *selection = SELW ? (const u32 *)c.arg[6] : nullptr;
	u32 sees[AK_KEYS / 32] = {};
	float lse2 = 0, delta = 0;
	if (t < w.end) {
		int first = t - c.env.pos[t];
		lse2 = ((const float *)c.arg[4])[(i64)t * HEADS + head] * AT_LOG2E;
		delta = ((const float *)c.arg[SELW ? 10 : 9])[(i64)t * HEADS + head];
		at_visible(sees, t, first, w.key, selection);
	}
	rows->lse2[i] = lse2;
	rows->delta[i] = delta;
	UNROLL
	for (int k = 0; k < AK_KEYS / 32; k++)
		rows->sees[k][i] = sees[k];
}

DEV void ak_copy(const GlmcCall &c, const AkWork &w, u8 *keys, u8 *values, u8 *ring, AkShared *sh, int thread)
{
	const bf16 *q = (const bf16 *)c.arg[0], *d = (const bf16 *)c.arg[5];
	const bf16 *k = (const bf16 *)c.arg[1] + w.group * HEAD_DIM, *v = (const bf16 *)c.arg[2] + w.group * V_DIM;
	at_load<AK_KEYS, HEAD_DIM>(keys, k, KV_HEADS * HEAD_DIM, w.key, c.env.T, thread);
	at_load<AK_KEYS, V_DIM>(values, v, KV_HEADS * V_DIM, w.key, c.env.T, thread);
	cp_arrive(&sh->keys);
	for (int n = 0; n < AT_GROUP * w.tiles; n++) {
		int slot = n % AK_SLOTS, head = w.group * AT_GROUP + n / w.tiles, t = w.key + n % w.tiles * TILE_Q;
		u8 *tile = ring + slot * AK_SLOT;
		mbar_wait(&sh->empty[slot], (u32)(n / AK_SLOTS & 1) ^ 1);
		at_load<TILE_Q, HEAD_DIM>(tile, q + head * HEAD_DIM, HEADS * HEAD_DIM, t, w.end, thread);
		at_load<TILE_Q, V_DIM>(tile + AK_Q, d + head * V_DIM, HEADS * V_DIM, t, w.end, thread);
		cp_arrive(&sh->full[slot]);
		if (thread < TILE_Q)
			ak_row(c, w, head, t + thread, &sh->rows[slot], thread);
		mbar_arrive(&sh->full[slot]);
	}
}

/* acc[64 keys, N] += s' tile, where the tile's rows are queries. */
template <int N> DEV void ak_add(float (&acc)[N / 2], const float (&s)[TILE_Q / 2], const u8 *tile)
{
	u32 a[TILE_Q / 16][4];
	UNROLL
	for (int step = 0; step < TILE_Q / 16; step++)
		at_fragment(a[step], s, step);
	wg_fence();
	UNROLL
	for (int step = 0; step < TILE_Q / 16; step++)
		wgmma_rs<N, 1>(acc, a[step], at_by_row<TILE_Q>(tile, step), 1);
	wg_commit();
	wg_wait<0>(acc);
}

/* s[64 keys, TILE_Q] = a b', both of `COLS` columns. */
template <int COLS> DEV void ak_scores(float (&s)[TILE_Q / 2], const u8 *a, const u8 *b)
{
	fence_async();
	wg_fence();
	UNROLL
	for (int step = 0; step < COLS / 16; step++)
		wgmma_ss<TILE_Q, 0, 0>(s, at_by_column<AK_KEYS>(a, step), at_by_column<TILE_Q>(b, step), step > 0);
	wg_commit();
	wg_wait<0>(s);
}

DEV void ak_values(const GlmcCall &c, const AkWork &w, const u8 *keys, u8 *values, const u8 *ring, float *pass,
                   AkShared *sh, int thread)
{
	float dv[V_DIM / 2], s[TILE_Q / 2];
	int word = at_row(thread) / 32, bit = at_row(thread) % 32;
	UNROLL
	for (int i = 0; i < V_DIM / 2; i++)
		dv[i] = 0;
	mbar_wait(&sh->keys, 0);
	for (int n = 0; n < AT_GROUP * w.tiles; n++) {
		int slot = n % AK_SLOTS;
		const u8 *tile = ring + slot * AK_SLOT;
		const AkRows *rows = &sh->rows[slot];
		mbar_wait(&sh->full[slot], (u32)(n / AK_SLOTS & 1));
		ak_scores<HEAD_DIM>(s, keys, tile);
		mbar_wait(&sh->taken, (u32)(n & 1) ^ 1);
		UNROLL
		for (int i = 0; i < TILE_Q / 2; i++) {
			u32 sees = rows->sees[word][at_col(i)] >> (bit + 8 * at_half(i)) & 1;
			float p = exp2_fast(fmaf(s[i], AT_SCALE2, -rows->lse2[at_col(i)]));
			s[i] = sees ? p : 0;
			pass[i * WARPGROUP + thread] = s[i];
		}
		mbar_arrive(&sh->passed);
		ak_add<V_DIM>(dv, s, tile + AK_Q);
		mbar_arrive(&sh->empty[slot]);
	}
	bar_sync(3, 2 * WARPGROUP);
	const float factor[2] = {1, 1};
	bf16 *out = (bf16 *)c.arg[SELW ? 9 : 8] + w.group * V_DIM;
	at_store<V_DIM>(out, KV_HEADS * V_DIM, w.key, c.env.T, dv, factor, values, 1, thread);
}

DEV void ak_keys(const GlmcCall &c, const AkWork &w, u8 *keys, const u8 *values, const u8 *ring, const float *pass,
                 AkShared *sh, int thread)
{
	float dk[HEAD_DIM / 2], s[TILE_Q / 2];
	UNROLL
	for (int i = 0; i < HEAD_DIM / 2; i++)
		dk[i] = 0;
	mbar_wait(&sh->keys, 0);
	for (int n = 0; n < AT_GROUP * w.tiles; n++) {
		int slot = n % AK_SLOTS;
		const u8 *tile = ring + slot * AK_SLOT;
		const AkRows *rows = &sh->rows[slot];
		mbar_wait(&sh->full[slot], (u32)(n / AK_SLOTS & 1));
		ak_scores<V_DIM>(s, values, tile + AK_Q);
		mbar_wait(&sh->passed, (u32)(n & 1));
		UNROLL
		for (int i = 0; i < TILE_Q / 2; i++)
			s[i] = pass[i * WARPGROUP + thread] * (s[i] - rows->delta[at_col(i)]);
		mbar_arrive(&sh->taken);
		ak_add<HEAD_DIM>(dk, s, tile);
		mbar_arrive(&sh->empty[slot]);
	}
	bar_sync(3, 2 * WARPGROUP);
	const float factor[2] = {SCALE, SCALE};
	bf16 *out = (bf16 *)c.arg[SELW ? 8 : 7] + w.group * HEAD_DIM;
	at_store<HEAD_DIM>(out, KV_HEADS * HEAD_DIM, w.key, c.env.T, dk, factor, keys, 2, thread);
}

KERNEL void LAUNCH_BOUNDS(ATTENTION_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u8 *keys = smem, *values = keys + AK_K, *ring = values + AK_V;
	float *pass = (float *)(ring + AK_SLOTS * AK_SLOT);
	AkShared *sh = (AkShared *)((u8 *)pass + AK_P);
	int group = warp_id() / 4, thread = thread_id() % WARPGROUP;
	if (thread_id() == 0) {
		mbar_init(&sh->keys, WARPGROUP);
		mbar_init(&sh->passed, WARPGROUP);
		mbar_init(&sh->taken, WARPGROUP);
		for (int i = 0; i < AK_SLOTS; i++) {
			mbar_init(&sh->full[i], 2 * WARPGROUP);
			mbar_init(&sh->empty[i], 2 * WARPGROUP);
		}
		mbar_init_fence();
	}
	block_sync();
	AkWork w = ak_work(c.env);
	if (group == 2) {
		reg_dec<48>();
		ak_copy(c, w, keys, values, ring, sh, thread);
		cp_wait<0>();
	} else if (group == 0) {
		reg_inc<232>();
		ak_values(c, w, keys, values, ring, pass, sh, thread);
	} else {
		reg_inc<232>();
		ak_keys(c, w, keys, values, ring, pass, sh, thread);
	}
}
