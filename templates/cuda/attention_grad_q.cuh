/* attention_grad_q.cuh - the gradient of attention.cuh to the queries; the first of two kernels.
 *
 *     p = exp(SCALE q.k - lse)    delta[t,n] = do[t,n,:] . o[t,n,:]
 *     ds = p (do[t].v[u] - delta[t])    dq[t] = SCALE sum_u ds k[u]
 *
 * arg: q bf16[T,N,H], k bf16[T,G,H], v bf16[T,G,HV], o bf16[T,N,HV], lse f32[T,N], do bf16[T,N,HV],
 * [selection u32[T,SELW]], dq bf16[T,N,H] (written), dk, dv (not touched), delta f32[T,N] (written, for
 * attention_grad_kv.cuh).
 *
 * Parameters: KERNEL_NAME, those of attention_tile.cuh, TILE_K keys of a tile (64).
 * Launch: ATTENTION_THREADS threads, ATTENTION_SHARED bytes, blocks ceil(T / 128) * N.
 *
 * A block is 128 queries of one head, as in attention.cuh: scores and do.v by wgmma from shared memory,
 * ds rounded to bf16 in registers, ds k by wgmma with the keys' rows as k. Three products where a
 * backward with atomics needs 2.5: nobody else adds to dq, so its bits do not depend on timing.
 * H = HV = 256: 226 KiB of shared memory, 232 registers in the computing threads.
 *
 * Order of sums: keys ascending in tiles of TILE_K.
 *
 * @need HEAD_DIM, HEAD_DIM % 16 == 0 && HEAD_DIM <= 256, heads of queries and keys whose width is a multiple of 16 up to 256
 * @need V_DIM, V_DIM % 16 == 0 && V_DIM <= 256, heads of values whose width is a multiple of 16 up to 256
 * @let CHUNKS, (max(HEAD_DIM, V_DIM) + 63) / 64
 * @let QUERIES, 2 * 64 * 128 * ((HEAD_DIM + 63) / 64 + (V_DIM + 63) / 64)
 * @let ROOM, 232448 - 2048 - QUERIES
 * @tile TILE_K, 64, TILE_K % 16 == 0 && TILE_K >= 16 && TILE_K <= 256 && 2 * CHUNKS * TILE_K * 128 <= ROOM, a multiple of 16 up to 256, and two tiles fit in shared memory
 * @let SLOT, CHUNKS * TILE_K * 128
 * @threads 384
 * @shared QUERIES + min(4, ROOM / SLOT) * SLOT + 2048
 * @work T, HEADS * 4
 * @grid T, 128, HEADS
 */
#include "attention_tile.cuh"

static_assert(HEAD_DIM <= 256 && V_DIM <= 256, "wider heads are for attention_absorbed.cuh");

#ifndef KERNEL_NAME
#define KERNEL_NAME attention_grad_q
#endif
#ifndef TILE_K
#define TILE_K 64
#endif

constexpr int AQ_Q = at_bytes(64, HEAD_DIM), AQ_DO = at_bytes(64, V_DIM);    /* of one warpgroup */
constexpr int AQ_SLOT = at_bytes(TILE_K, at_max(HEAD_DIM, V_DIM));
constexpr int AQ_SLOTS = at_min(4, (AT_SHARED_MAX - 2048 - 2 * (AQ_Q + AQ_DO)) / AQ_SLOT);
constexpr int AQ_WORDS = (TILE_K + 31) / 32;
constexpr int ATTENTION_THREADS = 3 * WARPGROUP;
constexpr int ATTENTION_SHARED = 2 * (AQ_Q + AQ_DO) + AQ_SLOTS * AQ_SLOT + 2048;
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == ATTENTION_THREADS && LAUNCH_SHARED >= ATTENTION_SHARED, "the head gives threads and shared memory");
#endif
static_assert(AQ_SLOTS >= 2, "two tiles fit");

struct AqShared {
	u64 query, full[AQ_SLOTS], empty[AQ_SLOTS];
	float delta[2][64];
};

