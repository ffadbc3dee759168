/* attention_tile.cuh - what the attention kernels share: sizes, tiles in shared memory, visibility.
 *
 * HEADS (N) heads of the queries, KV_HEADS (G, a divisor of N) of keys and values; HEAD_DIM (H) and
 * V_DIM (HV) their widths, multiples of 16; SCALE of the scores; SELW words of a row of the
 * selection, 0 when there is none.
 *
 * A tile of R rows and D columns lies in shared memory as ceil(D/64) chunks of [R][64] under the
 * 128-byte swizzle. The same bytes serve wgmma as operand with the columns as k (wg_desc_k) and with
 * the rows as k (wg_desc_mn).
 *
 * Query t of a document that begins at token f sees key u when f <= u <= t, and bit u - f of its row
 * of the selection is set where there is one. Scores are scaled and exponents taken in base 2.
 */
#ifndef GLMC_ATTENTION_TILE_CUH
#define GLMC_ATTENTION_TILE_CUH

#include "dev.cuh"

#ifndef HEADS
#define HEADS 64
#endif
#ifndef KV_HEADS
#define KV_HEADS HEADS
#endif
#ifndef HEAD_DIM
#define HEAD_DIM 256
#endif
#ifndef V_DIM
#define V_DIM HEAD_DIM
#endif
#ifndef SCALE
#define SCALE 0.0625f
#endif
#ifndef SELW
#define SELW 0
#endif

static_assert(HEADS % KV_HEADS == 0, "KV_HEADS divides HEADS");
static_assert(HEAD_DIM % 16 == 0 && V_DIM % 16 == 0, "widths are multiples of 16");

constexpr int AT_GROUP = HEADS / KV_HEADS;
constexpr float AT_LOG2E = 1.4426950408889634f, AT_LN2 = 0.6931471805599453f;
constexpr float AT_SCALE2 = SCALE * AT_LOG2E;
constexpr int AT_SHARED_MAX = 232448;

/* Bytes of a tile, and of one of its chunks of 64 columns. */
constexpr int at_bytes(int rows, int cols) { return (cols + 63) / 64 * rows * 128; }
constexpr int at_max(int a, int b) { return a > b ? a : b; }
constexpr int at_min(int a, int b) { return a < b ? a : b; }

/* Where 16-byte piece `piece` of row `row` lies in a tile of ROWS rows. */
template <int ROWS> DEV u32 at_piece(int row, int piece)
{
	return (u32)(piece / 8 * ROWS * 128) + swizzle_128((u32)(row * 128 + piece % 8 * 16));
}

/* Lanes per row when 16-byte pieces of rows are dealt to threads: a power of two. */
constexpr int at_lanes(int pieces) { return pieces <= 2 ? 2 : pieces <= 4 ? 4 : pieces <= 8 ? 8 : pieces <= 16 ? 16 : 32; }

/* Copies rows first .. first+ROWS of a matrix with `pitch` elements a row; rows of `end` and beyond are
 * zero. Called by a warpgroup; cp.async. */
template <int ROWS, int COLS>
DEV void at_load(u8 *tile, const bf16 *from, i64 pitch, int first, int end, int thread)
{
	constexpr int PIECES = COLS / 8, LANES = at_lanes(PIECES);
	int piece = thread % LANES;
	if (piece >= PIECES)
		return;
	const bf16 *src = from + (first + thread / LANES) * pitch + piece * 8;
	for (int row = thread / LANES; row < ROWS; row += WARPGROUP / LANES) {
		bool real = first + row < end;
		cp_async_16(tile + at_piece<ROWS>(row, piece), real ? src : from, real ? 16 : 0);
		src += WARPGROUP / LANES * pitch;
	}
}

/* Descriptor of 16 columns from column 16*step as k; rows as m or n. */
template <int ROWS> DEV u64 at_by_column(const u8 *tile, int step)
{
	return wg_advance(wg_desc_k(tile + step / 4 * ROWS * 128), (u32)(step % 4) * 32);
}

/* Descriptor of rows 16*step .. +16 as k; all columns as n. */
template <int ROWS> DEV u64 at_by_row(const u8 *tile, int step)
{
	return wg_advance(wg_desc_mn(tile, ROWS * 128), (u32)step * 2048);
}

