/* grouped_gemm.cuh - products of routed rows and the weights of their experts.
 *
 *   FORM 0   c[R,N] = a[R,K] b[e][N,K]'              forward
 *   FORM 1   c[R,N] = a[R,K] b[e][K,N]               input gradient
 *   FORM 2   c[e][N,K] = a[rows of e, N]' b[rows of e, K]   weight gradient
 *
 * Rows of local expert e are env.group[e] .. env.group[e+1], anywhere; an expert without rows is
 * ordinary (FORM 2 then writes zeros, with ACC nothing).
 *
 * GATHER (bit 1: a, bit 2: b of FORM 2): where one rank has all experts, the operand is [T, ..] by token and row i of
 * the group of expert e is its row env.order[env.begin[e] + i - env.group[e]] / env.topk. It needs no map.
 *
 * arg: a bf16, b bf16, [b2 or a2, b2 bf16,] c bf16 (C_F32 1: f32). map: a, b, [b2 or a2, b2], without those gathered;
 * boxes of GG_BOX_A and GG_BOX_B rows, 64 columns:
 *   FORM 0   a [R, K] TILE_M rows    b [EXPERTS*N, K] TILE_N rows (PAIRED: b and b2, half as many each)
 *   FORM 1   a [R, K] TILE_M rows    b [EXPERTS*K, N] 64 rows
 *   FORM 2   a [R, N] 64 rows        b [R, K] 64 rows
 *
 * Parameters: KERNEL_NAME, FORM, N, K (multiples of 16), EXPERTS, ACC 1 to add to c, C_F32 (default for FORM 2),
 * TILE_M 64 or 128, TILE_N (multiple of 16 up to 256; PAIRED: of 32), STAGES, BAND, GATHER, and:
 *   PAIRED 1 (FORM 0): two products of the same rows with two matrices, N columns each. A tile has TILE_N / 2
 *   columns of both. Needs an epilogue.
 *   SUMMED 1 (FORM 0 or 1): c = a b + a2 b2, operands of equal sizes, summed in one chain.
 *   EPILOGUE_OUTS n (0: none; FORM 0 or 1 without ACC, C_F32): in place of c the n results bf16 [R, N] of the
 *   function `epilogue`, defined before this file is included (row.cuh has what it needs):
 *
 *     DEV void epilogue(const GlmcCall &c, i64 row, int col, const float (&p)[1 + PAIRED][2],
 *                       float (&out)[EPILOGUE_OUTS][2], float (&sum)[EPILOGUE_SUMS > 0 ? EPILOGUE_SUMS : 1]);
 *
 *   p: the sums of the products at (row, col) and (row, col + 1), float32, col even. It sets `out`, rounded to
 *   bf16 already, and adds to `sum` what belongs to these two elements. It may load anything at a row and columns
 *   of its arguments that no result overlaps: it is called for rows of groups and columns before N alone, for the
 *   last row of a group more than once.
 *   EPILOGUE_SUMS m: m sums over the columns of a row. Those of each tile of columns go to arg EPILOGUE_WORK, f32
 *   [R, EPILOGUE_SUMS, tiles of columns]; row_sums.cuh adds them up.
 *   EPILOGUE_HEAVY 1: TILE_N is at most 192 unless it is given, for more registers.
 * With an epilogue arg is a, b, [b2 or a2, b2], its results, what it reads, and the sums of tiles.
 *
 * Launch: GROUPED_GEMM_THREADS, GROUPED_GEMM_SHARED bytes, any number of blocks; best one per multiprocessor: each
 * takes tiles in turn.
 *
 * A block is one warp that fills a ring of STAGES tiles by TMA, and a warpgroup for each 64 rows of the
 * tile that multiplies with wgmma, m64 n TILE_N k16, one product ahead of the wait. 128 x 256 x 64:
 * 48 KB a stage, 4 stages, 32 KB to turn results around, 225 KB; 128 accumulators in each of 256 threads,
 * 232 registers there and 40 in the others. With GATHER the last warpgroup copies the rows by cp.async, 16 bytes at a
 * time, 128 of a row at once: 216 and 72 registers. Per tile and step 4.2 MFLOP on 48 KB through the L2 cache,
 * which BAND tiles of rows at a time keep near. The epilogue runs once for two elements; results of 64 columns
 * wait in registers, packed, 16 for each of EPILOGUE_OUTS, where their accumulators were. FLOPs 2 R N K for a
 * product; bytes 2 (R K + R N) + 2 EXPERTS N K, FORM 2 with 4 or 8 for each element of c.
 *
 * Order of sums: k ascending in steps of 16 within wgmma, for each tile by itself: neither the number
 * of blocks nor other groups change a bit. Sums of a row: in a tile columns 8 i + 2 q and the next, i ascending, for
 * q = 0 .. 3, then (0 + 1) + (2 + 3); tiles ascending. A box may read rows of a neighbour: in FORM 0 and 1 they make
 * rows that are not stored; in FORM 2 they are overwritten with zeros first. Gathered rows behind a group are zeros.
 * Past K of FORM 1 rows of the next expert's b meet zeros of a, so b must be finite.
 *
 * @let WIDTH, FORM == 2 ? K : N * (1 + PAIRED)
 * @tile TILE_M, 128, TILE_M == 64 || TILE_M == 128, 64 or 128
 * @tile TILE_N, min(up(WIDTH, 16 + 16 * PAIRED), EPILOGUE_HEAVY ? 192 : 256), TILE_N % (16 + 16 * PAIRED) == 0 && TILE_N >= 16 && TILE_N <= 256, a multiple of 16 (of 32 for pairs) up to 256
 * @let STAGE, TILE_M / 64 * 8192 + up(FORM == 0 ? TILE_N * 128 : (TILE_N + 63) / 64 * 8192, 1024)
 * @let OUT, TILE_M / 64 * 16384
 * @tile STAGES, min(8, (232448 - 1024 - OUT) / STAGE), STAGES >= 2 && STAGES * STAGE + OUT + 1024 <= 232448, at least 2, and no more than fit in shared memory
 * @tile BAND, 16, BAND >= 1, at least 1
 * @threads (TILE_M / 64 + 1) * 128
 * @shared STAGES * STAGE + OUT + 1024
 * @grid SMS, 1
 * @if EPILOGUE_SUMS > 0: @work R, EPILOGUE_SUMS * ((WIDTH + TILE_N - 1) / TILE_N) * 4
 * @if GATHER % 2 == 0: @map 0, bf16, R, FORM == 2 ? N : K, FORM == 2 ? 64 : TILE_M, 64
 * @if FORM == 0: @map 1, bf16, EXPERTS * N, K, TILE_N / (1 + PAIRED), 64
 * @if PAIRED: @map 2, bf16, EXPERTS * N, K, TILE_N / 2, 64
 * @if FORM == 1: @map 1, bf16, EXPERTS * K, N, 64, 64
 * @if SUMMED: @map 2, bf16, R, K, TILE_M, 64
 * @if SUMMED && FORM == 0: @map 3, bf16, EXPERTS * N, K, TILE_N, 64
 * @if SUMMED && FORM == 1: @map 3, bf16, EXPERTS * K, N, 64, 64
 * @if FORM == 2 && GATHER < 2: @map 1, bf16, R, K, 64, 64
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME grouped_gemm
#endif
#ifndef FORM
#define FORM 0
#endif
#ifndef N
#define N 4096
#endif
#ifndef K
#define K 6144
#endif
#ifndef EXPERTS
#define EXPERTS 4
#endif
#ifndef ACC
#define ACC 0
#endif
#ifndef C_F32
#define C_F32 (FORM == 2)
#endif
#ifndef PAIRED
#define PAIRED 0
#endif
#ifndef SUMMED
#define SUMMED 0
#endif
#ifndef EPILOGUE_OUTS
#define EPILOGUE_OUTS 0
#endif
#ifndef EPILOGUE_SUMS
#define EPILOGUE_SUMS 0
#endif
#ifndef EPILOGUE_HEAVY
#define EPILOGUE_HEAVY 0
#endif
#ifndef EPILOGUE_WORK
#define EPILOGUE_WORK (2 + PAIRED + 2 * SUMMED + EPILOGUE_OUTS)
#endif
#ifndef GATHER
#define GATHER 0
#endif
#ifndef BAND
#define BAND 16
#endif
#ifndef TILE_M
#define TILE_M 128
#endif

/* Columns of a product and of its results. */
constexpr int GG_COLS = FORM == 2 ? K : N;

