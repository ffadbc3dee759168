/* row_cuda.h - the state of the generator of row kernels for the cuda target: row_kernel_cuda.c makes
 * loops and the kernel around them, row_eval_cuda.c the expressions inside.
 *
 * A row belongs to a group of threads. Stored values are computed in nests: one loop over the
 * row-major elements of values of equal size, V neighbouring elements of each thread at a time.
 * Within a nest a value is read at its own index from registers. Between nests it is kept in
 * registers when every reader reads at its own index, else it goes through shared memory.
 *
 * Where values are kept, and V of each size, are found by writing the text again until nothing asks
 * for more: demands only grow, so that ends.
 */
#ifndef GLMC_ROW_CUDA_H
#define GLMC_ROW_CUDA_H

#include "row_index.h"
#include "row_plan.h"

typedef enum Place { PLACE_NEST, PLACE_KEPT, PLACE_SHARED } Place;

/* V of nests of one size. */
typedef struct Width {
	int64_t size;            /* elements; negative: sums over segments of that many */
	int v;
} Width;

/* A load of the open nest that later expressions use again. */
typedef struct Load {
	const char *key;
	uint32_t name;
} Load;

typedef struct RowGen {
	RowPlan p;
	int lanes, groups;       /* threads of a row, rows at a time of a block */
	int64_t chunks;          /* > 0: one nest of independent elements, cut over so many blocks */
	Place *place;            /* per value */
	VEC(Width) widths;
	bool changed;            /* a demand was raised: the text is not final */
	bool conflict;           /* a value of the open nest was read at another index */
	Text decl, body, loop;   /* of a row; finished nests; the open nest */
	Text before, after;      /* the loop over the rows of a block: accumulators of columns */
	VEC(Load) loads;
	VEC(Val) sums;           /* summed in the open nest */
	int *nest_of;            /* per value: number of the nest that computes it, 0 not yet */
	int nest, nests;         /* the open one; those that are loops */
	bool open;
	int64_t size;            /* of the open nest; negative: of segments, in loops of their own */
	int64_t largest;         /* of all nests */
	int nest_v;              /* V of the open nest */
	int v, depth;            /* V of the expression in the making; tabs */
	bool each_unrolled;      /* the open nest indexes registers by its step */
	bool wrote_shared;
	uint32_t temps;
	int64_t shared;          /* bytes of a group */
	int64_t columns;         /* bytes in which the groups of a block add their columns */
	int red;                 /* values that one group_sum adds */
	int kept;                /* registers of kept values and accumulators */
	const Val *product;      /* of an epilogue: operands that are sums in registers, p[0], p[1] */
	uint32_t nproduct;
} RowGen;

/* row_line - one line of the open nest. */
void row_line(RowGen *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* row_width - V of nests of this size; row_narrow - the open nest cannot use its V. */
int row_width(RowGen *g, int64_t size);
void row_narrow(RowGen *g);

/* row_steps - how often a thread goes round a nest of this size. */
int64_t row_steps(const RowGen *g, int64_t size, int v);

/* row_need - raises the place of a value. */
void row_need(RowGen *g, uint32_t value, Place p);

/* row_eval - appends the expression of the elements at `ix` of value v, which uses e for the element
 * of the vector; what it needs goes to the open nest before. row_eval_def: of a node's own
 * definition. */
void row_eval(RowGen *g, Text *t, Val v, const Index *ix);
void row_eval_def(RowGen *g, Text *t, const Node *n, const Index *ix);

/* row_each, row_elem - before a statement on a vector, behind the name of one: nothing when V is 1. */
const char *row_each(const RowGen *g);
const char *row_elem(const RowGen *g);

/* row_product - which of the products `v` is; -1 none. */
int row_product(const RowGen *g, Val v);

/* row_c_type - the C++ type of elements in memory. */
const char *row_c_type(DType t);

/* row_inlines - operators of one definition that readers can contain. */
bool row_inlines(Op op);

#endif
