/* graph.h - the operator graph of one function (level GRAPH).
 *
 * A Graph is a list of nodes in execution order; every node has operands (Val) and one to three
 * results (Val). Values are indices, stable while the graph grows. A rewrite builds a new graph.
 *
 * Dimensions: a constant, T (tokens of the microbatch, the run-time dimension), or R (routed rows
 * of one exchange; `id` tells which). T and R are only ever the first dimension of a value, and
 * every value is row-major, so the rest of the shape is the constant "row" of a token.
 *
 * Lifetime: nodes and values live in the graph's arena.
 */
#ifndef GLMC_GRAPH_H
#define GLMC_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/arena.h"
#include "../base/diag.h"
#include "../base/text.h"
#include "../base/vec.h"

typedef enum DType { DT_f32, DT_bf16, DT_f64, DT_i32, DT_u32 } DType;

size_t dtype_size(DType t);
const char *dtype_name(DType t);                  /* "f32" ... */
bool dtype_parse(const char *name, DType *out);

typedef enum DimKind { DIM_CONST, DIM_T, DIM_R } DimKind;

typedef struct Dim {
	DimKind kind;
	int64_t n;               /* DIM_CONST: the size; else 0 */
	uint32_t id;             /* DIM_R: number of the dispatch in its function, from 0 */
	const char *name;        /* for messages: "hidden_size"; may be NULL; no part of equality */
} Dim;

enum { MAX_RANK = 4, MAX_OUT = 3, MAX_INT = 6, MAX_ROW_DIMS = 64 };

typedef struct Type {
	DType dtype;
	int rank;                /* 0: a scalar */
	Dim dim[MAX_RANK];
} Type;

bool dim_equal(Dim a, Dim b);
bool type_equal(const Type *a, const Type *b);
Dim dim_const(int64_t n, const char *name);
Dim dim_tokens(void);
Dim dim_rows(uint32_t id);
int64_t type_row(const Type *t);                  /* product of the constant dimensions */
bool type_has_rows(const Type *t);                /* first dimension is T or R */
/* type_possible - can a value have the type? Rows stand first only, sizes are positive, and a row has
 * at most 2^48 elements. */
bool type_possible(const Type *t);
/* type_text - "f32[T,hidden_size=64]" into the arena. */
const char *type_text(Arena *a, const Type *t);

typedef struct Val {
	uint32_t i;              /* index + 1 into Graph.vals; 0 = none */
} Val;

#define NO_VAL ((Val){0})

typedef enum Op {
#define OP(name, nin, nout, cls, flags, doc) OP_##name,
#include "ops.def"
#undef OP
	OP_COUNT
} Op;

/* Fusion class: how kernels are made of operators (ops.def lists which operator is what). */
typedef enum OpClass {
	CL_SOURCE,               /* input, weight, constant: no code */
	CL_MAP,                  /* one element from the same element of the operands */
	CL_VIEW,                 /* an index map within a row: reshape, slice, concat, broadcast */
	CL_ROW,                  /* reads a whole row: reduction over the last dimensions, rope, gather */
	CL_COLUMN,               /* sum over the rows */
	CL_TEMPLATE,             /* a kernel of templates/ */
	CL_EXCHANGE              /* carried out by the runtime: dispatch, collect */
} OpClass;

enum OpFlags { OPF_COMMUTES = 1, OPF_VARIADIC = 2, OPF_NOGRAD = 4 };

/* Attributes: meaning per operator in ops.def. */
typedef struct Node {
	Op op;
	Span span;               /* construct of the model file that made it */
	Val *in;
	uint32_t nin;
	Val out[MAX_OUT];
	uint32_t nout;
	int64_t i[MAX_INT];
	double f[2];
	bool wgrad;              /* only needed for weight gradients (set by autodiff) */
} Node;

typedef struct ValInfo {
	Type type;
	uint32_t node, out;      /* where it is made */
	const char *name;        /* variable of the model file, may be NULL */
} ValInfo;

/* A named result of the function. */
typedef enum PortKind {
	PORT_CARRY,              /* value carried to the next layer, or its gradient, by name */
	PORT_SAVED,              /* kept from F to B, name "s0", "s1" .. */
	PORT_WGRAD,              /* added to the gradient of weight `index` */
	PORT_BALANCE,            /* ids whose load balances buffer `index` after the step */
	PORT_LOSS                /* added to the loss of the microbatch (f64 scalar) */
} PortKind;

typedef struct Port {
	PortKind kind;
	const char *name;
	uint32_t index;          /* PORT_WGRAD, PORT_BALANCE: weight */
	Val val;
} Port;

