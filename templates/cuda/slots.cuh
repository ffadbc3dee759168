/* slots.cuh - counts the slots of every expert and sorts the slots by expert.
 *
 *     counts[e] = number of slots with ids[slot] = e
 *     order     = the slots by (expert, slot), then those without an expert, ascending
 *
 * arg: ids i32[T,K] (-1: no expert), counts i32[E] (written), order i32[T*K] (written); n[0] = E, at most
 * EXPERTS, n[1] = K. An id outside 0 .. E-1 counts as none.
 * Parameters: KERNEL_NAME, EXPERTS (at most 1023).
 * Launch: SLOTS_THREADS threads, one block, SLOTS_SHARED = 4 * (32 * (EXPERTS + 1) + 32) bytes of shared
 * memory; 48 registers.
 *
 * A stable counting sort: every warp has a run of slots, counts it by expert, and after a prefix sum
 * over (expert, warp) places it. One block, because 32768 slots are 2 * 32 steps of its warps. No
 * atomics: lanes with equal experts find each other. Bytes: 12 T K.
 *
 * @need EXPERTS, EXPERTS <= 1023, up to 1023 experts
 * @threads 1024
 * @shared 4 * (32 * (EXPERTS + 1) + 32)
 * @grid FIXED, 1
 */
#include "dev.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME slots
#endif
#ifndef EXPERTS
#define EXPERTS 256
#endif

constexpr int SLOTS_THREADS = 1024, SL_WARPS = SLOTS_THREADS / WARP, SL_BINS = EXPERTS + 1;
constexpr int SLOTS_SHARED = 4 * (SL_WARPS * SL_BINS + SL_WARPS);

static_assert(SL_BINS <= SLOTS_THREADS, "a thread per expert");

/* The slots of a warp: first .. end-1, in steps of 32; `bins` one more than experts. */
struct SlRun {
	const i32 *ids;
	i64 first, end;
	int bins;
};

DEV SlRun sl_run(const GlmcCall &c)
{
	i64 n = c.env.T * c.n[1], each = (n + SLOTS_THREADS - 1) / SLOTS_THREADS * WARP;
	i64 first = thread_id() / WARP * each;
	return SlRun{(const i32 *)c.arg[0], first, first + each < n ? first + each : n, (int)c.n[0] + 1};
}

/* The bin of a slot: its expert, or the last; -1 beyond the run. */
DEV i32 sl_bin(const SlRun &r, i64 slot)
{
	i32 id = slot < r.end ? r.ids[slot] : 0;
	return slot >= r.end ? -1 : id < 0 || id >= r.bins - 1 ? r.bins - 1 : id;
}

DEV void sl_count(const SlRun &r, i32 *mine)
{
	for (int e = lane_id(); e < r.bins; e += WARP)
		mine[e] = 0;
	warp_sync();
	for (i64 at = r.first; at < r.end; at += WARP) {
		i32 bin = sl_bin(r, at + lane_id());
		u32 equal = match_any((u32)bin);
		if (bin >= 0 && lane_rank(equal) == 0)
			mine[bin] += popcount(equal);
		warp_sync();
	}
}

/* The sum of x over the threads before this one. */
DEV i32 sl_sum_before(i32 x, i32 *warps)
{
	i32 sum = x;
	UNROLL
	for (int n = 1; n < WARP; n *= 2) {
		i32 other = shfl_up(sum, n);
		sum += lane_id() >= n ? other : 0;
	}
	if (lane_id() == WARP - 1)
		warps[thread_id() / WARP] = sum;
	block_sync();
	for (int w = 0; w < thread_id() / WARP; w++)
		sum += warps[w];
	return sum - x;
}

/* Turns the counts into the places where each warp's slots of each expert begin. */
DEV void sl_places(const SlRun &r, i32 *bins, i32 *warps, i32 *counts)
{
	int e = thread_id();
	i32 total = 0;
	for (int w = 0; e < r.bins && w < SL_WARPS; w++)
		total += bins[w * SL_BINS + e];
	i32 at = sl_sum_before(total, warps);
	if (e < r.bins - 1)
		counts[e] = total;
	for (int w = 0; e < r.bins && w < SL_WARPS; w++) {
		i32 n = bins[w * SL_BINS + e];
		bins[w * SL_BINS + e] = at;
		at += n;
	}
}

DEV void sl_place(const SlRun &r, i32 *mine, i32 *order)
{
	for (i64 at = r.first; at < r.end; at += WARP) {
		i32 bin = sl_bin(r, at + lane_id());
		u32 equal = match_any((u32)bin);
		if (bin >= 0)
			order[mine[bin] + lane_rank(equal)] = (i32)(at + lane_id());
		warp_sync();
		if (bin >= 0 && lane_rank(equal) == 0)
			mine[bin] += popcount(equal);
		warp_sync();
	}
}

KERNEL void LAUNCH_BOUNDS(SLOTS_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	DYN_SMEM(smem);
	i32 *bins = (i32 *)smem, *mine = bins + thread_id() / WARP * SL_BINS;
	SlRun r = sl_run(c);

	sl_count(r, mine);
	block_sync();
	sl_places(r, bins, bins + SL_WARPS * SL_BINS, (i32 *)c.arg[1]);
	block_sync();
	sl_place(r, mine, (i32 *)c.arg[2]);
}