DEV void aq_copy(const GlmcCall &c, const AtWork &w, u8 *query, u8 *dout, u8 *ring, AqShared *sh, int thread)
{
	const bf16 *q = (const bf16 *)c.arg[0] + w.head * HEAD_DIM;
	const bf16 *k = (const bf16 *)c.arg[1] + w.head / AT_GROUP * HEAD_DIM;
	const bf16 *v = (const bf16 *)c.arg[2] + w.head / AT_GROUP * V_DIM;
	const bf16 *d = (const bf16 *)c.arg[5] + w.head * V_DIM;
	int end = at_min(w.begin + AT_QUERIES, c.env.T);
	for (int g = 0; g < 2; g++) {
		at_load<64, HEAD_DIM>(query + g * AQ_Q, q, HEADS * HEAD_DIM, w.begin + 64 * g, end, thread);
		at_load<64, V_DIM>(dout + g * AQ_DO, d, HEADS * V_DIM, w.begin + 64 * g, end, thread);
	}
	cp_arrive(&sh->query);
	int slot = 0, key = w.first;
	u32 phase = 1;
	for (int n = 0; n < 2 * w.tiles; n++) {
		u8 *tile = ring + slot * AQ_SLOT;
		mbar_wait(&sh->empty[slot], phase);
		if (n % 2 == 0)
			at_load<TILE_K, HEAD_DIM>(tile, k, KV_HEADS * HEAD_DIM, key, end, thread);
		else
			at_load<TILE_K, V_DIM>(tile, v, KV_HEADS * V_DIM, key, end, thread);
		cp_arrive(&sh->full[slot]);
		key += n % 2 * TILE_K;
		if (++slot == AQ_SLOTS) {
			slot = 0;
			phase ^= 1;
		}
	}
}

/* delta of the warpgroup's 64 queries, two threads a row. */
DEV void aq_delta(const GlmcCall &c, const AtWork &w, int begin, int end, float *delta, int thread)
{
	int t = begin + thread / 2, from = thread % 2 * (V_DIM / 2);
	float sum = 0;
	if (t < end) {
		i64 at = ((i64)t * HEADS + w.head) * V_DIM + from;
		const bf16 *o = (const bf16 *)c.arg[3] + at, *d = (const bf16 *)c.arg[5] + at;
		for (int i = 0; i < V_DIM / 2; i += 8) {
			u32x4 x = ld16<u32x4>(o + i), y = ld16<u32x4>(d + i);
			const u32 a[4] = {x.x, x.y, x.z, x.w}, b[4] = {y.x, y.y, y.z, y.w};
			UNROLL
			for (int k = 0; k < 4; k++)
				sum += bf16_lo(a[k]) * bf16_lo(b[k]) + bf16_hi(a[k]) * bf16_hi(b[k]);
		}
	}
	sum += shfl_xor(sum, 1);
	if (thread % 2 == 0) {
		delta[thread / 2] = sum;
		if (t < end)
			((float *)c.arg[SELW ? 10 : 9])[(i64)t * HEADS + w.head] = sum;
	}
}

/* A thread's two rows. */
struct AqRows {
	int t[2], first[2];
	float lse2[2], delta[2];
};

/* s: scores become ds; dp: do.v. */
DEV void aq_gradient(float (&s)[TILE_K / 2], const float (&dp)[TILE_K / 2], const AqRows &r, int key,
                     const u32 *selection)
{
	u32 bits[2][AQ_WORDS];
	UNROLL
	for (int h = 0; h < 2; h++)
		at_visible(bits[h], r.t[h], r.first[h], key, selection);
	UNROLL
	for (int i = 0; i < TILE_K / 2; i++) {
		int h = at_half(i);
		u32 bit = bits[h][i / 16] >> (at_col(i) & 31) & 1;
		float p = exp2_fast(fmaf(s[i], AT_SCALE2, -r.lse2[h]));
		s[i] = bit ? p * (dp[i] - r.delta[h]) : 0;
	}
}

