/* subgraph.h - a part of a graph as a graph of its own. */
#ifndef GLMC_SUBGRAPH_H
#define GLMC_SUBGRAPH_H

#include "graph.h"

typedef struct SubgraphInput {
	Val val;                 /* in the whole graph; a value_root */
	const char *name;        /* of the input in the part */
} SubgraphInput;

/* subgraph_cut - what makes `out` from `in`: inputs by their names, results carried as "r0", "r1", ..
 * Routed rows become tokens, unless a product groups them by expert: then they are dispatched from an
 * input of one row per token by ids i32[T,1], the input "ids", and there are experts / ep of them. So are tokens that
 * the part itself dispatches.
 * at[k] is the value of the part that `in[k]` has become: the input itself, or its rows by expert. */
Graph *subgraph_cut(Arena *a, const Graph *g, const SubgraphInput *in, uint32_t nin, const Val *out, uint32_t nout, int ep,
                    Val *at);

#endif
