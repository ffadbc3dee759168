/* top_k.h - the K largest scores of every token, for routing.
 *
 *     ids[t,:] = the TOP_K experts of largest scores[t,e], ascending; among equals the lowest index
 *
 * With GROUPS > 1 the experts form GROUPS equal runs; a group counts the sum of its two largest
 * scores, and only experts of the KEPT_GROUPS best groups (lowest first among equals) take part.
 *
 * arg: scores f32[T,EXPERTS] (with the correction bias, if any), ids i32[T,TOP_K] (written).
 * Parameters: KERNEL, EXPERTS, TOP_K, GROUPS (1), KEPT_GROUPS (1). No scratch.
 *
 * Jobs are 32 tokens. The best so far are kept in order; nearly every other score fails the one
 * comparison with the last of them, so a token costs about one cycle per expert.
 */
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL top_k
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

enum { TK_GROUP = EXPERTS / GROUPS, TK_TOKENS = 32 };

_Static_assert(EXPERTS % GROUPS == 0, "equal groups");
_Static_assert(KEPT_GROUPS >= 1 && KEPT_GROUPS <= GROUPS, "kept groups are groups");
_Static_assert(TOP_K >= 1 && TOP_K <= TK_GROUP * KEPT_GROUPS, "enough experts to choose from");
_Static_assert(GROUPS == 1 || TK_GROUP >= 2, "a group counts its two largest scores");

/* The largest scores so far, in descending order, of equals the earliest first. */
typedef struct TkBest {
	int size;
	float score[TOP_K > KEPT_GROUPS ? TOP_K : KEPT_GROUPS];
	int32_t id[TOP_K > KEPT_GROUPS ? TOP_K : KEPT_GROUPS];
} TkBest;

/* tk_offer - keeps the score if it belongs to the `limit` largest; ids come in ascending order. */
static inline void tk_offer(TkBest *b, int limit, float score, int32_t id)
{
	int i = b->size;

	if (i == limit) {
		if (!(score > b->score[limit - 1]))
			return;
		i--;
	} else {
		b->size++;
	}
	for (; i > 0 && score > b->score[i - 1]; i--) {
		b->score[i] = b->score[i - 1];
		b->id[i] = b->id[i - 1];
	}
	b->score[i] = score;
	b->id[i] = id;
}

static inline void tk_ascending(int32_t *id, int n)
{
	for (int i = 1; i < n; i++) {
		int32_t x = id[i];
		int j = i;
		for (; j > 0 && id[j - 1] > x; j--)
			id[j] = id[j - 1];
		id[j] = x;
	}
}

static float tk_group_score(const float *x)
{
	float first = x[0], second = -3.4e38f;

	for (int e = 1; e < TK_GROUP; e++) {
		if (x[e] > first) {
			second = first;
			first = x[e];
		} else if (x[e] > second) {
			second = x[e];
		}
	}
	return first + second;
}

static void tk_token(const float *x, int32_t *ids)
{
	TkBest groups = { .size = 1 }, best = { .size = 0 };

	if (GROUPS > 1) {
		groups.size = 0;
		for (int g = 0; g < GROUPS; g++)
			tk_offer(&groups, KEPT_GROUPS, tk_group_score(x + g * TK_GROUP), g);
		tk_ascending(groups.id, KEPT_GROUPS);
	}
	for (int i = 0; i < groups.size; i++)
		for (int32_t e = 0, base = groups.id[i] * TK_GROUP; e < TK_GROUP; e++)
			tk_offer(&best, TOP_K, x[base + e], base + e);
	tk_ascending(best.id, TOP_K);
	for (int j = 0; j < TOP_K; j++)
		ids[j] = best.id[j];
}

static void tk_job(void *ctx, int64_t job, int thread)
{
	const RtCall *c = ctx;
	const float *scores = c->arg[0];
	int32_t *ids = c->arg[1];
	int64_t t = job * TK_TOKENS, end = t + TK_TOKENS < c->env->T ? t + TK_TOKENS : c->env->T;

	(void)thread;
	for (; t < end; t++)
		tk_token(scores + t * EXPERTS, ids + t * TOP_K);
}

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	RtCall call = *c;

	rt_parallel(c->pool, (c->env->T + TK_TOKENS - 1) / TK_TOKENS, tk_job, &call);
}
