/* op_cost.h - what operators cost, for balancing stages and predicting a step. */
#ifndef GLMC_OP_COST_H
#define GLMC_OP_COST_H

#include "graph.h"

/* A microbatch as costs see it. */
typedef struct CostEnv {
	double tokens;           /* tokens of the microbatch */
	double seq;              /* tokens of a document: keys of a query */
} CostEnv;

/* op_flops - multiplications and additions of contractions in node `n` for one microbatch; 0 for
 * operators that memory limits. Routed rows are counted as tokens * top-k (even load). */
double op_flops(const Graph *g, const Node *n, const CostEnv *env);

/* graph_flops - sum over all nodes. */
double graph_flops(const Graph *g, const CostEnv *env);

#endif
