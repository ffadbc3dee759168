/* order.h - from schedules to what each rank does, transfers included.
 *
 * All actions and transfers are put in one global order by simulated time, and every rank gets its
 * projection of it. A send and its receive stand at the same place of that order, so the lists are
 * free of deadlock even when every send blocks until it is received.
 */
#ifndef GLMC_ORDER_H
#define GLMC_ORDER_H

#include "schedule.h"

typedef struct StageCost {
	double forward, backward;        /* any unit */
	double weight;           /* the part of backward that is W; the rest is I */
} StageCost;

typedef struct OrderInput {
	int pp, nstages;
	const int *stage_rank;   /* per stage */
	const StageCost *cost;   /* per stage */
	double latency;          /* of a transfer, in the unit of costs */
	const ActList *compute;  /* per rank: F, B, I and W of one run */
	int microbatches, runs;  /* per run; runs of a step, one after another */
} OrderInput;

/* An F, B, I or W of the simulation. */
typedef struct OrderSpan {
	Act act;
	double start, end;       /* in the unit of costs */
} OrderSpan;

typedef VEC(OrderSpan) SpanList;

typedef struct OrderResult {
	SpanList *spans;         /* per rank, in order of time */
	ActList *rank;           /* per rank: all actions of a step; microbatches 0 .. runs*m-1 */
	double makespan;         /* simulated, in the unit of costs */
	double idle;             /* fraction of the ranks' time without compute */
	const char *error;       /* compute lists that wait for each other; NULL when all is well */
} OrderResult;

OrderResult order_actions(Arena *a, const OrderInput *in);

#endif