DEV void aq_tile(float (&dq)[HEAD_DIM / 2], const AqRows &r, const u8 *query, const u8 *dout, const u8 *ring,
                 AqShared *sh, int n, int key, const u32 *selection)
{
	float s[TILE_K / 2], dp[TILE_K / 2];
	u32 a[TILE_K / 16][4];
	int kslot = n % AQ_SLOTS, vslot = (n + 1) % AQ_SLOTS;
	const u8 *k = ring + kslot * AQ_SLOT, *v = ring + vslot * AQ_SLOT;
	mbar_wait(&sh->full[kslot], (u32)(n / AQ_SLOTS & 1));
	mbar_wait(&sh->full[vslot], (u32)((n + 1) / AQ_SLOTS & 1));
	fence_async();
	wg_fence();
	UNROLL
	for (int step = 0; step < HEAD_DIM / 16; step++)
		wgmma_ss<TILE_K, 0, 0>(s, at_by_column<64>(query, step), at_by_column<TILE_K>(k, step), step > 0);
	UNROLL
	for (int step = 0; step < V_DIM / 16; step++)
		wgmma_ss<TILE_K, 0, 0>(dp, at_by_column<64>(dout, step), at_by_column<TILE_K>(v, step), step > 0);
	wg_commit();
	wg_wait<0>(s, dp);
	mbar_arrive(&sh->empty[vslot]);
	aq_gradient(s, dp, r, key, selection);
	UNROLL
	for (int step = 0; step < TILE_K / 16; step++)
		at_fragment(a[step], s, step);
	wg_fence();
	UNROLL
	for (int step = 0; step < TILE_K / 16; step++)
		wgmma_rs<HEAD_DIM, 1>(dq, a[step], at_by_row<TILE_K>(k, step), 1);
	wg_commit();
	wg_wait<0>(dq);
	mbar_arrive(&sh->empty[kslot]);
}

DEV void aq_compute(const GlmcCall &c, const AtWork &w, u8 *query, const u8 *dout, const u8 *ring, AqShared *sh,
                    int group, int thread)
{
	const float *lse = (const float *)c.arg[4];
	const u32 *selection = SELW ? (const u32 *)c.arg[6] : nullptr;
	bf16 *out = (bf16 *)c.arg[SELW ? 7 : 6] + w.head * HEAD_DIM;
	int begin = w.begin + 64 * group, end = at_min(begin + 64, c.env.T);
	float dq[HEAD_DIM / 2];
	AqRows r;
	aq_delta(c, w, begin, end, sh->delta[group], thread);
	bar_sync(1 + group, WARPGROUP);
	UNROLL
	for (int h = 0; h < 2; h++) {
		int row = at_row(thread) + 8 * h, t = begin + row;
		r.t[h] = t < end ? t : 0;
		r.first[h] = t < end ? t - c.env.pos[t] : 1;
		r.lse2[h] = t < end ? lse[(i64)t * HEADS + w.head] * AT_LOG2E : 0;
		r.delta[h] = sh->delta[group][row];
	}
	UNROLL
	for (int i = 0; i < HEAD_DIM / 2; i++)
		dq[i] = 0;
	mbar_wait(&sh->query, 0);
	for (int j = 0; j < w.tiles; j++)
		aq_tile(dq, r, query + group * AQ_Q, dout + group * AQ_DO, ring, sh, 2 * j, w.first + j * TILE_K,
		        selection);
	const float factor[2] = {SCALE, SCALE};
	at_store<HEAD_DIM>(out, HEADS * HEAD_DIM, begin, end, dq, factor, query + group * AQ_Q, 1 + group, thread);
}

KERNEL void LAUNCH_BOUNDS(ATTENTION_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u8 *query = smem, *dout = smem + 2 * AQ_Q, *ring = dout + 2 * AQ_DO;
	AqShared *sh = (AqShared *)(ring + AQ_SLOTS * AQ_SLOT);
	int group = warp_id() / 4, thread = thread_id() % WARPGROUP;
	if (thread_id() == 0) {
		mbar_init(&sh->query, WARPGROUP);
		for (int i = 0; i < AQ_SLOTS; i++) {
			mbar_init(&sh->full[i], WARPGROUP);
			mbar_init(&sh->empty[i], 2 * WARPGROUP);
		}
		mbar_init_fence();
	}
	block_sync();
	AtWork w = at_work<TILE_K>(c.env);
	if (group == 2) {
		reg_dec<48>();
		aq_copy(c, w, query, dout, ring, sh, thread);
		cp_wait<0>();
	} else {
		reg_inc<232>();
		aq_compute(c, w, query, dout, ring, sh, group, thread);
	}
}
