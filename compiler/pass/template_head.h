/* template_head.h - what a template of the cuda target says about itself.
 *
 * The comment at the head of templates/cuda/NAME.cuh holds lines that begin with `@` (after the `*` of
 * the comment), so that how a kernel is launched stands beside the kernel:
 *
 *     @tile NAME, EXPR, EXPR, TEXT  a parameter that --tune may change, its usual value, and what it can be: where the
 *                                   second is 0, `NAME of KERNEL must be TEXT` is an error in the file of --tune
 *     @let NAME, EXPR               a number that later lines use
 *     @threads EXPR                 of a block
 *     @shared EXPR                  bytes of dynamic shared memory
 *     @grid T, PER, TIMES           ceil(T / PER) * TIMES blocks; so too R
 *     @grid FIXED, TIMES            TIMES blocks
 *     @grid SMS, TIMES              TIMES blocks per multiprocessor
 *     @work ROWS, EXPR              one more argument, behind the operator's: EXPR bytes per row; ROWS is T,
 *                                   R or 1
 *     @map ARG, DTYPE, ROWS, INNER, BOX_ROWS, BOX_INNER
 *                                   a tensor map (TMA) of argument ARG: a matrix of ROWS (T, R or an
 *                                   expression) rows of INNER elements, read in boxes
 *     @parts EXPR                   so many kernels in this file, launched in order with the same
 *                                   arguments; the macro PART tells which
 *     @need EXPR, EXPR, TEXT        what the template can be for: where the second is 0, `the cuda target takes
 *                                   TEXT, here it is` the first is an error in the model
 *     @if EXPR: @...                a line that holds only where EXPR is not 0
 *
 * Expressions are C's on integers (?: || && == != < <= > >= + - * / %) and min(a, b), max(a, b), up(a, b):
 * a rounded up to a multiple of b. Names are the macros of the instantiation, tiles and lets above, PART,
 * ELEM_BYTES (of ELEM), S_MAX (tokens of the longest document) and T_MAX (of the largest microbatch).
 */
#ifndef GLMC_TEMPLATE_HEAD_H
#define GLMC_TEMPLATE_HEAD_H

#include "../../runtime/rt_prog.h"
#include "../base/vec.h"
#include "fn.h"
#include "tune.h"

typedef VEC(Define) Defines;

typedef struct TemplateWork {
	BufRows rows;
	int64_t row_bytes;
} TemplateWork;

typedef struct TemplateHead {
	int parts;               /* 1 when the file does not say */
	RtKernelInfo launch;     /* without a name */
	VEC(TemplateWork) work;
	VEC(RtMap) maps;         /* without a kernel */
	const char *error;       /* the first need that is not met, else NULL */
} TemplateHead;

/* A template asserts that LAUNCH_SHARED, the macro with what @shared says, is enough for it. */

/* template_tiles - adds the tiles of the head in `text` to the defines, tuned for kernel `stem`. */
void template_tiles(Arena *a, const char *file, const char *text, const char *stem, Tune *t, Defines *defines);

/* template_head - the other lines, for these defines (PART among them). A mistake in a head is an ice that
 * names `file`. */
TemplateHead template_head(Arena *a, const char *file, const char *text, const Defines *defines);

#endif
