/* attention_absorbed.cuh - sparse attention over latents, forward: every query gathers its own keys.
 *
 *     o[t,n,:] = sum_u p[t,n,u] k[u,g,:HV],  p = softmax_u(SCALE q[t,n,:] . k[u,g,:])
 *     lse[t,n] = log sum_u exp(SCALE q[t,n,:] . k[u,g,:])
 *
 * over the selected keys u of t; g = n / (N/G). The absorbed form of multi-head latent attention: one
 * latent with its rotary part is the key of all heads, its first HV columns are the value.
 *
 * arg: q bf16[T,N,H], k bf16[T,G,H], v (not read: the first HV columns of k), selection u32[T,SELW],
 * o bf16[T,N,HV], lse f32[T,N]. A query without a key gives o = 0 and lse = 0.
 *
 * Parameters: KERNEL_NAME, those of attention_tile.cuh with N/G up to 64, H up to 576, HV a multiple of
 * 128 up to 512; TOP_K: most keys that a row of the selection has.
 * Launch: ATTENTION_THREADS threads, ATTENTION_SHARED bytes, blocks T * G.
 *
 * A block is one query: its heads are the 64 rows of wgmma. Keys come in pairs of blocks of 32; each of
 * two warpgroups makes the scores of one block of the pair and half of the columns of o over both, so
 * P passes between them, through shared memory and in the layout of registers, and with it the
 * maximum. One warpgroup lists the keys from the bitmask and gathers rows by cp.async.
 * N = 64, H = 576, HV = 512: 207 KiB of shared memory, 232 registers in the computing threads; per
 * query 2 TOP_K N (H + HV) FLOPs and TOP_K 2 H bytes, from the L2 cache for neighbouring queries.
 *
 * Order of sums: keys ascending, pairs of blocks of 32.
 *
 * @need HEADS / KV_HEADS, HEADS / KV_HEADS <= 64, up to 64 heads per latent
 * @need HEAD_DIM, HEAD_DIM % 16 == 0 && HEAD_DIM <= 576, latents with rotary parts whose width is a multiple of 16 up to 576
 * @need V_DIM, V_DIM % 128 == 0 && V_DIM <= 512, latents whose width is a multiple of 128 up to 512
 * @let CHUNKS, (HEAD_DIM + 63) / 64
 * @threads 384
 * @shared CHUNKS * 128 * (64 + 3 * 32) + up(18504 + 4 * up(TOP_K, 64), 1024)
 * @grid T, 1, KV_HEADS
 */
#ifndef KV_HEADS
#define KV_HEADS 1
#endif
#ifndef HEAD_DIM
#define HEAD_DIM 576
#endif
#ifndef V_DIM
#define V_DIM 512
#endif
#ifndef SELW
#define SELW 128
#endif
#include "attention_tile.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME attention_absorbed
#endif
#ifndef TOP_K
#define TOP_K 2048
#endif

static_assert(AT_GROUP <= 64 && HEAD_DIM <= 576, "a query's heads are one tile");
static_assert(V_DIM % 128 == 0 && V_DIM <= 512 && V_DIM <= HEAD_DIM, "each warpgroup has half of HV");
static_assert(SELW > 0, "a selection says which keys");

constexpr int AB_KEYS = 32, AB_HALF = V_DIM / 2, AB_SLOTS = 3;
constexpr int AB_Q = at_bytes(64, HEAD_DIM), AB_SLOT = at_bytes(AB_KEYS, HEAD_DIM);
constexpr int AB_STEPS = AB_KEYS / 16;
constexpr int AB_LIST = (TOP_K + 2 * AB_KEYS - 1) / (2 * AB_KEYS) * 2 * AB_KEYS;
constexpr int ATTENTION_THREADS = 3 * WARPGROUP;