/* Words of accumulators as the a operand of one step of 16 columns: s[8*step ..]. */
template <int R> DEV void at_fragment(u32 (&a)[4], const float (&s)[R], int step)
{
	UNROLL
	for (int k = 0; k < 4; k++)
		a[k] = pack_bf16(s[8 * step + 2 * k], s[8 * step + 2 * k + 1]);
}

/* Column of accumulator i, and which of the thread's two rows it belongs to. */
DEV int at_col(int i) { return 8 * (i / 4) + 2 * (lane_id() % 4) + i % 2; }
constexpr int at_half(int i) { return i / 2 % 2; }
/* First of the thread's two rows in the warpgroup's 64; the second is 8 below. */
DEV int at_row(int thread) { return thread / 32 * 16 + thread % 32 / 4; }

/* 32-bit words of a row of the selection, moved so that bit 0 of bits[0] is key `offset` of the
 * document; bits outside the row are 0. */
template <int W> DEV void at_selected(u32 (&bits)[W], const u32 *row, int offset)
{
	int base = offset >> 5, shift = offset & 31;
	u32 low = base >= 0 && base < SELW ? row[base] : 0;
	UNROLL
	for (int i = 0; i < W; i++) {
		int next = base + i + 1;
		u32 high = next >= 0 && next < SELW ? row[next] : 0;
		bits[i] = shift ? low >> shift | high << (32 - shift) : low;
		low = high;
	}
}

/* Bits lo .. hi (inclusive, clipped to 0 .. 31) of a word. */
DEV u32 at_range(int lo, int hi)
{
	if (lo > 31 || hi < 0 || lo > hi)
		return 0;
	u32 from = lo <= 0 ? 0xffffffffu : 0xffffffffu << lo;
	return hi >= 31 ? from : from & ((2u << hi) - 1);
}

/* Which of the keys from `key` on query t sees, whose document begins at `first`: bit i of the words is
 * key + i. selection: NULL when there is none. */
template <int W> DEV void at_visible(u32 (&bits)[W], int t, int first, int key, const u32 *selection)
{
	if (SELW && selection)
		at_selected(bits, selection + (i64)t * SELW, key - first);
	UNROLL
	for (int k = 0; k < W; k++) {
		u32 range = at_range(first - key - 32 * k, t - key - 32 * k);
		bits[k] = SELW && selection ? bits[k] & range : range;
	}
}

/* The work of a block of AT_QUERIES queries of one head: queries from `begin`, tiles of TILE keys from
 * `first`, the first key that one of them can see, to the last query. Long rows come first. */
constexpr int AT_QUERIES = 128;

struct AtWork {
	int head, begin, first, tiles;
};

template <int TILE> DEV AtWork at_work(const GlmcEnv &env)
{
	AtWork w;
	int groups = (env.T + AT_QUERIES - 1) / AT_QUERIES;
	w.head = block_id() % HEADS;
	w.begin = (groups - 1 - block_id() / HEADS) * AT_QUERIES;
	w.first = w.begin - env.pos[w.begin];
	int last = at_min(w.begin + AT_QUERIES, env.T);
	w.tiles = (last - w.first + TILE - 1) / TILE;
	return w;
}

/* Writes a warpgroup's accumulators times `factor` of their rows as bf16 rows first .. first+64 of a
 * matrix, those below `end`. `stage`: at_bytes(64, COLS) of shared memory that nobody else uses. */
template <int COLS>
DEV void at_store(bf16 *to, i64 pitch, int first, int end, const float (&d)[COLS / 2], const float (&factor)[2],
                  u8 *stage, int barrier, int thread)
{
	int row = at_row(thread);
	UNROLL
	for (int i = 0; i < COLS / 2; i += 2) {
		int col = 8 * (i / 4) + 2 * (thread % 4), h = at_half(i);
		*(u32 *)(stage + at_piece<64>(row + 8 * h, col / 8) + col % 8 * 2) =
			pack_bf16(d[i] * factor[h], d[i + 1] * factor[h]);
	}
	bar_sync(barrier, WARPGROUP);
	constexpr int PIECES = COLS / 8, LANES = at_lanes(PIECES);
	int piece = thread % LANES;
	for (int r = thread / LANES; piece < PIECES && first + r < end && r < 64; r += WARPGROUP / LANES)
		st16(to + (first + r) * pitch + piece * 8, ld16<u32x4>(stage + at_piece<64>(r, piece)));
}

#endif
