/* select.h - what carries out the operators that are not generated (CL_TEMPLATE): instances of the
 * target's templates, and on the cuda target matrix products of cuBLASLt.
 */
#ifndef GLMC_SELECT_H
#define GLMC_SELECT_H

#include "../../templates/cuda/call.h"
#include "cluster.h"
#include "fn.h"
#include "template_head.h"

typedef struct TemplateArg {
	Val val;                 /* operand or result; none: working memory of the operator */
	int work;                /* its number: steps of an operator share it */
	BufRows rows;            /* what it grows with */
	int64_t row_bytes;
	char mode;               /* r, w, a, as in an access text */
	int64_t row0, nrow;      /* nrow > 0: its rows (tokens) row0 .. row0+nrow-1 */
} TemplateArg;

typedef struct TemplateStep {
	bool product;            /* else a kernel */
	Gemm gemm;
	const char *stem;        /* readable part of the name, "gemm_nt" */
	const char *source;      /* with $NAME */
	const char *file;        /* "gemm.h" */
	const char *scratch;     /* C expression: bytes of rt_scratch */
	bool missing;            /* the file does not exist yet */
	RtKernelInfo launch;     /* of the cuda target */
	RtMap *maps;
	uint32_t nmaps;
	const Define *tiles;
	uint32_t ntiles;
	double flops;            /* of a launch for the largest microbatch */
	TemplateArg args[GLMC_ARGS];   /* in the order of c->arg */
	uint32_t nargs;
	int64_t n[RT_MAX_INTS];
	int nint;
} TemplateStep;

typedef struct TemplateSteps {
	VEC(TemplateStep) v;
	const char *error;       /* why the target cannot do it, else NULL */
} TemplateSteps;

/* template_steps - what to run for node `n`. `accumulate`: per value, see row_kernel.h. */
TemplateSteps template_steps(Arena *a, const Graph *g, const Node *n, const bool *accumulate, const FnOptions *o);

/* template_fused - what to run for a cluster of products of routed rows and the row code behind them. */
TemplateSteps template_fused(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate, const FnOptions *o);

/* gathered_tokens - with one expert-parallel rank on the cuda target: the tokens whose rows products gather
 * themselves, where `v` are routed rows that only they read; NO_VAL else. Then nothing is to be dispatched. */
Val gathered_tokens(const Graph *g, Val v, const FnOptions *o);

/* template_zero - clears so many bytes. */
TemplateStep template_zero(Arena *a, const FnOptions *o, int64_t bytes);

/* template_columns - on the cuda target: adds partial sums of `per` rows each to `width` columns. */
TemplateStep template_columns(Arena *a, const FnOptions *o, int64_t width, int64_t per, bool rows_r, bool acc);

/* kernel_of_step - the kernel of a step that is none of cuBLASLt, new or known. */
uint32_t kernel_of_step(KernelSet *ks, const TemplateStep *s, const char *access, const char *origin);

/* template_add - an instance of template `base` that belongs to no node; `macros` are C text. Returns
 * the kernel. */
uint32_t template_add(KernelSet *ks, const FnOptions *o, const char *base, const char *macros, const Defines *defines);

#endif
