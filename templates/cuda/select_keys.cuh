/* select_keys.cuh - the indexer of sparse attention: the TOP_K best causal keys of every query.
 *
 *     score[t,u] = sum_j w[t,j] relu(qi[t,j,:] . ki[u,:])        j ascending, float32
 *
 * for the keys u <= t of t's document; the TOP_K largest become set bits, the lowest index first
 * among equals; all keys where there are not more than TOP_K. Scale factors are in the operands.
 *
 * arg: qi bf16[T,J,H], ki bf16[T,H], w f32[T,J], selection u32[T,SELW] (written; bit u of a row is key u of
 * the document, unused bits 0), and when SELECT_KEYS_WORK > 0 work: SELECT_KEYS_WORK bytes per block.
 * Parameters: KERNEL_NAME, INDEX_HEADS (J), INDEX_DIM (H, a multiple of 16), TOP_K, SELW = ceil(S_max / 32).
 * Launch: SELECT_KEYS_THREADS threads, 132 blocks (any number is right),
 * SELECT_KEYS_SHARED bytes of shared memory. J 32, H 128, S_max 4096: 231,616 bytes, no work; 168 registers at the
 * start, 232 in the computing threads.
 *
 * A block takes eight queries at a time, the last ones first: they have most keys. Two warpgroups compute
 * tiles of 64 keys in turn by wgmma, keys as rows and (head, query) as columns, so that a thread holds all
 * heads of its two keys and two queries and adds them up in registers: one computes while the other adds.
 * A third one copies keys ahead. Scores of the eight queries lie in shared memory, or in `work` when they
 * are too long for it; nothing is larger. Queries with no more than TOP_K keys cost nothing.
 *
 * Then a warp per query finds its TOP_K-th largest score exactly, as an integer of the same order: three
 * rounds of 11, 11, 10 bits, each a histogram of the keys that share the bits found before. One more pass
 * in the order of the keys takes what is above it, and of its equals the first. FLOPs: 2 H J per pair of
 * a query beyond TOP_K and a key; bytes: 2 T H (J + S/8) from the L2, little from memory.
 *
 * @need INDEX_DIM, INDEX_DIM % 16 == 0, heads of the indexer whose width is a multiple of 16
 * @let ONES, (INDEX_HEADS + 31) / 32
 * @let COLS, 8 * ((INDEX_HEADS + ONES - 1) / ONES)
 * @let CHUNKS, (INDEX_DIM + 63) / 64
 * @let SCORES, 32 * ((32 * SELW + 35) / 32 * 32 + 4)
 * @let TILES, up(max(ONES * CHUNKS * COLS * 128, 65536), 1024) + CHUNKS * 16384 + 64 + 4 * ONES * COLS
 * @let FITS, TILES + SCORES <= 232448
 * @threads 384
 * @shared TILES + FITS * SCORES
 * @grid FIXED, 132
 * @if !FITS: @work 1, 132 * SCORES
 */
#include "order.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME select_keys
#endif
#ifndef INDEX_HEADS
#define INDEX_HEADS 32
#endif
#ifndef INDEX_DIM
#define INDEX_DIM 128
#endif
#ifndef TOP_K
#define TOP_K 2048
#endif
#ifndef SELW
#define SELW 128
#endif

static_assert(TOP_K > 0, "TOP_K is positive");
static_assert(INDEX_DIM % 16 == 0, "steps of 16");

constexpr int SK_QUERIES = 8, SK_KEYS = 64, SK_STAGES = 2, SK_BINS = 2048, SK_WARPS = 8;
/* Heads in groups of up to 32, the last filled up with zeros: one product has 8 * SK_HEADS columns. */
constexpr int SK_GROUPS = (INDEX_HEADS + 31) / 32, SK_HEADS = (INDEX_HEADS + SK_GROUPS - 1) / SK_GROUPS;
constexpr int SK_COLS = SK_QUERIES * SK_HEADS, SK_CHUNKS = (INDEX_DIM + 63) / 64;
/* Scores of a query: a multiple of 32 and 4, so that threads store to different banks. */
constexpr int SK_ROW = (32 * SELW + SK_QUERIES + 27) / 32 * 32 + 4;

constexpr int sk_max(int a, int b) { return a > b ? a : b; }

