/* split.h - the joint graph cut in the function F and the function B of a layer.
 *
 * F computes the carried results and what B needs of the forward pass; B starts from saved values,
 * inputs named "s0", "s1", .. in the order of F's PORT_SAVED results, recomputes the rest, and ends
 * in gradients. Values with routed rows are never saved: their number depends on the routing.
 */
#ifndef GLMC_SPLIT_H
#define GLMC_SPLIT_H

#include "autodiff.h"

typedef enum SplitPolicy {
	SPLIT_NORMAL,            /* saved: inputs, results of templates and of combined experts; the
	                            rest is recomputed */
	SPLIT_CHECKPOINT,        /* saved: inputs, selections, routing decisions, combined experts */
	SPLIT_EXIT               /* all runs in B, but combined experts: the loss is needed by nobody
	                            before */
} SplitPolicy;

typedef struct Split {
	Graph *f, *b;
} Split;

Split split_recompute(Arena *a, const Joint *j, SplitPolicy policy);

#endif