struct AbShared {
	u32 p[2][2][AB_STEPS * 4][WARPGROUP];    /* P of a pair, double: [pair % 2][block][word][thread] */
	float most[2][2][64];                    /* largest score of a row: [pair % 2][block][row] */
	float sum[2][64];                        /* of a row over a warpgroup's blocks */
	int list[AB_LIST];                       /* selected keys, then -1 */
	int counts[WARPGROUP];
	int total;
	u64 query, listed, full[AB_SLOTS], empty[AB_SLOTS];
};
constexpr int ATTENTION_SHARED = AB_Q + AB_SLOTS * AB_SLOT + ((int)sizeof(AbShared) + 1023) / 1024 * 1024;
static_assert(ATTENTION_SHARED <= AT_SHARED_MAX, "three blocks of keys fit");
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == ATTENTION_THREADS && LAUNCH_SHARED >= ATTENTION_SHARED, "the head gives threads and shared memory");
#endif

/* The selected keys of query t in ascending order, made by the copying warpgroup: each thread lists a
 * run of words, behind what the threads before it count. */
DEV void ab_list(const GlmcCall &c, int t, AbShared *sh, int thread)
{
	const u32 *row = (const u32 *)c.arg[3] + (i64)t * SELW;
	int first = t - c.env.pos[t], words = (c.env.pos[t] + 32) / 32, run = (words + WARPGROUP - 1) / WARPGROUP;
	int begin = at_min(thread * run, words), end = at_min(begin + run, words), at = 0, count = 0;
	for (int w = begin; w < end; w++)
		count += popcount(row[w]);
	sh->counts[thread] = count;
	bar_sync(3, WARPGROUP);
	for (int i = 0; i < thread; i++)
		at += sh->counts[i];
	if (thread == WARPGROUP - 1)
		sh->total = at_min(at + count, TOP_K);
	for (int w = begin; w < end; w++)
		for (u32 bits = row[w]; bits; bits &= bits - 1, at++)
			if (at < TOP_K)
				sh->list[at] = first + 32 * w + first_bit(bits);
	bar_sync(3, WARPGROUP);
	for (int i = sh->total + thread; i < AB_LIST; i += WARPGROUP)
		sh->list[i] = -1;
	bar_sync(3, WARPGROUP);
}

DEV void ab_gather(const GlmcCall &c, int group, const u8 *tile, const int *list, int thread)
{
	constexpr int PIECES = HEAD_DIM / 8;
	const bf16 *k = (const bf16 *)c.arg[1] + group * HEAD_DIM;
	for (int row = thread / 8; row < AB_KEYS; row += WARPGROUP / 8) {
		int key = list[row];
		const bf16 *src = k + (i64)(key < 0 ? 0 : key) * (KV_HEADS * HEAD_DIM);
		for (int piece = thread % 8; piece < PIECES; piece += 8)
			cp_async_16((u8 *)tile + at_piece<AB_KEYS>(row, piece), src + piece * 8, key < 0 ? 0 : 16);
	}
}

DEV void ab_copy(const GlmcCall &c, int t, int group, u8 *query, u8 *ring, AbShared *sh, int thread)
{
	constexpr int PIECES = HEAD_DIM / 8;
	const bf16 *q = (const bf16 *)c.arg[0] + ((i64)t * HEADS + group * AT_GROUP) * HEAD_DIM;
	for (int row = thread / 8; row < 64; row += WARPGROUP / 8)
		for (int piece = thread % 8; piece < PIECES; piece += 8)
			cp_async_16(query + at_piece<64>(row, piece), row < AT_GROUP ? q + row * HEAD_DIM + piece * 8 : q,
			            row < AT_GROUP ? 16 : 0);
	cp_arrive(&sh->query);
	ab_list(c, t, sh, thread);
	mbar_arrive(&sh->listed);
	int blocks = (sh->total + 2 * AB_KEYS - 1) / (2 * AB_KEYS) * 2, slot = 0;
	u32 phase = 1;
	for (int n = 0; n < blocks; n++) {
		mbar_wait(&sh->empty[slot], phase);
		ab_gather(c, group, ring + slot * AB_SLOT, sh->list + n * AB_KEYS, thread);
		cp_arrive(&sh->full[slot]);
		if (++slot == AB_SLOTS) {
			slot = 0;
			phase ^= 1;
		}
	}
}