constexpr int gg_round(int x, int to) { return (x + to - 1) / to * to; }
constexpr int gg_min(int x, int y) { return x < y ? x : y; }

#ifndef TILE_N
#define TILE_N gg_min(gg_round(GG_COLS * (1 + PAIRED), 16 + 16 * PAIRED), EPILOGUE_HEAVY ? 192 : 256)
#endif

static_assert(N % 16 == 0 && K % 16 == 0, "N and K are multiples of 16");
static_assert(TILE_M == 64 || TILE_M == 128, "TILE_M is 64 or 128");
static_assert(TILE_N % (PAIRED ? 32 : 16) == 0 && TILE_N <= 256, "TILE_N is a multiple of 16 up to 256");
static_assert(!PAIRED || (FORM == 0 && EPILOGUE_OUTS > 0), "PAIRED needs FORM 0 and an epilogue");
static_assert(EPILOGUE_OUTS == 0 || (FORM != 2 && !ACC && !C_F32), "an epilogue writes bf16 rows");
static_assert(EPILOGUE_SUMS == 0 || EPILOGUE_OUTS > 0, "sums are an epilogue's");
static_assert(!SUMMED || (FORM != 2 && !PAIRED && !GATHER), "SUMMED needs FORM 0 or 1, and rows in place");
static_assert(GATHER >= 0 && GATHER < (FORM == 2 ? 4 : 2), "the operands with routed rows can be gathered");

