/* lower_int.h - shared by the files lower*.c and classes.c. */
#ifndef GLMC_LOWER_INT_H
#define GLMC_LOWER_INT_H

#include "../base/map.h"
#include "builtin.h"
#include "lower.h"
#include "value.h"

typedef struct Var {
	const char *name;
	Value value;
} Var;

/* The variables of one call, and how it was called. */
typedef struct Frame Frame;
struct Frame {
	VEC(Var) vars;
	const char *prefix;      /* of weight names: "self_attn." or "" */
	const char *block;       /* name of the block, NULL: forward */
	Span call;               /* where it was called */
	Frame *up;
	bool sizes_only;         /* the value of a size or a default is being computed */
};

/* A carried value as the layer gets it. */
typedef struct Carry {
	const char *name;
	Val v;
} Carry;

/* What is being lowered: the entry, one layer, or the exit. */
typedef struct Part {
	Arena *arena;            /* of the graph and its lists: a child of Lower.arena */
	Graph *g;                /* outputs so far: PORT_LOSS, PORT_BALANCE */
	VEC(WeightDecl) weights;
	VEC(Val) weight_vals;    /* OP_weight node of each, NO_VAL: none so far */
	Map weight_index;        /* relative name to index */
	VEC(Carry) inputs;       /* carried values read */
	VEC(Carry) outputs;      /* carried values assigned */
	const char *label;       /* from label(), or NULL */
	const char *prefix;      /* "model.layers.3." or "" */
	int layer;               /* -1: entry or exit */
} Part;

typedef struct SizeSlot {
	const char *name;
	Value value;
	bool from_config;
} SizeSlot;

typedef struct Lower {
	Arena *arena;            /* whole run */
	Diag *diag;
	const Program *prog;
	const LowerOptions *opt;
	SizeSlot *sizes;         /* the first nsizes are known */
	uint32_t nsizes;
	Map size_index;
	Map block_index;
	Frame *frame;
	Part *part;
	Map reported;            /* errors already reported, by place: a block is lowered many times */
	uint64_t steps;
	uint32_t depth;          /* of nested evaluation */
	bool failed;
	bool stopped;            /* a limit was passed: give up */
} Lower;

/* lower_error - reports once per place; true when it did (notes and help may follow). Adds the
 * calls that led here. */
bool lower_error(Lower *l, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* lower_note_operand - "`x` is f32[T,64], assigned here" for a tensor with a name. */
void lower_note_operand(Lower *l, const Value *v);

/* lower_note_operands - the same for several, each once. */
void lower_note_operands(Lower *l, const Value *v, uint32_t n);

/* lower_note_sizes - what the sizes in an expression are and where they are given, each once. */
void lower_note_sizes(Lower *l, const Expr *e);

/* lower_describe - a value for a message: the type of a tensor in backticks, the word for other kinds. */
const char *lower_describe(Lower *l, const Value *v);

/* lower_step - counts work; false when the limit is passed. */
bool lower_step(Lower *l, Span at);

/* Expressions and statements (lower_expr.c). */
Value lower_expr(Lower *l, const Expr *e);
Value lower_body(Lower *l, const Body *b);           /* value of the last expression */
void lower_assign(Lower *l, const Stmt *s);
void lower_effect(Lower *l, const Expr *e);
Var *lower_var(Frame *f, const char *name);
void lower_set_var(Lower *l, Name name, Value v);
const char *lower_template(Lower *l, Span at, const char *s, const char *label);
bool lower_dims(Lower *l, const ExprList *list, Dim *dims, uint32_t most);

/* Weights (lower_weight.c). */
Value lower_weight(Lower *l, const Expr *e);

/* Tensor arithmetic (lower_arith.c). lower_add checks first: op_check's message becomes an error of
 * `what`, a function or an operator, at `at` with the operands' places; VK_ERROR then. */
Value lower_add(Lower *l, Op op, Span at, const char *what, const Value *in, uint32_t nin,
                const int64_t *ints, const double *floats);
Value lower_binary(Lower *l, const Expr *e, Value x, Value y);
Value lower_arith(Lower *l, Op op, Span at, Value x, Value y);
Value lower_scalar(Lower *l, Op op, Span at, Value x, double y);
Value lower_cast(Lower *l, Span at, Value x, DType t);
Value lower_broadcast(Lower *l, Span at, Value x, const Type *to);
Value lower_reshape(Lower *l, Span at, Value x, const Dim *dims, int n);
bool lower_need_float(Lower *l, Span at, const Value *x, const char *what);
const Type *lower_type(const Lower *l, const Value *v);

/* Calls (lower_call.c, lower_fn.c, lower_moe.c). */
Value lower_call(Lower *l, const Expr *e);
Value lower_function(Lower *l, const Expr *e, FnId id, Value *arg, uint32_t n);

#define FN(name, lo, hi, kind, sig, doc) \
	Value call_##name(Lower *l, const Expr *e, Value *arg, uint32_t n);
#include "builtin.def"
#undef FN

/* arguments that must be compile-time values; false after an error */
bool lower_int_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i, int64_t lo, int64_t *out);
bool lower_number_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i, double *out);
bool lower_tensor_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i);

/* lower_ids_below - argument 2 of `e` are ids of top_k or balanced_ids smaller than n. */
bool lower_ids_below(Lower *l, const Expr *e, const Value *ids, int64_t n, const char *what);

/* Parts (lower_part.c). */
typedef struct Parts {
	VEC(Instance) instances; /* cls: index into parts */
	VEC(Part *) parts;       /* distinct ones */
	Map index;               /* key text to part */
	uint64_t nodes;          /* of the distinct parts */
} Parts;

/* lower_parts - runs forward; false after an error. */
bool lower_parts(Lower *l, Parts *parts);

/* model_classes - liveness over the instances, final graphs, names (classes.c). */
Model *model_classes(Lower *l, Parts *parts);

/* lower_sizes - evaluates the sizes with what was given from outside (lower_sizes.c). */
void lower_sizes(Lower *l);

#endif
