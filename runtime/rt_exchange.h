/* rt_exchange.h - index arithmetic of an exchange of routed rows over the expert-parallel group.
 *
 * The rows for the experts of one rank form a list sorted by (expert, source rank, slot). Round r
 * takes rows r*C .. (r+1)*C of every rank's list, C = rows_max. All ranks know all counts, so they
 * agree on rounds and sizes without talking. The list's order does not depend on C, so sums over an
 * expert's rows come out the same however many rounds there are.
 *
 * A rank packs the rows it sends in a round by (expert, slot), so what goes to one expert is one
 * piece; the pieces from the sources of an expert lie back to back in the list: a piece arrives
 * where it belongs. With one rank packing makes the list itself.
 */
#ifndef GLMC_RT_EXCHANGE_H
#define GLMC_RT_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RtExchange {
	int ep, me;              /* ranks of the group, own index */
	int64_t capacity;        /* C */
	int experts, topk;       /* E of the layer, K */
	int64_t slots;           /* T * K */
	int32_t *counts;         /* [ep][E] rows of every source rank for every expert */
	int32_t *total;          /* [E] rows of all sources, */
	int32_t *before;         /* [E] and of those before this rank */
	int64_t rounds, round;   /* how many, the current one */
	/* of the current round */
	int32_t *begin;          /* [E] rows of an expert that this rank sends: places in its sorted slots, */
	int32_t *at;             /* [E+1] and in the packed rows; at[E]: all it sends */
	int32_t *group;          /* [E/ep + 1] rows on this rank by local expert */
	int32_t *arrive;         /* [ep][E/ep] rows that arrive from a source for a local expert */
} RtExchange;

bool rt_exchange_new(RtExchange *x, int ep, int me, int64_t experts_max, int64_t capacity);
void rt_exchange_free(RtExchange *x);

/* rt_exchange_agree - from `counts`: sums and the number of rounds, at least 1. */
void rt_exchange_agree(RtExchange *x);

/* rt_exchange_round - what moves in round `round`. */
void rt_exchange_round(RtExchange *x, int64_t round);

/* Own slots that have an expert; in the sorted slots the others follow. */
int64_t rt_exchange_routed(const RtExchange *x);

#endif