typedef struct Graph {
	Arena *arena;
	const char *name;        /* "layer.sparse.F" */
	VEC(Node) nodes;
	VEC(ValInfo) vals;
	VEC(Port) outputs;       /* results; operands come from OP_input and OP_weight nodes */
	uint32_t rows;           /* number of R dimensions used */
} Graph;

/* A weight (or buffer) of a class: what its checkpoint tensor looks like. `name` is relative to
 * the instance: an instance gives the prefix, see Instance in model.h. */
typedef struct WeightDecl {
	const char *name;        /* "self_attn.q_a_proj.weight"; with "{e}" when stacked */
	Type type;               /* storage dtype; stacked: dim[0] is the expert dimension */
	bool stacked;            /* one checkpoint tensor per index of dim[0]; placed over ep */
	bool buffer;             /* no parameter: never gets a gradient, stays float32 */
	Span span;
} WeightDecl;

Graph *graph_new(Arena *a, const char *name);

/* graph_copy - the same nodes, values and results; what they point to is shared. */
Graph *graph_copy(Arena *a, const Graph *g);

/* graph_add - appends a node; result types come from shape_<op> (ops.c). `in` is copied. Returns
 * the node index. A type error here is an ice: the front end has checked before (see op_check). */
uint32_t graph_add(Graph *g, Op op, Span span, const Val *in, uint32_t nin, const int64_t *ints,
                   const double *floats);

/* graph_add1 - graph_add, and the first result of the new node. */
Val graph_add1(Graph *g, Op op, Span span, const Val *in, uint32_t nin, const int64_t *ints, const double *floats);

/* graph_copy_node - appends node n of another graph with its attributes and names. map: value of `from`
 * to value of `to`; the operands must be there, the results are added. */
void graph_copy_node(Graph *to, const Graph *from, const Node *n, Val *map);

/* op_check - would graph_add succeed? Fills out types and returns NULL, or a message in the arena
 * ("inner sizes 64 and 32 differ") that a front end can put behind a span. */
const char *op_check(Arena *a, Op op, const Type *in, uint32_t nin, const int64_t *ints,
                     const double *floats, Type out[MAX_OUT], uint32_t *nout);

/* Shorthands: the first result of a new node. */
Val graph_op1(Graph *g, Op op, Span s, Val a);
Val graph_op2(Graph *g, Op op, Span s, Val a, Val b);
Val graph_const(Graph *g, Span s, double value, DType t);
Val graph_input(Graph *g, Span s, const char *name, const Type *t);
Val graph_weight(Graph *g, Span s, uint32_t weight, const Type *t);
/* Views: `target` gives the shape (its dtype is ignored); dims are constant dimensions. A value that
 * has the wanted shape or dtype already is returned itself. */
Val graph_broadcast(Graph *g, Span s, Val v, const Type *target);
Val graph_reshape(Graph *g, Span s, Val v, int rank, const int64_t *dims);
Val graph_slice(Graph *g, Span s, Val v, int64_t begin, int64_t size);
Val graph_concat(Graph *g, Span s, const Val *v, uint32_t n);
Val graph_cast(Graph *g, Span s, Val v, DType t);
void graph_output(Graph *g, PortKind kind, const char *name, uint32_t index, Val v);

static inline const ValInfo *graph_val(const Graph *g, Val v) { return &g->vals.v[v.i - 1]; }
static inline const Type *graph_type(const Graph *g, Val v) { return &g->vals.v[v.i - 1].type; }
static inline Node *graph_def(const Graph *g, Val v) { return &g->nodes.v[g->vals.v[v.i - 1].node]; }

/* graph_readers - how often nodes and outputs read a value, by its own name. */
uint32_t graph_readers(const Graph *g, Val v);

/* node_grouped - is it a product of routed rows with the weights of their experts, or the gradient of those? */
bool node_grouped(const Graph *g, const Node *n);

const char *op_name(Op op);
OpClass op_class(Op op);
uint32_t op_flags(Op op);

/* Text form (.gir): print, read back, verify. graph_read returns NULL after diag_error;
 * graph_read_next reads a file of several: from byte *at on, which it advances; NULL at the end, too. */
void graph_print(const Graph *g, Text *t);
Graph *graph_read(Arena *a, Diag *d, uint32_t source);
Graph *graph_read_next(Arena *a, Diag *d, uint32_t source, size_t *at);
/* graph_verify - ice-free check of every invariant; NULL or a message. */
const char *graph_verify(Arena *a, const Graph *g);

/* Inputs and weights are nodes OP_input (name = ValInfo.name) and OP_weight (i[0] = weight). */

#endif
