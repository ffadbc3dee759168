/* cluster.h - which nodes become one kernel.
 *
 * Nodes without code (sources, reshape, detach) only rename storage. Slices and broadcasts
 * float: every reader folds them into its index, unless a template or the caller wants the value
 * itself. The other nodes are coded: a cluster is one kernel of generated row code, one template
 * (products of routed rows with the row code that alone reads them, on the cuda target), one exchange, or
 * a region: all nodes with routed rows of one dispatch, run once per exchange round, clustered in
 * itself.
 */
#ifndef GLMC_CLUSTER_H
#define GLMC_CLUSTER_H

#include "../ir/graph.h"

typedef enum ClusterKind { CLUSTER_ROWS, CLUSTER_TEMPLATE, CLUSTER_EXCHANGE, CLUSTER_REGION } ClusterKind;

typedef struct Cluster Cluster;
struct Cluster {
	ClusterKind kind;
	uint32_t *nodes;         /* ascending node indices */
	uint32_t n;
	Cluster *inner;          /* CLUSTER_REGION: its clusters in order */
	uint32_t ninner;
	uint32_t region;         /* R dimension of CLUSTER_REGION and of clusters inside it */
};

typedef struct Clusters {
	const Graph *g;
	Cluster *v;              /* in execution order */
	uint32_t n;
	uint32_t *of;            /* per node: an id unique per innermost cluster; UINT32_MAX no code */
	bool *coded;             /* per node */
} Clusters;

/* cluster_nodes - `epilogues`: row code joins the products of routed rows that it alone reads; else only a sum of two
 * does. */
Clusters cluster_nodes(Arena *a, const Graph *g, bool epilogues);

/* value_root - the value whose storage `v` shares: through reshape, detach and casts that change
 * nothing. */
Val value_root(const Graph *g, Val v);

/* is_view - a node that readers can fold into their index: a slice or a broadcast. */
bool is_view(const Node *n);

/* is_floating - a view that readers fold into their index (and that is not coded). */
bool is_floating(const Clusters *c, uint32_t node);

/* ROWS_NONE-like domain of a node's rows: DIM_CONST none, DIM_T, DIM_R; the region for DIM_R. */
DimKind node_domain(const Graph *g, const Node *n, uint32_t *region);

#endif