constexpr int GG_STEP = 64;              /* of k: 128 bytes, one swizzle row */
constexpr int GG_CHUNK = 8192;           /* 64 rows of 128 bytes */
constexpr int GG_GROUPS = TILE_M / 64;   /* warpgroups that multiply */
constexpr int GROUPED_GEMM_THREADS = (GG_GROUPS + 1) * WARPGROUP;
constexpr int GG_A = GG_GROUPS * GG_CHUNK;
constexpr int GG_B = FORM == 0 ? TILE_N * 128 : (TILE_N + 63) / 64 * GG_CHUNK;
constexpr int GG_B_STAGE = gg_round(GG_B, 1024);
constexpr int GG_OUT = 2 * GG_CHUNK;     /* of one warpgroup: two buffers */
constexpr int GG_SHARED_MAX = 227 * 1024;

#ifndef STAGES
#define STAGES gg_min(8, (GG_SHARED_MAX - 1024 - GG_GROUPS * GG_OUT) / (GG_A + GG_B_STAGE))
#endif

constexpr int GG_BOX_A = FORM == 2 ? 64 : TILE_M;
constexpr int GG_BOX_B = FORM == 0 ? TILE_N / (1 + PAIRED) : 64;
constexpr int GROUPED_GEMM_SHARED = STAGES * (GG_A + GG_B_STAGE) + GG_GROUPS * GG_OUT + 1024;
static_assert(STAGES >= 2 && GROUPED_GEMM_SHARED <= GG_SHARED_MAX, "two stages fit");
#ifdef LAUNCH_SHARED
static_assert(LAUNCH_THREADS == GROUPED_GEMM_THREADS && LAUNCH_SHARED >= GROUPED_GEMM_SHARED, "the head gives threads and shared memory");
#endif

constexpr int GG_OUT_COLS = TILE_N / (1 + PAIRED);       /* of a product in a tile */
constexpr int GG_TILES = (GG_COLS + GG_OUT_COLS - 1) / GG_OUT_COLS;
constexpr int GG_RESULT = 2 + PAIRED + 2 * SUMMED;       /* the argument */
constexpr int GG_OUTS = EPILOGUE_OUTS > 0 ? EPILOGUE_OUTS : 1, GG_SUMS = EPILOGUE_SUMS > 0 ? EPILOGUE_SUMS : 1;
constexpr int GG_ELEM = C_F32 ? 4 : 2;
constexpr int GG_OUT_CHUNK = 128 / GG_ELEM;              /* columns of c turned around together */
constexpr bool GG_GATHER_A = GATHER & 1, GG_GATHER_B = GATHER & 2;
constexpr int GG_MAP_B = GG_GATHER_A ? 0 : 1;
constexpr int GG_BOXED = (GG_GATHER_A ? 0 : GG_A) + (GG_GATHER_B ? 0 : GG_B);     /* bytes of a stage by TMA */
constexpr int GG_ALL_BARRIER = 1, GG_OUT_BARRIER = 2;    /* the latter one per warpgroup */

