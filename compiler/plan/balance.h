/* balance.h - layers per stage by predicted time in place of an even number. */
#ifndef GLMC_BALANCE_H
#define GLMC_BALANCE_H

#include "order.h"
#include "stage.h"

typedef struct BalanceInput {
	OrderInput order;        /* its costs are filled here */
	const StageCost *layer;  /* per layer */
	StageCost first, last;   /* of what the first and the last stage do besides: embedding, head */
} BalanceInput;

/* balance_stages - moves layers from stage to stage while that shortens the simulated step. Every stage
 * keeps at least one layer; number, order and ranks of the stages stay. Never worse than before. */
void balance_stages(Arena *a, StageTable *t, const BalanceInput *in);

#endif
