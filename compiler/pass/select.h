/* select.h - template instantiation for operators that are not generated (CL_TEMPLATE). */
#ifndef GLMC_SELECT_H
#define GLMC_SELECT_H

#include "cluster.h"
#include "fn.h"

typedef struct TemplateArg {
	Val val;                 /* operand or result; none: working memory of the kernel */
	BufRows rows;            /* working memory: what it grows with */
	int64_t row_bytes;
} TemplateArg;

typedef struct TemplateKernel {
	const char *stem;        /* readable part of the name, "gemm_nt" */
	const char *source;      /* with $NAME */
	const char *file;        /* "gemm.h" */
	const char *scratch;     /* C expression: bytes of rt_scratch */
	TemplateArg args[12];    /* in the order of c->arg */
	uint32_t nargs;
} TemplateKernel;

/* template_make - the kernel for node `n`. `accumulate`: per value, see row_kernel.h. */
TemplateKernel template_make(Arena *a, const Graph *g, const Node *n, const bool *accumulate,
                             const FnOptions *o);

#endif
