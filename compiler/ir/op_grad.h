/* op_grad.h - gradient rules of the operators, see op_grad.c. */
#ifndef GLMC_OP_GRAD_H
#define GLMC_OP_GRAD_H

#include "graph.h"

/* A piece of a gradient: of the whole value, or of `size` elements of its last dimension. */
typedef struct GradPart {
	Val v;
	int64_t begin, size;     /* size 0: the whole */
} GradPart;

typedef struct Adjoint {
	bool wanted;             /* a weight or a carried value lies behind it */
	VEC(GradPart) parts;     /* in the order they were found */
} Adjoint;

typedef struct GradCall {
	Graph *g;                /* joint graph, grows */
	Node n;                  /* the forward node */
	Val d[MAX_OUT];          /* gradients of its results, NO_VAL where there is none */
	Adjoint *adj;            /* per forward value */
} GradCall;

/* op_grad - appends the backward nodes of one forward node and adds to its operands' adjoints. */
void op_grad(GradCall *c);

#endif
