/* row_index.h - indices of vectors of elements in generated CUDA code.
 *
 * A thread computes V neighbouring elements of a value at a time. An index is the C expression of
 * the first one and how it goes on: the same element for all (step 0), the next element (step 1), or
 * neither (step IX_OTHER), which only V = 1 can read. `align` is a known divisor, so that accesses of
 * V elements are known to be aligned.
 */
#ifndef GLMC_ROW_INDEX_H
#define GLMC_ROW_INDEX_H

#include "../ir/graph.h"

enum { IX_TEXT = 240, IX_OTHER = -1 };

typedef struct Ix {
	char text[IX_TEXT];
	int step;
	int64_t align;           /* 0: the expression is 0 */
} Ix;

/* An index into a shape; `whole` is the row-major offset when at[] was split from it. */
typedef struct Index {
	int n;
	Ix at[MAX_RANK];
	bool split;
	Ix whole;
} Index;

Ix ix_make(const char *text, int step, int64_t align);
Ix ix_zero(void);
Ix ix_add(Ix x, int64_t c);
Ix ix_mul(Ix x, int64_t c);
Ix ix_sum(Ix x, Ix y);

/* ix_div, ix_mod - by a constant, for vectors of v elements. */
Ix ix_div(Ix x, int64_t c, int v);
Ix ix_mod(Ix x, int64_t c, int v);

/* index_split - the index in shape d[n] of row-major offset `flat`. */
Index index_split(Ix flat, const int64_t *d, int n, int v);

/* index_flat - the inverse. */
Ix index_flat(const Index *x, const int64_t *d);

/* index_set - replaces one component. */
void index_set(Index *x, int k, Ix to);

#endif
