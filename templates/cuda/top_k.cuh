/* top_k.cuh - the K largest scores of every token, for routing.
 *
 *     ids[t,:] = the TOP_K experts of largest scores[t,e], ascending; among equals the lowest index
 *
 * With GROUPS > 1 the experts form GROUPS equal runs; a group counts the sum of its two largest
 * scores, and only experts of the KEPT_GROUPS best groups (lowest first among equals) take part.
 *
 * arg: scores f32[T,EXPERTS] (with the correction bias, if any), ids i32[T,TOP_K] (written).
 * Parameters: KERNEL_NAME, EXPERTS (at most 1024), TOP_K, GROUPS (1; at most 32), KEPT_GROUPS (1).
 * Launch: TOP_K_THREADS threads, ceil(T / TOP_K_TOKENS) blocks, no shared memory; 256 experts: 40
 * registers.
 *
 * A warp has one token, lane l the scores l, l + 32, ..; TOP_K times the lanes agree on the best that
 * is left. Scores that are not numbers are chosen last or first, but ids are distinct experts always.
 * Bytes: 4 T (EXPERTS + TOP_K); about 20 TOP_K instructions per warp.
 *
 * @need EXPERTS, EXPERTS <= 1024, a choice among up to 1024 experts
 * @need GROUPS, GROUPS <= 32, up to 32 groups of experts
 * @threads 256
 * @grid T, 8, 1
 */
#include "order.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME top_k
#endif
#ifndef EXPERTS
#define EXPERTS 256
#endif
#ifndef TOP_K
#define TOP_K 8
#endif
#ifndef GROUPS
#define GROUPS 1
#endif
#ifndef KEPT_GROUPS
#define KEPT_GROUPS 1
#endif

constexpr int TK_GROUP = EXPERTS / GROUPS, TK_EACH = (EXPERTS + WARP - 1) / WARP;
constexpr int TOP_K_TOKENS = 8, TOP_K_THREADS = TOP_K_TOKENS * WARP;

static_assert(EXPERTS % GROUPS == 0 && EXPERTS <= 1024, "equal groups");
static_assert(GROUPS <= WARP, "a lane per group");
static_assert(KEPT_GROUPS >= 1 && KEPT_GROUPS <= GROUPS, "kept groups are groups");
static_assert(TOP_K >= 1 && TOP_K <= TK_GROUP * KEPT_GROUPS, "enough experts to choose from");
static_assert(GROUPS == 1 || TK_GROUP >= 2, "a group counts its two largest scores");

DEV u32 tk_max(u32 a, u32 b) { return a > b ? a : b; }

/* A candidate: its order and expert; the empty one is below every other. */
struct TkBest {
	u32 order;
	i32 expert;
};

DEV bool tk_before(TkBest a, TkBest b)
{
	return a.order > b.order || (a.order == b.order && a.expert < b.expert);
}

/* The best of all lanes' candidates, in all lanes. */
DEV TkBest tk_agree(TkBest best)
{
	UNROLL
	for (int mask = WARP / 2; mask; mask /= 2) {
		TkBest other = {shfl_xor(best.order, mask), shfl_xor(best.expert, mask)};
		best = tk_before(other, best) ? other : best;
	}
	return best;
}

/* The best of the lane's experts whose bit in `left` is set. */
DEV TkBest tk_own(const float (&x)[TK_EACH], u32 left)
{
	TkBest best = {0, EXPERTS};
	UNROLL
	for (int i = 0; i < TK_EACH; i++) {
		TkBest other = {float_order(x[i]), lane_id() + i * WARP};
		if (left >> i & 1 && tk_before(other, best))
			best = other;
	}
	return best;
}

/* Bits of the lane's experts that lie in experts first .. first+n-1. */
DEV u32 tk_within(int first, int n)
{
	u32 bits = 0;
	UNROLL
	for (int i = 0; i < TK_EACH; i++) {
		int at = lane_id() + i * WARP - first;
		bits |= (u32)(at >= 0 && at < n) << i;
	}
	return bits;
}

/* The sum of the two largest scores of a group, in all lanes. */
DEV float tk_group_score(const float (&x)[TK_EACH], int group)
{
	u32 left = tk_within(group * TK_GROUP, TK_GROUP);
	float sum = 0;
	UNROLL
	for (int k = 0; k < 2; k++) {
		i32 best = tk_agree(tk_own(x, left)).expert;
		float own = 0;
		UNROLL
		for (int i = 0; i < TK_EACH; i++)
			if (lane_id() + i * WARP == best) {
				own = x[i];
				left &= ~(1u << i);
			}
		sum += shfl(own, best % WARP);
	}
	return sum;
}

/* Bits of the lane's experts that are in a kept group. */
DEV u32 tk_kept(const float (&x)[TK_EACH])
{
	TkBest mine = {0, EXPERTS};
	for (int g = 0; g < GROUPS; g++) {
		u32 order = float_order(tk_group_score(x, g));
		if (lane_id() == g)
			mine = TkBest{order, g};
	}
	int place = 0;
	for (int g = 0; g < GROUPS; g++)
		place += tk_before(TkBest{shfl(mine.order, g), g}, mine);
	u32 groups = ballot(lane_id() < GROUPS && place < KEPT_GROUPS), left = 0;
	for (int g = 0; g < GROUPS; g++)
		left |= groups >> g & 1 ? tk_within(g * TK_GROUP, TK_GROUP) : 0;
	return left;
}

/* Bits of the lane's experts that are chosen from those in `left`. */
DEV u32 tk_choose(const float (&x)[TK_EACH], u32 left)
{
	u32 chosen = 0;
	for (int k = 0; k < TOP_K; k++) {
		i32 best = tk_agree(tk_own(x, left & ~chosen)).expert;
		if (best % WARP == lane_id())
			chosen |= 1u << best / WARP;
	}
	return chosen;
}

KERNEL void LAUNCH_BOUNDS(TOP_K_THREADS, 1) KERNEL_NAME(const GRID_CONSTANT GlmcCall c)
{
	i64 t = block_id() * TOP_K_TOKENS + thread_id() / WARP;
	if (t >= c.env.T)
		return;
	const float *scores = (const float *)c.arg[0] + t * EXPERTS;
	i32 *ids = (i32 *)c.arg[1] + t * TOP_K;
	float x[TK_EACH];
	UNROLL
	for (int i = 0; i < TK_EACH; i++) {
		int e = lane_id() + i * WARP;
		x[i] = e < EXPERTS ? scores[e] : 0;
	}
	u32 chosen = tk_choose(x, GROUPS > 1 ? tk_kept(x) : tk_within(0, EXPERTS));
	int place = 0;
	UNROLL
	for (int i = 0; i < TK_EACH; i++) {
		u32 chosen_by = ballot(chosen >> i & 1);
		if (chosen >> i & 1)
			ids[place + lane_rank(chosen_by)] = lane_id() + i * WARP;
		place += popcount(chosen_by);
	}
}
