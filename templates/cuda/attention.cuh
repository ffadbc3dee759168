/* attention.cuh - softmax attention, causal within each document, with or without a selection.
 *
 *     o[t,n,:] = sum_u p[t,n,u] v[u,g,:],  p = softmax_u(SCALE q[t,n,:] . k[u,g,:]),  g = n / (N/G)
 *     lse[t,n] = log sum_u exp(SCALE q[t,n,:] . k[u,g,:])
 *
 * arg: q bf16[T,N,H], k bf16[T,G,H], v bf16[T,G,HV], [selection u32[T,SELW]], o bf16[T,N,HV],
 * lse f32[T,N]. A query without a key gives o = 0 and lse = 0.
 *
 * Parameters: KERNEL_NAME, those of attention_tile.cuh, TILE_K keys of a tile (80 for H of 256).
 * Launch: ATTENTION_THREADS threads, ATTENTION_SHARED bytes, blocks ceil(T / 128) * N.
 *
 * A block is 128 queries of one head: two warpgroups of 64 queries each and one that copies tiles of
 * keys and values into a ring of slots (K0 V0 K1 V1 ..). Scores by wgmma from shared memory, online
 * softmax in registers, P rounded to bf16 in registers, P V by wgmma. H = HV = 256: 192 to 224 KiB of
 * shared memory, 232 registers in the computing threads. Work: the causal triangle, 2 T S/2 N (H + HV)
 * FLOPs, whatever is selected; q, k, v, o are moved about once (k, v through the L2 cache).
 *
 * Order of sums: keys ascending in tiles of TILE_K from the first key that a query of the block can
 * see.
 *
 * @need HEAD_DIM, HEAD_DIM % 16 == 0 && HEAD_DIM <= 256, heads of queries and keys whose width is a multiple of 16 up to 256
 * @need V_DIM, V_DIM % 16 == 0 && V_DIM <= 256, heads of values whose width is a multiple of 16 up to 256
 * @let CHUNKS, (max(HEAD_DIM, V_DIM) + 63) / 64
 * @let QUERIES, 2 * CHUNKS * 64 * 128
 * @let ROOM, 232448 - 1024 - QUERIES
 * @tile TILE_K, HEAD_DIM > 128 || V_DIM > 128 ? 80 : 128, TILE_K % 16 == 0 && TILE_K >= 16 && TILE_K <= 256 && 2 * CHUNKS * TILE_K * 128 <= ROOM, a multiple of 16 up to 256, and two tiles fit in shared memory
 * @let SLOT, CHUNKS * TILE_K * 128
 * @threads 384
 * @shared QUERIES + min(4, ROOM / SLOT) * SLOT + 1024
 * @grid T, 128, HEADS
 */
#include "attention_tile.cuh"

static_assert(HEAD_DIM <= 256 && V_DIM <= 256, "wider heads are for attention_absorbed.cuh");

#ifndef KERNEL_NAME
#define KERNEL_NAME attention
#endif
#ifndef TILE_K
#define TILE_K (HEAD_DIM > 128 || V_DIM > 128 ? 80 : 128)
#endif

static_assert(TILE_K % 16 == 0 && TILE_K <= 256, "TILE_K is a multiple of 16");

constexpr int AF_Q = at_bytes(64, at_max(HEAD_DIM, V_DIM));     /* of one warpgroup; also its output */
constexpr int AF_SLOT = at_bytes(TILE_K, at_max(HEAD_DIM, V_DIM));
constexpr int AF_SLOTS = at_min(4, (AT_SHARED_MAX - 1024 - 2 * AF_Q) / AF_SLOT);
constexpr int AF_WORDS = (TILE_K + 31) / 32;
constexpr int ATTENTION_THREADS = 3 * WARPGROUP;
constexpr int ATTENTION_SHARED = 2 * AF_Q + AF_SLOTS * AF_SLOT + 1024;
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == ATTENTION_THREADS && LAUNCH_SHARED >= ATTENTION_SHARED, "the head gives threads and shared memory");
#endif
static_assert(AF_SLOTS >= 2, "two tiles fit");

/* Barriers stand behind the tiles. */
struct AfBarriers {
	u64 query, full[AF_SLOTS], empty[AF_SLOTS];
};

