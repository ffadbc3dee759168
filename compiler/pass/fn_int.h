/* fn_int.h - the making of a function, shared by fn.c (which steps, buffers, lifetimes) and
 * fn_steps.c (the kernels and products of a step). */
#ifndef GLMC_FN_INT_H
#define GLMC_FN_INT_H

#include "cluster.h"
#include "fn.h"

typedef struct Build {
	Arena *a;
	KernelSet *ks;
	const Diag *d;
	Graph *g;                /* the caller's, with outputs rewritten */
	const WeightDecl *weights;
	const FnOptions *o;
	bool *accumulate;        /* per value */
	int *buf;                /* per value: index into fn->bufs + 1 */
	uint32_t *xch_of;        /* per R dimension: exchange number + 1 */
	Fn *fn;
} Build;

/* fn_add_buf, fn_value_buf - index of a new buffer; of the buffer that holds a value. */
uint32_t fn_add_buf(Build *b, FnBuf buf);
uint32_t fn_value_buf(Build *b, Val v);

void fn_add_step(Build *b, Step s);

/* fn_step_rows, fn_step_operator - the steps of a cluster of row code; of an operator with templates, or of
 * products with an epilogue. */
void fn_step_rows(Build *b, const Clusters *cs, const Cluster *cl);
void fn_step_operator(Build *b, const Clusters *cs, const Cluster *cl);

/* fn_step_zero - clears the result of `n`, which its step then adds to. */
void fn_step_zero(Build *b, const Node *n);

#endif