/* Shared memory; histograms take the place of the queries. */
constexpr int SK_GROUP_BYTES = SK_CHUNKS * SK_COLS * 128, SK_STAGE_BYTES = SK_CHUNKS * SK_KEYS * 128;
constexpr int SK_QUERY_BYTES = sk_max(SK_GROUPS * SK_GROUP_BYTES, 4 * SK_WARPS * SK_BINS);
constexpr int SK_AT_KEYS = (SK_QUERY_BYTES + 1023) / 1024 * 1024;
constexpr int SK_AT_BARS = SK_AT_KEYS + SK_STAGES * SK_STAGE_BYTES;
constexpr int SK_AT_WEIGHTS = SK_AT_BARS + 64;
constexpr int SK_AT_SCORES = SK_AT_WEIGHTS + 4 * SK_GROUPS * SK_COLS;
constexpr bool SK_IN_SHARED = SK_AT_SCORES + 4 * SK_QUERIES * SK_ROW <= 232448;
constexpr int SELECT_KEYS_WORK = SK_IN_SHARED ? 0 : 4 * SK_QUERIES * SK_ROW;
constexpr int SELECT_KEYS_SHARED = SK_AT_SCORES + (SK_IN_SHARED ? 4 * SK_QUERIES * SK_ROW : 0);
constexpr int SELECT_KEYS_THREADS = 3 * WARPGROUP;

static_assert(SK_AT_SCORES <= 232448, "queries and keys fit in shared memory");
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == SELECT_KEYS_THREADS && LAUNCH_SHARED == SELECT_KEYS_SHARED, "the head gives threads "
              "and shared memory");
#endif

struct SkBars {
	u64 full[SK_STAGES], empty[SK_STAGES];
};

/* Eight queries from `begin`; scores are needed of keys base .. base + keys-1 (none: 0). */
struct SkWork {
	int begin, base, keys;
};

DEV int sk_tiles(const SkWork &w) { return (w.keys + SK_KEYS - 1) / SK_KEYS; }

DEV SkWork sk_work(const GlmcEnv &env, int job)
{
	int jobs = (env.T + SK_QUERIES - 1) / SK_QUERIES;
	SkWork w = {(jobs - 1 - job) * SK_QUERIES, 0, 0};
	for (int t = w.begin; t < w.begin + SK_QUERIES && t < env.T; t++) {
		int before = env.pos[t];
		if (before < TOP_K)
			continue;
		if (w.keys == 0)
			w.base = t - before;
		w.keys = t - w.base + 1;
	}
	return w;
}

/* ---- tiles in shared memory: chunks of 64 columns, rows of 128 bytes, swizzled ---- */

template <int ROWS> DEV u8 *sk_piece(u8 *tile, int row, int piece)
{
	return tile + piece / 8 * ROWS * 128 + swizzle_128((u32)(row * 128 + piece % 8 * 16));
}

/* Keys first .. first+63, zeros from T on, by the 128 threads of the copying warpgroup. */
DEV void sk_load_keys(u8 *tile, const bf16 *ki, int first, int T, int thread)
{
	constexpr int PIECES = INDEX_DIM / 8;
	for (int i = thread; i < SK_KEYS * PIECES; i += WARPGROUP) {
		int row = i / PIECES, piece = i % PIECES;
		bool real = first + row < T;
		cp_async_16(sk_piece<SK_KEYS>(tile, row, piece), real ? ki + (i64)(first + row) * INDEX_DIM + piece * 8 : ki,
		            real ? 16 : 0);
	}
}

/* All heads of eight queries, row 8 * head + query, and their weights, by the 256 computing threads. */
DEV void sk_load_queries(u8 *tile, float *weights, const GlmcCall &c, int begin, int thread)
{
	constexpr int PIECES = INDEX_DIM / 8;
	const bf16 *qi = (const bf16 *)c.arg[0];
	const float *w = (const float *)c.arg[2];
	for (int i = thread; i < SK_GROUPS * SK_COLS * PIECES; i += 2 * WARPGROUP) {
		int row = i / PIECES, piece = i % PIECES, head = row / SK_QUERIES, t = begin + row % SK_QUERIES;
		bool real = head < INDEX_HEADS && t < c.env.T;
		cp_async_16(sk_piece<SK_COLS>(tile + row / SK_COLS * SK_GROUP_BYTES, row % SK_COLS, piece),
		            real ? qi + ((i64)t * INDEX_HEADS + head) * INDEX_DIM + piece * 8 : qi, real ? 16 : 0);
	}
	for (int i = thread; i < SK_GROUPS * SK_COLS; i += 2 * WARPGROUP) {
		int head = i / SK_QUERIES, t = begin + i % SK_QUERIES;
		weights[i] = head < INDEX_HEADS && t < c.env.T ? w[(i64)t * INDEX_HEADS + head] : 0;
	}
	cp_commit();
	cp_wait<0>();
}

/* ---- scores ---- */

DEV void sk_product(float (&d)[SK_COLS / 2], const u8 *keys, const u8 *queries)
{
	wg_fence();
	UNROLL
	for (int k = 0; k < INDEX_DIM / 16; k++) {
		u64 a = wg_advance(wg_desc_k(keys + k / 4 * SK_KEYS * 128), k % 4 * 32);
		u64 b = wg_advance(wg_desc_k(queries + k / 4 * SK_COLS * 128), k % 4 * 32);
		wgmma_ss<SK_COLS, 0, 0>(d, a, b, k > 0);
	}
	wg_commit();
	wg_wait<0>(d);
}