DEV void af_copy(const GlmcCall &c, const AtWork &w, u8 *query, u8 *ring, AfBarriers *bar, int thread)
{
	const bf16 *q = (const bf16 *)c.arg[0] + w.head * HEAD_DIM;
	const bf16 *k = (const bf16 *)c.arg[1] + w.head / AT_GROUP * HEAD_DIM;
	const bf16 *v = (const bf16 *)c.arg[2] + w.head / AT_GROUP * V_DIM;
	int end = at_min(w.begin + AT_QUERIES, c.env.T);
	for (int g = 0; g < 2; g++)
		at_load<64, HEAD_DIM>(query + g * AF_Q, q, HEADS * HEAD_DIM, w.begin + 64 * g, end, thread);
	cp_arrive(&bar->query);
	int slot = 0, key = w.first;
	u32 phase = 1;
	for (int n = 0; n < 2 * w.tiles; n++) {
		u8 *tile = ring + slot * AF_SLOT;
		mbar_wait(&bar->empty[slot], phase);
		if (n % 2 == 0)
			at_load<TILE_K, HEAD_DIM>(tile, k, KV_HEADS * HEAD_DIM, key, end, thread);
		else
			at_load<TILE_K, V_DIM>(tile, v, KV_HEADS * V_DIM, key, end, thread);
		cp_arrive(&bar->full[slot]);
		key += n % 2 * TILE_K;
		if (++slot == AF_SLOTS) {
			slot = 0;
			phase ^= 1;
		}
	}
}

/* A thread's two rows: queries, where their documents begin, running maximum and sum. */
struct AfRows {
	int t[2], first[2];
	float m[2], l[2];
};

/* Scores of keys that a row does not see become MASKED. */
DEV void af_mask(float (&s)[TILE_K / 2], const AfRows &r, int key, const u32 *selection)
{
	u32 bits[2][AF_WORDS];
	UNROLL
	for (int h = 0; h < 2; h++)
		at_visible(bits[h], r.t[h], r.first[h], key, selection);
	UNROLL
	for (int i = 0; i < TILE_K / 2; i++) {
		u32 bit = bits[at_half(i)][i / 16] >> (at_col(i) & 31) & 1;
		s[i] = bit ? s[i] : MASKED;
	}
}

/* s becomes 2^(score - maximum); factor: what the sums so far are multiplied by. */
DEV void af_softmax(float (&s)[TILE_K / 2], AfRows &r, float (&factor)[2])
{
	float most[2] = {r.m[0], r.m[1]}, sum[2] = {0, 0}, shift[2];
	UNROLL
	for (int i = 0; i < TILE_K / 2; i++)
		most[at_half(i)] = fmaxf(most[at_half(i)], s[i]);
	UNROLL
	for (int h = 0; h < 2; h++) {
		most[h] = fmaxf(most[h], shfl_xor(most[h], 1));
		most[h] = fmaxf(most[h], shfl_xor(most[h], 2));
		factor[h] = exp2_fast((r.m[h] - most[h]) * AT_SCALE2);
		shift[h] = most[h] > 0.5f * MASKED ? most[h] * AT_SCALE2 : 0.0f;
		r.m[h] = most[h];
	}
	UNROLL
	for (int i = 0; i < TILE_K / 2; i++) {
		s[i] = exp2_fast(fmaf(s[i], AT_SCALE2, -shift[at_half(i)]));
		sum[at_half(i)] += s[i];
	}
	UNROLL
	for (int h = 0; h < 2; h++)
		r.l[h] = r.l[h] * factor[h] + sum[h];
}