struct GgShared {
	u8 *a, *b, *out;                 /* of the first stage; of this warpgroup */
	u64 *full, *empty;
};

DEV GgShared gg_shared(u8 *smem, int group)
{
	GgShared s;
	s.a = smem;
	s.b = smem + STAGES * GG_A;
	s.out = s.b + STAGES * GG_B_STAGE + group * GG_OUT;
	s.full = (u64 *)(s.b + STAGES * GG_B_STAGE + GG_GROUPS * GG_OUT);
	s.empty = s.full + STAGES;
	return s;
}

/* ---- the tiles of a block ---- */

/* One tile: rows m, columns n of c in tiles; `begin`, `rows` of the expert's group. */
struct GgTile {
	int expert, begin, rows, m, n;
};

/* The next tile's number, and an expert with the number of its first tile. */
struct GgWalk {
	int tile, expert, first;
};

DEV int gg_row_tiles(int rows)
{
	if (FORM == 2)
		return ACC && rows == 0 ? 0 : (N + TILE_M - 1) / TILE_M;
	return (rows + TILE_M - 1) / TILE_M;
}

/* Tiles of an expert come in bands of BAND tiles of rows, columns slowest, so that the tiles under way
 * at one time form a square and share their operands in the L2 cache. */
DEV bool gg_next(const GlmcEnv &env, GgWalk &w, GgTile &t)
{
	for (; w.expert < EXPERTS; w.expert++) {
		t.begin = env.group[w.expert];
		t.rows = env.group[w.expert + 1] - t.begin;
		int across = gg_row_tiles(t.rows), i = w.tile - w.first;
		if (i >= across * GG_TILES) {
			w.first += across * GG_TILES;
			continue;
		}
		int band = i / (BAND * GG_TILES) * BAND, width = across - band < BAND ? across - band : BAND;
		i -= band * GG_TILES;
		t.expert = w.expert;
		t.m = band + i % width;
		t.n = i / width;
		w.tile += grid_blocks();
		return true;
	}
	return false;
}

DEV int gg_steps(const GgTile &t)
{
	return (1 + SUMMED) * (((FORM == 2 ? t.rows : K) + GG_STEP - 1) / GG_STEP);
}

/* A place in the ring, and the parity of its barriers' phase. */
struct GgSlot {
	int at;
	u32 parity;
};

DEV void gg_advance(GgSlot &s)
{
	if (++s.at < STAGES)
		return;
	s.at = 0;
	s.parity ^= 1;
}

/* ---- copies by TMA, which one thread starts ---- */

DEV void gg_load_a(u8 *to, const GlmcMap *map, const GgTile &t, int step, u64 *bar)
{
	constexpr int BOXES = FORM == 2 ? GG_GROUPS : 1;
	int x = FORM == 2 ? t.m * TILE_M : step * GG_STEP;
	int y = t.begin + (FORM == 2 ? step * GG_STEP : t.m * TILE_M);
	UNROLL
	for (int i = 0; i < BOXES; i++)
		tma_load_2d(to + i * GG_CHUNK, map, x + i * 64, y, bar);
}

/* PAIRED: b's map and the next have a box each. */
DEV void gg_load_b(u8 *to, const GlmcMap *map, const GgTile &t, int step, u64 *bar)
{
	constexpr int BOXES = FORM == 0 ? 1 + PAIRED : (TILE_N + 63) / 64;
	int at = step * GG_STEP, x = FORM == 0 ? at : t.n * TILE_N;
	int y = FORM == 0 ? t.expert * N + t.n * GG_OUT_COLS : FORM == 1 ? t.expert * K + at : t.begin + at;
	UNROLL
	for (int i = 0; i < BOXES; i++)
		tma_load_2d(to + i * GG_BOX_B * 128, map + (FORM == 0 ? i : 0), x + (FORM == 0 ? 0 : i * 64), y, bar);
}