/* Adds w relu(d) over the heads: sum[2*h+q] of the thread's key h (second: 8 rows on) and query q. */
DEV void sk_add_heads(float (&sum)[4], const float (&d)[SK_COLS / 2], const float *weights)
{
	UNROLL
	for (int j = 0; j < SK_HEADS; j++) {
		f32x2 w = ld8<f32x2>(weights + j * SK_QUERIES + lane_id() % 4 * 2);
		sum[0] += w.x * fmaxf(d[4 * j], 0);
		sum[1] += w.y * fmaxf(d[4 * j + 1], 0);
		sum[2] += w.x * fmaxf(d[4 * j + 2], 0);
		sum[3] += w.y * fmaxf(d[4 * j + 3], 0);
	}
}

/* Stores a tile's scores as integers of their order; `key` is the thread's first key less base. */
DEV void sk_store(u32 *scores, const float (&sum)[4], int key, int keys)
{
	u32 *row = scores + lane_id() % 4 * 2 * SK_ROW + key;
	UNROLL
	for (int h = 0; h < 2; h++)
		if (key + 8 * h < keys) {
			row[8 * h] = float_order(sum[2 * h]);
			row[SK_ROW + 8 * h] = float_order(sum[2 * h + 1]);
		}
}

/* The tiles of one warpgroup, every second one; `before`: tiles of earlier jobs. */
DEV void sk_score(u8 *smem, u32 *scores, const SkWork &w, u32 before, int thread)
{
	SkBars *bars = (SkBars *)(smem + SK_AT_BARS);
	const float *weights = (const float *)(smem + SK_AT_WEIGHTS);
	for (int n = thread / WARPGROUP; n < sk_tiles(w); n += 2) {
		u32 count = before + (u32)n, stage = count % SK_STAGES;
		float sum[4] = {0, 0, 0, 0}, d[SK_COLS / 2];
		mbar_wait(&bars->full[stage], count / SK_STAGES & 1);
		fence_async();
		NO_UNROLL
		for (int g = 0; g < SK_GROUPS; g++) {
			sk_product(d, smem + SK_AT_KEYS + stage * SK_STAGE_BYTES, smem + g * SK_GROUP_BYTES);
			if (g == SK_GROUPS - 1 && lane_id() == 0)
				mbar_arrive(&bars->empty[stage]);
			sk_add_heads(sum, d, weights + g * SK_COLS);
		}
		sk_store(scores, sum, n * SK_KEYS + thread % WARPGROUP / WARP * 16 + lane_id() / 4, w.keys);
	}
}

DEV void sk_copy(const GlmcCall &c, u8 *smem, int thread)
{
	SkBars *bars = (SkBars *)(smem + SK_AT_BARS);
	u32 count = 0;
	for (int job = block_id(); job * SK_QUERIES < c.env.T; job += grid_blocks()) {
		SkWork w = sk_work(c.env, job);
		for (int n = 0; n < sk_tiles(w); n++, count++) {
			u32 stage = count % SK_STAGES;
			mbar_wait(&bars->empty[stage], (count / SK_STAGES & 1) ^ 1);
			sk_load_keys(smem + SK_AT_KEYS + stage * SK_STAGE_BYTES, (const bf16 *)c.arg[1],
			             w.base + n * SK_KEYS, c.env.T, thread);
			cp_arrive(&bars->full[stage]);
		}
	}
	cp_commit();
	cp_wait<0>();
}

/* ---- selection, by a warp ---- */

/* The lane whose entries, with those of all lanes above it, reach `need`; need becomes what is left for
 * that lane. */
DEV int sk_lane(i32 own, int &need)
{
	i32 reach = own;
	UNROLL
	for (int n = 1; n < WARP; n *= 2) {
		i32 other = shfl_down(reach, n);
		reach += lane_id() + n < WARP ? other : 0;
	}
	i32 above = reach - own;
	int lane = first_bit(ballot(above < need && need <= reach));
	need -= shfl(above, lane);
	return lane;
}

/* The highest bin that has, with all above it, `need` entries; need becomes what is left for it. First
 * sums of 64 bins, read so that lanes hit different banks, then of 2. */
DEV u32 sk_find(const i32 *bins, int &need)
{
	constexpr int EACH = SK_BINS / WARP;
	i32 own = 0;
	NO_UNROLL
	for (int k = 0; k < EACH; k++)
		own += bins[lane_id() * EACH + (k + lane_id()) % EACH];
	int at = sk_lane(own, need) * EACH;
	at += sk_lane(bins[at + 2 * lane_id()] + bins[at + 2 * lane_id() + 1], need) * 2;
	i32 upper = bins[at + 1];
	if (need <= upper)
		return (u32)at + 1;
	need -= upper;
	return (u32)at;
}

