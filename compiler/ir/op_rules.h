/* op_rules.h - the rules that ops.def links an operator to. */
#ifndef GLMC_OP_RULES_H
#define GLMC_OP_RULES_H

#include "graph_eval.h"

typedef struct ShapeCall {
	Arena *a;
	Op op;
	const Type *in;
	uint32_t nin;
	const int64_t *i;
	const double *f;
	Type *out;               /* results to fill */
} ShapeCall;

/* NULL, or what is wrong. */
typedef const char *ShapeRule(ShapeCall *c);

typedef struct EvalCall {
	Eval *e;
	const Node *n;
} EvalCall;

/* Fills the results, which it gets from eval_result. */
typedef void EvalRule(EvalCall *c);

/* eval_result - zeros for result k; routed rows must be known. */
double *eval_result(EvalCall *c, uint32_t k);

#define OP(name, nin, nout, cls, flags, doc) \
	ShapeRule shape_##name; \
	EvalRule eval_##name;
#include "ops.def"
#undef OP

#endif
