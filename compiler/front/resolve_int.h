/* resolve_int.h - shared by resolve.c (blocks, statements) and resolve_expr.c (expressions). */
#ifndef GLMC_RESOLVE_INT_H
#define GLMC_RESOLVE_INT_H

#include "../base/map.h"
#include "builtin.h"
#include "resolve.h"

typedef enum LocalKind { LOCAL_VAR, LOCAL_PARAM, LOCAL_INPUT, LOCAL_INDEX } LocalKind;

typedef struct Local {
	const char *name;
	Span span;
	LocalKind kind;
	bool partial;            /* assigned in one branch of an `if` only: cannot be read */
} Local;

typedef struct Resolve {
	Arena *arena;
	Diag *diag;
	Program *prog;
	VEC(Local) locals;       /* of the block being checked, innermost last */
	uint32_t sizes;          /* sizes visible: the first `sizes` of the model */
	bool in_size;            /* in the value of a size: numbers only */
	bool misplaced;          /* a `return` of this body stands in a wrong place */
	Map unknown;             /* names reported as not defined, by file */
	VEC(Block *) todo; /* blocks called so far */
} Resolve;

/* Value counts: 1 or more; 0 = no value; UNKNOWN after an error. */
enum { RESULTS_UNKNOWN = -1 };

Local *resolve_local(Resolve *r, const char *name);
const SizeDef *resolve_size(const Resolve *r, const char *name);
Block *resolve_block(const Resolve *r, const char *name);

/* resolve_expr - checks `e`; returns how many values it has. */
int resolve_expr(Resolve *r, const Expr *e);

/* resolve_single - checks `e` where one value is needed. */
void resolve_single(Resolve *r, const Expr *e);

/* resolve_body - statements of a branch; returns the number of values of its last expression. */
int resolve_body(Resolve *r, const Body *b);

/* Branches: what both assign exists afterwards, what one assigns is `partial`. */
int resolve_branches(Resolve *r, const Expr *e);

#endif
