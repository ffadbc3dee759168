/* op_rules.h - the rules that ops.def links an operator to. */
#ifndef GLMC_OP_RULES_H
#define GLMC_OP_RULES_H

#include "graph.h"

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

#define OP(name, nin, nout, cls, flags, doc) ShapeRule shape_##name;
#include "ops.def"
#undef OP

#endif
