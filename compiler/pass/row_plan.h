/* row_plan.h - what a kernel of generated row code reads, writes and keeps: the part that does not
 * depend on the target. row_kernel_host.c and row_kernel_cuda.c print it.
 *
 * A value of the cluster is stored (a statement computes it into a variable or a buffer) or is
 * written into the expression of its one reader.
 */
#ifndef GLMC_ROW_PLAN_H
#define GLMC_ROW_PLAN_H

#include "row_kernel.h"

typedef struct RowPlan {
	Arena *a;
	const Graph *g;
	const Clusters *cs;
	const Cluster *cl;
	const bool *accumulate;
	bool *inside;            /* per node: in this cluster */
	bool *stored;            /* per value of the cluster */
	bool *outside;           /* per value: wanted outside the cluster */
	uint32_t *uses;          /* per value: readers inside */
	uint32_t *id;            /* per value of the cluster: its number in the kernel's text */
	int *arg;                /* per value: index of ROW_IN or ROW_OUT argument + 1 */
	int *partial;            /* per value: index of ROW_PARTIAL argument + 1 */
	VEC(RowArg) args;
} RowPlan;

/* row_plan_make - `inlines`: operators whose value may be written into the expression of its reader
 * (of CL_MAP and the coded views it is asked for none). */
RowPlan row_plan_make(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate,
                      bool (*inlines)(Op op));

/* row_plan_rope - the ROW_ROPE argument for this table, new or known. */
int row_plan_rope(RowPlan *p, double theta, int64_t d);

/* row_plan_domain - what the rows are: DIM_T, DIM_R, or DIM_CONST for one row. */
DimKind row_plan_domain(const RowPlan *p);

/* row_plan_rounds - does an elementwise node give a bf16 value that has to be rounded? Some of bf16 operands are exact. */
bool row_plan_rounds(const RowPlan *p, const Node *n);

/* row_plan_bytes - bytes of arguments per row. */
int64_t row_plan_bytes(const RowPlan *p);

/* row_plan_stem - the operator that names a cluster of row code. */
const char *row_plan_stem(const Graph *g, const Cluster *cl);

/* row_plan_title - the operators, as a comment. */
void row_plan_title(const RowPlan *p, Text *t);

/* row_dims - the constant dimensions of a type; returns how many. */
int row_dims(const Type *t, int64_t d[MAX_RANK]);

bool row_same_dims(const int64_t *a, int na, const int64_t *b, int nb);

#endif
