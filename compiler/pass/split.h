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
	Graph *i, *w;            /* NULL without split_weights */
} Split;

Split split_recompute(Arena *a, const Joint *j, SplitPolicy policy);

/* split_weights - cuts B, named `name`.B, once more: I ends in the gradients of carried values (and of
 * experts), W in the other weight gradients. W starts from F's saved values and from results of I,
 * named "w0", "w1", .. in the order of I's PORT_SAVED results. I then W adds to every gradient what
 * B adds, in the same order. */
void split_weights(Arena *a, const char *name, Split *s);

/* Shared by both cuts. split_copy_nodes copies the wanted nodes; map: value of `from` -> value of `to`,
 * entries that are set stand for inputs. */
bool has_routed_rows(const Graph *g, const Node *n);
void split_copy_nodes(const Graph *from, Graph *to, const bool *want, Val *map);

#endif
