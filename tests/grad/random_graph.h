/* random_graph.h - small random forward graphs, for properties that hold for every graph. */
#ifndef GLMC_TESTS_RANDOM_GRAPH_H
#define GLMC_TESTS_RANDOM_GRAPH_H

#include "compiler/ir/graph.h"

/* random_graph - a differentiable graph of about `steps` constructs (elementwise, views, norms,
 * rotary embedding, products, attention, routed experts), the same for the same seed. It has inputs
 * "x0", "x1", .., perhaps ids and labels, weights, carried results "y0", "y1", .. and perhaps a loss. All
 * functions in it are smooth, so that finite differences hold. */
Graph *random_graph(Arena *a, uint64_t seed, int steps);

#endif