DEV void gg_load(const GlmcCall &c, const GgShared &s, const GgTile &t, int step, int stage)
{
	u64 *bar = s.full + stage;
	const int half = SUMMED ? gg_steps(t) / 2 : 0;
	const GlmcMap *map = c.map;
	if (SUMMED && step >= half) {
		map += 2;
		step -= half;
	}
	mbar_arrive_tx(bar, GG_BOXED);
	if (!GG_GATHER_A)
		gg_load_a(s.a + stage * GG_A, map, t, step, bar);
	if (!GG_GATHER_B)
		gg_load_b(s.b + stage * GG_B_STAGE, map + GG_MAP_B, t, step, bar);
}

/* ---- copies of gathered rows, which a warpgroup makes ---- */

/* Thread t has 16 bytes of rows t / 8, t / 8 + 16 .. of a step. */
constexpr int GG_EACH = (FORM == 2 ? 64 : TILE_M) / 16;

/* The slots of the thread's rows from row `first` of the group on; -1 behind its end. */
DEV void gg_slots(int (&slot)[GG_EACH], const GlmcEnv &env, const GgTile &t, int first, int thread)
{
	const int *order = env.order + env.begin[t.expert];
	UNROLL
	for (int i = 0; i < GG_EACH; i++) {
		int row = first + thread / 8 + i * 16;
		slot[i] = row < t.rows ? order[row] : -1;
	}
}

DEV void gg_tokens(int (&token)[GG_EACH], const int (&slot)[GG_EACH], int topk)
{
	UNROLL
	for (int i = 0; i < GG_EACH; i++)
		token[i] = slot[i] < 0 ? -1 : slot[i] / topk;
}

/* Columns x .. x+63 of the tokens' rows, `width` wide, to rows of 128 bytes, swizzled; zeros where there are none. */
DEV void gg_copy(u8 *to, const void *rows, int width, const int (&token)[GG_EACH], int x, int thread)
{
	int col = x + thread % 8 * 8;
	to += swizzle_128((u32)(thread * 16));
	UNROLL
	for (int i = 0; i < GG_EACH; i++) {
		bool there = token[i] >= 0 && col < width;
		cp_async_16(to + i * 2048, (const bf16 *)rows + (there ? (i64)token[i] * width + col : 0), there ? 16 : 0);
	}
}

DEV void gg_gather(const GlmcCall &c, const GgShared &s, const GgTile &t, int step, int stage, const int (&token)[GG_EACH],
                   int thread)
{
	constexpr int BOXES_A = FORM == 2 ? GG_GROUPS : 1, BOXES_B = (TILE_N + 63) / 64;
	UNROLL
	for (int i = 0; i < BOXES_A && GG_GATHER_A; i++)
		gg_copy(s.a + stage * GG_A + i * GG_CHUNK, c.arg[0], FORM == 2 ? N : K, token,
		        FORM == 2 ? t.m * TILE_M + i * 64 : step * GG_STEP, thread);
	UNROLL
	for (int i = 0; i < BOXES_B && GG_GATHER_B; i++)
		gg_copy(s.b + stage * GG_B_STAGE + i * GG_CHUNK, c.arg[1], K, token, t.n * TILE_N + i * 64, thread);
	cp_arrive(s.full + stage);
}

/* ---- the warp or warpgroup that copies ---- */

