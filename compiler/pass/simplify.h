/* simplify.h - a smaller graph with the same results: algebra, common subexpressions, dead nodes. */
#ifndef GLMC_SIMPLIFY_H
#define GLMC_SIMPLIFY_H

#include "../ir/graph.h"

/* Rules: the head's projection and cross_entropy become linear_cross_entropy; routing weights move
 * in front of the expert's down projection; a selection that holds every causal key
 * (seq_max <= k) is dropped from its attention. `seq_max` 0 keeps selections. */
Graph *simplify_graph(Arena *a, const Graph *g, int64_t seq_max);

#endif