/* Finds the BITS bits above SHIFT of the TOP_K-th largest of n values, whose bits above are `found`. */
template <int SHIFT, int BITS> DEV u32 sk_round(const u32 *row, int n, u32 found, int &need, i32 *bins)
{
	constexpr int HIGH = SHIFT + BITS;
	for (int i = lane_id(); i < SK_BINS / 4; i += WARP)
		st16((u32x4 *)bins + i, u32x4{0, 0, 0, 0});
	warp_sync();
	for (int k = lane_id(); k < n; k += WARP) {
		u32 x = row[k];
		if (HIGH == 32 || x >> HIGH % 32 == found)
			atomic_add(&bins[x >> SHIFT & ((1 << BITS) - 1)], 1);
	}
	warp_sync();
	u32 bin = sk_find(bins, need);
	warp_sync();
	return found << BITS | bin;
}

/* Sets the bits of the TOP_K largest of n values, n > TOP_K. */
DEV void sk_select(const u32 *row, int n, i32 *bins, u32 *selection)
{
	int equals = TOP_K;
	u32 cut = sk_round<21, 11>(row, n, 0, equals, bins);
	cut = sk_round<10, 11>(row, n, cut, equals, bins);
	cut = sk_round<0, 10>(row, n, cut, equals, bins);
	for (int base = 0; base < SELW; base += WARP) {
		u32 mine = 0;
		for (int k = 0; k < WARP && (base + k) * 32 < n; k++) {
			int key = (base + k) * 32 + lane_id();
			u32 x = key < n ? row[key] : 0;      /* below every score */
			u32 above = ballot(x > cut), equal = ballot(x == cut);
			bool first = x == cut && lane_rank(equal) < equals;
			u32 word = above | ballot(first);
			equals -= popcount(word & equal);
			mine = lane_id() == k ? word : mine;
		}
		if (base + lane_id() < SELW)
			selection[base + lane_id()] = mine;
	}
}

/* Sets the first n bits. */
DEV void sk_select_all(int n, u32 *selection)
{
	for (int i = lane_id(); i < SELW; i += WARP) {
		int left = n - 32 * i;
		selection[i] = left <= 0 ? 0 : left >= 32 ? 0xffffffffu : (1u << left) - 1;
	}
}

DEV void sk_select_query(const GlmcCall &c, const SkWork &w, int warp, u8 *smem, const u32 *scores)
{
	int t = w.begin + warp;
	if (t >= c.env.T)
		return;
	int n = c.env.pos[t] + 1;
	u32 *selection = (u32 *)c.arg[3] + (i64)t * SELW;
	if (n <= TOP_K)
		sk_select_all(n, selection);
	else
		sk_select(scores + warp * SK_ROW + t + 1 - n - w.base, n, (i32 *)smem + warp * SK_BINS, selection);
}

/* ---- the kernel ---- */

DEV void sk_compute(const GlmcCall &c, u8 *smem, int thread)
{
	u32 *scores = SK_IN_SHARED ? (u32 *)(smem + SK_AT_SCORES) : (u32 *)c.arg[4] + (i64)block_id() * SK_QUERIES * SK_ROW;
	u32 before = 0;
	for (int job = block_id(); job * SK_QUERIES < c.env.T; job += grid_blocks()) {
		SkWork w = sk_work(c.env, job);
		if (w.keys) {
			sk_load_queries(smem, (float *)(smem + SK_AT_WEIGHTS), c, w.begin, thread);
			bar_sync(1, 2 * WARPGROUP);
			sk_score(smem, scores, w, before, thread);
			bar_sync(1, 2 * WARPGROUP);
		}
		sk_select_query(c, w, warp_id(), smem, scores);
		if (w.keys)
			bar_sync(1, 2 * WARPGROUP);
		before += (u32)sk_tiles(w);
	}
}

KERNEL void LAUNCH_BOUNDS(SELECT_KEYS_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	SkBars *bars = (SkBars *)(smem + SK_AT_BARS);
	if (thread_id() == 0) {
		for (int i = 0; i < SK_STAGES; i++) {
			mbar_init(&bars->full[i], WARPGROUP);
			mbar_init(&bars->empty[i], WARPGROUP / WARP);
		}
		mbar_init_fence();
	}
	block_sync();
	if (warp_id() >= SK_WARPS) {
		reg_dec<40>();
		sk_copy(c, smem, thread_id() - 2 * WARPGROUP);
	} else {
		reg_inc<232>();
		sk_compute(c, smem, thread_id());
	}
}