/* One thread, or with GATHER a warpgroup. FORM 2 has other rows in every step: their slots are read a step ahead. */
DEV void gg_produce(const GlmcCall &c, const GgShared &s)
{
	GgWalk w = {block_id(), 0, 0};
	GgTile t;
	GgSlot slot = {0, 1};
	int thread = thread_id() % WARPGROUP, rows[GG_EACH] = {}, token[GG_EACH] = {};
	while (gg_next(c.env, w, t)) {
		int steps = gg_steps(t);
		if (GATHER)
			gg_slots(rows, c.env, t, FORM == 2 ? 0 : t.m * TILE_M, thread);
		for (int k = 0; k < steps; k++, gg_advance(slot)) {
			if (GATHER && (k == 0 || FORM == 2))
				gg_tokens(token, rows, c.env.topk);
			if (GATHER && FORM == 2)
				gg_slots(rows, c.env, t, (k + 1) * GG_STEP, thread);
			mbar_wait(s.empty + slot.at, slot.parity);
			if (GG_BOXED > 0 && (!GATHER || thread == 0))
				gg_load(c, s, t, k, slot.at);
			if (GATHER)
				gg_gather(c, s, t, k, slot.at, token, thread);
		}
	}
}

/* ---- the warpgroups that multiply ---- */

/* FORM 2: rows `from` and beyond of a stage are of another group, where they are not gathered. All who multiply take
 * part. */
DEV void gg_clear_rows(u8 *a, u8 *b, int from, int thread)
{
	const u32x4 zero = {0, 0, 0, 0};
	for (int i = from * 8 + thread; i < 512; i += GG_GROUPS * WARPGROUP) {
		UNROLL
		for (int k = 0; k < GG_GROUPS; k++)
			st16(a + k * GG_CHUNK + i * 16, zero);
		UNROLL
		for (int k = 0; k < GG_B / GG_CHUNK; k++)
			st16(b + k * GG_CHUNK + i * 16, zero);
	}
	fence_async();
	bar_sync(GG_ALL_BARRIER, GG_GROUPS * WARPGROUP);
}

/* d += the products of one stage; issued, not waited for. */
DEV void gg_multiply(float (&d)[TILE_N / 2], const u8 *a, const u8 *b, int group)
{
	constexpr int TA = FORM == 2, TB = FORM != 0;
	u64 da = TA ? wg_desc_mn(a + group * GG_CHUNK, GG_CHUNK) : wg_desc_k(a + group * GG_CHUNK);
	u64 db = TB ? wg_desc_mn(b, GG_CHUNK) : wg_desc_k(b);
	wg_fence();
	UNROLL
	for (int k = 0; k < GG_STEP / 16; k++)
		wgmma_ss<TILE_N, TA, TB>(d, wg_advance(da, k * (TA ? 2048 : 32)),
		                         wg_advance(db, k * (TB ? 2048 : 32)), 1);
	wg_commit();
}

/* All steps of a tile. A stage goes back to who copies when the product after it is under way. */
DEV void gg_sum(float (&d)[TILE_N / 2], const GgTile &t, const GgShared &s, GgSlot &slot, int group, int thread)
{
	int steps = gg_steps(t), before = -1;
	UNROLL
	for (int i = 0; i < TILE_N / 2; i++)
		d[i] = 0;
	for (int k = 0; k < steps; k++, gg_advance(slot)) {
		u8 *a = s.a + slot.at * GG_A, *b = s.b + slot.at * GG_B_STAGE;
		mbar_wait(s.full + slot.at, slot.parity);
		if (GATHER)
			fence_async();
		if (FORM == 2 && GATHER != 3 && (k + 1) * GG_STEP > t.rows)
			gg_clear_rows(a, b, t.rows - k * GG_STEP, thread);
		gg_multiply(d, a, b, group);
		wg_wait<1>();
		if (before >= 0 && lane_id() == 0)
			mbar_arrive(s.empty + before);
		before = slot.at;
	}
	wg_wait<0>(d);
	if (before >= 0 && lane_id() == 0)
		mbar_arrive(s.empty + before);
}

/* ---- results: registers, shared memory, whole rows of 128 bytes to c ---- */

/* What a thread has of 64 columns of 64 rows, as wgmma leaves it: word w holds two columns from w / 2 * 8 on, of its
 * first row or the row 8 below (w % 2); `col` is the first of all, in the results. */
struct GgResults {
	u32 word[GG_OUTS][16];
};