/* A computing thread: its warpgroup, place, rows and running softmax. */
struct AbState {
	int half, thread, row;
	float m[2], l[2];
};

/* Scores of the warpgroup's block; columns behind the list are MASKED. Returns their row maxima. */
DEV void ab_scores(float (&s)[AB_KEYS / 2], float (&most)[2], const u8 *query, const u8 *tile, const int *list)
{
	fence_async();
	wg_fence();
	UNROLL
	for (int step = 0; step < HEAD_DIM / 16; step++)
		wgmma_ss<AB_KEYS, 0, 0>(s, at_by_column<64>(query, step), at_by_column<AB_KEYS>(tile, step), step > 0);
	wg_commit();
	wg_wait<0>(s);
	most[0] = most[1] = MASKED;
	UNROLL
	for (int i = 0; i < AB_KEYS / 2; i++) {
		s[i] = list[at_col(i)] < 0 ? MASKED : s[i];
		most[at_half(i)] = fmaxf(most[at_half(i)], s[i]);
	}
	UNROLL
	for (int h = 0; h < 2; h++) {
		most[h] = fmaxf(most[h], shfl_xor(most[h], 1));
		most[h] = fmaxf(most[h], shfl_xor(most[h], 2));
	}
}

/* o = o * factor + P V over one block of keys, this warpgroup's half of the columns. */
DEV void ab_values(float (&o)[AB_HALF / 2], const u32 (&p)[AB_STEPS][4], const u8 *tile, int half)
{
	wg_fence();
	UNROLL
	for (int step = 0; step < AB_STEPS; step++)
		wgmma_rs<AB_HALF, 1>(o, p[step], at_by_row<AB_KEYS>(tile + half * (AB_HALF / 64) * AB_KEYS * 128, step), 1);
	wg_commit();
	wg_wait<0>(o);
}

/* Pair n of blocks: own scores, common maximum, P both ways, values. */
DEV void ab_pair(float (&o)[AB_HALF / 2], AbState &st, const u8 *query, const u8 *ring, AbShared *sh, int n)
{
	float s[AB_KEYS / 2], most[2], factor[2], shift[2], sum[2] = {0, 0};
	u32 mine[AB_STEPS][4], other[AB_STEPS][4];
	int block = 2 * n + st.half, buf = n % 2;
	mbar_wait(&sh->full[block % AB_SLOTS], (u32)(block / AB_SLOTS & 1));
	ab_scores(s, most, query, ring + block % AB_SLOTS * AB_SLOT, sh->list + block * AB_KEYS);
	if (st.thread % 4 == 0) {
		sh->most[buf][st.half][st.row] = most[0];
		sh->most[buf][st.half][st.row + 8] = most[1];
	}
	bar_sync(1, 2 * WARPGROUP);
	UNROLL
	for (int h = 0; h < 2; h++) {
		float top = fmaxf(st.m[h], fmaxf(most[h], sh->most[buf][1 - st.half][st.row + 8 * h]));
		factor[h] = exp2_fast((st.m[h] - top) * AT_SCALE2);
		shift[h] = top > 0.5f * MASKED ? top * AT_SCALE2 : 0;
		st.m[h] = top;
	}
	UNROLL
	for (int i = 0; i < AB_KEYS / 2; i++) {
		s[i] = exp2_fast(fmaf(s[i], AT_SCALE2, -shift[at_half(i)]));
		sum[at_half(i)] += s[i];
	}
	UNROLL
	for (int step = 0; step < AB_STEPS; step++) {
		at_fragment(mine[step], s, step);
		UNROLL
		for (int k = 0; k < 4; k++)
			sh->p[buf][st.half][4 * step + k][st.thread] = mine[step][k];
	}
	bar_sync(2, 2 * WARPGROUP);
	UNROLL
	for (int i = 0; i < AB_STEPS * 4; i++)
		other[i / 4][i % 4] = sh->p[buf][1 - st.half][i][st.thread];
	UNROLL
	for (int h = 0; h < 2; h++)
		st.l[h] = st.l[h] * factor[h] + sum[h];
	UNROLL
	for (int i = 0; i < AB_HALF / 2; i++)
		o[i] *= factor[at_half(i)];
	UNROLL
	for (int b = 0; b < 2; b++) {
		int slot = (2 * n + b) % AB_SLOTS;
		mbar_wait(&sh->full[slot], (u32)((2 * n + b) / AB_SLOTS & 1));
		fence_async();
		if (b == st.half)
			ab_values(o, mine, ring + slot * AB_SLOT, st.half);
		else
			ab_values(o, other, ring + slot * AB_SLOT, st.half);
		mbar_arrive(&sh->empty[slot]);
	}
}

