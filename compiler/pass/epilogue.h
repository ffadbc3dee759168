/* epilogue.h - what a product of routed rows does with its sums before it stores anything: the
 * elementwise code that reads the product, as the function `epilogue` of templates/cuda/grouped_gemm.cuh.
 */
#ifndef GLMC_EPILOGUE_H
#define GLMC_EPILOGUE_H

#include "row_kernel.h"

enum {
	EPILOGUE_PRODUCTS = 2,   /* of the same rows, as gate and up, or of a sum */
	EPILOGUE_OUTS = 3        /* results as wide as the product: a thread holds a piece of each */
};

typedef struct Epilogue {
	const char *source;      /* the function */
	const char *stem;        /* what names it: an operator, and the number of results if more than one */
	RowArg *args;            /* `outs` results, `ins` operands, then `sums` sums over columns */
	uint32_t outs, ins, sums;
	bool sum_f32;
	bool heavy;              /* needs more registers than 128 sums of a thread leave */
} Epilogue;

/* epilogue_product - is the node a product of routed rows that can have an epilogue? */
bool epilogue_product(const Graph *g, const Node *n);

/* epilogue_sums - can the sum of two such products be made in one chain: of different rows, which are in their place,
 * and equal sizes? */
bool epilogue_sums(const Graph *g, const Node *x, const Node *y);

/* epilogue_fits - can row code over these nodes be the epilogue of a product? Nothing else reads that. Every value has
 * one row per routed row and as many columns as `product`, read at its own place; sums of whole rows are results only.
 * `coded`: per node, as in Clusters. */
bool epilogue_fits(const Graph *g, const bool *coded, const uint32_t *nodes, uint32_t n, const Node *product);

/* epilogue_make - the code of cluster `rows`, whose operands `product` are the sums; its first result is c.arg[first]. */
Epilogue epilogue_make(Arena *a, const Clusters *cs, const Cluster *rows, const bool *accumulate, const Val *product,
                       uint32_t nproduct, uint32_t first);

#endif