#if EPILOGUE_OUTS
/* row: the thread's two; behind the group's end its last one again, whose results nobody takes. */
DEV void gg_results(const GlmcCall &c, GgResults &r, float (&sum)[2][GG_SUMS], const float (&d)[TILE_N / 2], int chunk,
                    const i64 (&row)[2], int col)
{
	UNROLL
	for (int w = 0; w < 16; w++) {
		int i = chunk * 32 + w * 2, at = col + w / 2 * 8;
		if (i >= GG_OUT_COLS / 2)
			break;
		float p[1 + PAIRED][2], out[GG_OUTS][2] = {};
		UNROLL
		for (int k = 0; k < 2 * (1 + PAIRED); k++)
			p[k / 2][k % 2] = d[i + k / 2 * (GG_OUT_COLS / 2) + k % 2];
		if (GG_COLS % GG_OUT_COLS == 0 || at < GG_COLS)
			epilogue(c, row[w % 2], at, p, out, sum[w % 2]);
		UNROLL
		for (int o = 0; o < GG_OUTS; o++)
			r.word[o][w] = pack_bf16(out[o][0], out[o][1]);
	}
}
#else
DEV void gg_results(const GlmcCall &, GgResults &r, float (&)[2][GG_SUMS], const float (&d)[TILE_N / 2], int chunk,
                    const i64 (&)[2], int)
{
	UNROLL
	for (int w = 0; w < 16; w++) {
		int i = chunk * 32 + w * 2;
		if (i >= GG_OUT_COLS / 2)
			break;
		r.word[0][w] = pack_bf16(d[i], d[i + 1]);
	}
}
#endif

/* A result's 64 columns to `out`, 128-byte rows, swizzled. */
DEV void gg_stage(const u32 (&word)[16], int chunk, u8 *out, int thread)
{
	int lane = thread % 32, row = thread / 32 * 16 + (lane & 15);
	UNROLL
	for (int i = 0; i < 4; i++) {
		if (chunk * 64 + i * 16 >= GG_OUT_COLS)
			break;
		const u32 r[4] = {word[4 * i], word[4 * i + 1], word[4 * i + 2], word[4 * i + 3]};
		int to = row * 128 + (i * 2 + (lane >> 4)) * 16;
		stmatrix_x4(out + swizzle_128((u32)to), r);
	}
}

/* The same of 32 columns in float32. */
DEV void gg_stage_f32(const float (&d)[TILE_N / 2], int chunk, u8 *out, int thread)
{
	int lane = thread % 32, row = thread / 32 * 16 + lane / 4;
	UNROLL
	for (int w = 0; w < 8; w++) {
		int i = chunk * 16 + w * 2;
		if (i >= GG_OUT_COLS / 2)
			break;
		int to = (row + w % 2 * 8) * 128 + (w / 2 * 8 + lane % 4 * 2) * 4;
		st8(out + swizzle_128((u32)to), f32x2{d[i], d[i + 1]});
	}
}

/* Adds c's old 16 bytes to v. */
DEV u32x4 gg_add(u32x4 v, u32x4 old)
{
	u32 *x = &v.x;
	const u32 *y = &old.x;
	UNROLL
	for (int i = 0; i < 4; i++)
		x[i] = C_F32 ? as_u32(as_f32(x[i]) + as_f32(y[i]))
		             : pack_bf16(bf16_lo(x[i]) + bf16_lo(y[i]), bf16_hi(x[i]) + bf16_hi(y[i]));
	return v;
}

/* Rows of `out` to c: those before `rows`, columns from `col`, before `end`. */
DEV void gg_write(u8 *to, const u8 *out, int rows, int col, int end, int thread)
{
	int piece = thread % 8;
	if (col + piece * (16 / GG_ELEM) >= end)
		return;
	UNROLL
	for (int row = thread / 8; row < 64; row += 16) {
		if (row >= rows)
			break;
		u32x4 v = ld16<u32x4>(out + swizzle_128((u32)(row * 128 + piece * 16)));
		u8 *p = to + ((i64)row * GG_COLS + col) * GG_ELEM + piece * 16;
		st16(p, ACC ? gg_add(v, ld16<u32x4>(p)) : v);
	}
}