DEV void ab_compute(const GlmcCall &c, int t, int group, u8 *query, const u8 *ring, AbShared *sh, int half, int thread)
{
	AbState st = {half, thread, at_row(thread), {MASKED, MASKED}, {0, 0}};
	bf16 *out = (bf16 *)c.arg[4] + ((i64)t * HEADS + group * AT_GROUP) * V_DIM + half * AB_HALF;
	float *lse = (float *)c.arg[5] + (i64)t * HEADS + group * AT_GROUP, o[AB_HALF / 2], factor[2];
	UNROLL
	for (int i = 0; i < AB_HALF / 2; i++)
		o[i] = 0;
	mbar_wait(&sh->query, 0);
	mbar_wait(&sh->listed, 0);
	int pairs = (sh->total + 2 * AB_KEYS - 1) / (2 * AB_KEYS);
	for (int n = 0; n < pairs; n++)
		ab_pair(o, st, query, ring, sh, n);
	UNROLL
	for (int h = 0; h < 2; h++) {
		st.l[h] += shfl_xor(st.l[h], 1);
		st.l[h] += shfl_xor(st.l[h], 2);
		if (thread % 4 == 0)
			sh->sum[half][st.row + 8 * h] = st.l[h];
	}
	bar_sync(1, 2 * WARPGROUP);
	UNROLL
	for (int h = 0; h < 2; h++) {
		int row = st.row + 8 * h;
		float l = sh->sum[0][row] + sh->sum[1][row];
		factor[h] = l > 0 ? 1 / l : 0;
		if (half == 0 && thread % 4 == 0 && row < AT_GROUP)
			lse[row] = l > 0 ? AT_LN2 * (st.m[h] * AT_SCALE2 + log2_fast(l)) : 0;
	}
	at_store<AB_HALF>(out, V_DIM, 0, AT_GROUP, o, factor, query + half * at_bytes(64, AB_HALF), 4 + half, thread);
}

KERNEL void LAUNCH_BOUNDS(ATTENTION_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	u8 *query = smem, *ring = smem + AB_Q;
	AbShared *sh = (AbShared *)(ring + AB_SLOTS * AB_SLOT);
	int part = warp_id() / 4, thread = thread_id() % WARPGROUP, t = block_id() / KV_HEADS, group = block_id() % KV_HEADS;
	if (thread_id() == 0) {
		mbar_init(&sh->query, WARPGROUP);
		mbar_init(&sh->listed, WARPGROUP);
		for (int i = 0; i < AB_SLOTS; i++) {
			mbar_init(&sh->full[i], WARPGROUP);
			mbar_init(&sh->empty[i], 2 * WARPGROUP);
		}
		mbar_init_fence();
	}
	block_sync();
	if (part == 2) {
		reg_dec<48>();
		ab_copy(c, t, group, query, ring, sh, thread);
		cp_wait<0>();
	} else {
		reg_inc<232>();
		ab_compute(c, t, group, query, ring, sh, part, thread);
	}
}