/* One tile: o = o * factor + P V, with P from the scores of this tile. */
DEV void af_tile(float (&o)[V_DIM / 2], AfRows &r, const u8 *query, const u8 *ring, AfBarriers *bar, int n,
                 int key, bool whole, const u32 *selection)
{
	float s[TILE_K / 2], factor[2];
	u32 a[TILE_K / 16][4];
	int slot = n % AF_SLOTS;
	const u8 *k = ring + slot * AF_SLOT;
	mbar_wait(&bar->full[slot], (u32)(n / AF_SLOTS & 1));
	fence_async();
	wg_fence();
	UNROLL
	for (int step = 0; step < HEAD_DIM / 16; step++)
		wgmma_ss<TILE_K, 0, 0>(s, at_by_column<64>(query, step), at_by_column<TILE_K>(k, step), step > 0);
	wg_commit();
	wg_wait<0>(s);
	mbar_arrive(&bar->empty[slot]);
	if (!whole)
		af_mask(s, r, key, selection);
	af_softmax(s, r, factor);
	UNROLL
	for (int i = 0; i < V_DIM / 2; i++)
		o[i] *= factor[at_half(i)];
	UNROLL
	for (int step = 0; step < TILE_K / 16; step++)
		at_fragment(a[step], s, step);
	slot = (n + 1) % AF_SLOTS;
	const u8 *v = ring + slot * AF_SLOT;
	mbar_wait(&bar->full[slot], (u32)((n + 1) / AF_SLOTS & 1));
	fence_async();
	wg_fence();
	UNROLL
	for (int step = 0; step < TILE_K / 16; step++)
		wgmma_rs<V_DIM, 1>(o, a[step], at_by_row<TILE_K>(v, step), 1);
	wg_commit();
	wg_wait<0>(o);
	mbar_arrive(&bar->empty[slot]);
}

DEV void af_compute(const GlmcCall &c, const AtWork &w, u8 *query, const u8 *ring, AfBarriers *bar, int group,
                    int thread)
{
	const u32 *selection = SELW ? (const u32 *)c.arg[3] : nullptr;
	bf16 *out = (bf16 *)c.arg[SELW ? 4 : 3] + w.head * V_DIM;
	float *lse = (float *)c.arg[SELW ? 5 : 4];
	int begin = w.begin + 64 * group, end = at_min(begin + 64, c.env.T);
	float o[V_DIM / 2], factor[2];
	AfRows r;
	UNROLL
	for (int h = 0; h < 2; h++) {
		int t = begin + at_row(thread) + 8 * h;
		r.t[h] = t < end ? t : 0;
		r.first[h] = t < end ? t - c.env.pos[t] : 1;     /* a row that is not there sees nothing */
		r.m[h] = MASKED;
		r.l[h] = 0;
	}
	UNROLL
	for (int i = 0; i < V_DIM / 2; i++)
		o[i] = 0;
	int newest = end > begin ? end - 1 - c.env.pos[end - 1] : 0;     /* begin of the last row's document */
	mbar_wait(&bar->query, 0);
	fence_async();
	for (int j = 0; j < w.tiles; j++) {
		int key = w.first + j * TILE_K;
		bool whole = !selection && key >= newest && key + TILE_K - 1 <= begin && end == begin + 64;
		af_tile(o, r, query + group * AF_Q, ring, bar, 2 * j, key, whole, selection);
	}
	UNROLL
	for (int h = 0; h < 2; h++) {
		r.l[h] += shfl_xor(r.l[h], 1);
		r.l[h] += shfl_xor(r.l[h], 2);
		factor[h] = r.l[h] > 0 ? 1 / r.l[h] : 0;
		int t = begin + at_row(thread) + 8 * h;
		if (t < end && thread % 4 == 0)
			lse[(i64)t * HEADS + w.head] =
				r.l[h] > 0 ? AT_LN2 * (r.m[h] * AT_SCALE2 + log2_fast(r.l[h])) : 0;
	}
	at_store<V_DIM>(out, HEADS * V_DIM, begin, end, o, factor, query + group * AF_Q, 1 + group, thread);
}

KERNEL void LAUNCH_BOUNDS(ATTENTION_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u8 *query = smem, *ring = smem + 2 * AF_Q;
	AfBarriers *bar = (AfBarriers *)(ring + AF_SLOTS * AF_SLOT);
	int group = warp_id() / 4, thread = thread_id() % WARPGROUP;
	if (thread_id() == 0) {
		mbar_init(&bar->query, WARPGROUP);
		for (int i = 0; i < AF_SLOTS; i++) {
			mbar_init(&bar->full[i], WARPGROUP);
			mbar_init(&bar->empty[i], 2 * WARPGROUP);
		}
		mbar_init_fence();
	}
	block_sync();
	AtWork w = at_work<TILE_K>(c.env);
	if (group == 2) {
		reg_dec<48>();
		af_copy(c, w, query, ring, bar, thread);
		cp_wait<0>();
	} else {
		reg_inc<232>();
		af_compute(c, w, query, ring, bar, group, thread);
	}
}