/* The sums of a tile's columns to working memory. first: of the warpgroup's `rows` rows. */
DEV void gg_store_sums(const GlmcCall &c, const float (&sum)[2][GG_SUMS], i64 first, int rows, int tile, int thread)
{
	float *work = (float *)c.arg[EPILOGUE_WORK];
	UNROLL
	for (int i = 0; i < 2 * GG_SUMS; i++) {
		int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
		float x = sum[i % 2][i / 2];
		x += shfl_xor(x, 1);
		x += shfl_xor(x, 2);
		if (thread % 4 == 0 && row < rows)
			work[((first + row) * GG_SUMS + i / 2) * GG_TILES + tile] = x;
	}
}

/* Chunks and results alternate between two buffers, also from tile to tile (`turn`), so that one barrier for each is
 * enough: a buffer is written again only after the barrier that follows its reading. */
DEV void gg_store(const GlmcCall &c, const float (&d)[TILE_N / 2], const GgTile &t, u8 *out, int &turn, int group,
                  int thread)
{
	constexpr int CHUNKS = (GG_OUT_COLS + GG_OUT_CHUNK - 1) / GG_OUT_CHUNK;
	int row = t.m * TILE_M + group * 64, rows = (FORM == 2 ? N : t.rows) - row, col = t.n * GG_OUT_COLS;
	int own = thread / 32 * 16 + thread % 32 / 4, end = col + GG_OUT_COLS < GG_COLS ? col + GG_OUT_COLS : GG_COLS;
	i64 first = FORM == 2 ? (i64)t.expert * N + row : t.begin + row;
	const i64 own_rows[2] = {first + (own < rows ? own : rows - 1), first + (own + 8 < rows ? own + 8 : rows - 1)};
	float sum[2][GG_SUMS] = {};
	UNROLL
	for (int i = 0; i < CHUNKS; i++) {
		GgResults r;
		int at = col + i * GG_OUT_CHUNK;
		if (!C_F32)
			gg_results(c, r, sum, d, i, own_rows, at + thread % 4 * 2);
		UNROLL
		for (int o = 0; o < GG_OUTS; o++) {
			u8 *buffer = out + turn * GG_CHUNK, *to = (u8 *)c.arg[GG_RESULT + o] + first * GG_COLS * GG_ELEM;
			if (C_F32)
				gg_stage_f32(d, i, buffer, thread);
			else
				gg_stage(r.word[o], i, buffer, thread);
			bar_sync(GG_OUT_BARRIER + group, WARPGROUP);
			gg_write(to, buffer, rows, at, end, thread);
			turn ^= 1;
		}
	}
	if (EPILOGUE_SUMS > 0)
		gg_store_sums(c, sum, first, rows, t.n, thread);
}

DEV void gg_consume(const GlmcCall &c, const GgShared &s, int group)
{
	GgWalk w = {block_id(), 0, 0};
	GgTile t;
	GgSlot slot = {0, 0};
	float d[TILE_N / 2];
	int turn = 0;
	while (gg_next(c.env, w, t)) {
		gg_sum(d, t, s, slot, group, thread_id());
		gg_store(c, d, t, s.out, turn, group, thread_id() % WARPGROUP);
	}
}

KERNEL void LAUNCH_BOUNDS(GROUPED_GEMM_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	int group = warp_id() / 4;               /* the last one copies */
	GgShared s = gg_shared(smem, group);
	if (thread_id() == 0) {
		for (int i = 0; i < STAGES; i++) {
			mbar_init(s.full + i, (GG_BOXED > 0) + (GATHER ? WARPGROUP : 0));
			mbar_init(s.empty + i, GG_GROUPS * WARPGROUP / WARP);
		}
		mbar_init_fence();
		for (int i = 0; i < 2 + PAIRED + 2 * SUMMED - GG_GATHER_A - GG_GATHER_B; i++)
			tma_prefetch(&c.map[i]);
	}
	block_sync();
	if (group == GG_GROUPS) {
		reg_dec<GATHER ? 72 : 40>();
		if (GATHER || (warp_id() == GG_GROUPS * 4 && elect_one()))
			gg_produce(c, s);
		return;
	}
	reg_inc<GATHER ? 216 : 232>();
	gg_consume(c, s, group);
}
