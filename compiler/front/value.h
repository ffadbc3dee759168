/* value.h - what an expression of the model language is while it is lowered.
 *
 * Numbers, texts and lists are known at compile time; tensors are values of the graph under
 * construction. Arithmetic on compile-time values lives here, on tensors in lower_arith.c.
 */
#ifndef GLMC_VALUE_H
#define GLMC_VALUE_H

#include "../ir/graph.h"
#include "ast.h"

typedef enum ValueKind {
	VK_ERROR,                /* an error was reported: everything made of it is silent */
	VK_NONE, VK_INT, VK_FLOAT, VK_BOOL, VK_STRING,
	VK_LIST,                 /* list, nlist */
	VK_TENSOR,
	VK_CARRY,                /* tensor of an earlier layer, not read in this one so far */
	VK_TUPLE                 /* results of a call: list, nlist */
} ValueKind;

typedef struct Value Value;

struct Value {
	ValueKind kind;
	Span def;                /* where it got its name, for notes */
	const char *name;        /* variable, size or weight it was read from; NULL: an expression */
	union {
		int64_t i;
		double f;
		bool b;
		const char *s;
	} u;
	Value *list;
	uint32_t nlist;
	/* VK_TENSOR, VK_CARRY */
	Val v;
	Type type;               /* VK_CARRY: what the earlier layer gave */
	const char *carry;       /* the input of the layer this is, untouched; else NULL */
	uint32_t weight;         /* index + 1 of the weight this is; 0: none */
	bool buffer;             /* that weight is a buffer */
	bool transposed;         /* the right operand of @ is to be read transposed */
	int64_t experts;         /* ids: how many experts they choose from; 0 unknown */
};

static inline Value value_error(void) { return (Value){.kind = VK_ERROR}; }
static inline Value value_int(int64_t i) { return (Value){.kind = VK_INT, .u.i = i}; }
static inline Value value_float(double f) { return (Value){.kind = VK_FLOAT, .u.f = f}; }
static inline Value value_bool(bool b) { return (Value){.kind = VK_BOOL, .u.b = b}; }
static inline Value value_string(const char *s) { return (Value){.kind = VK_STRING, .u.s = s}; }

/* value_word - "an integer", "a tensor" ... for messages. */
const char *value_word(const Value *v);

bool value_is_number(const Value *v);
double value_number(const Value *v);        /* VK_INT or VK_FLOAT */

/* value_binary - `a op b` of compile-time values: NULL and *out, or a message in the arena.
 * Integers stay integers; `/` gives an integer when it divides, else a float. */
const char *value_binary(Arena *a, AstOp op, const Value *x, const Value *y, Value *out);
const char *value_unary(Arena *a, AstOp op, const Value *x, Value *out);

/* value_json - as JSON text in the arena: 64, 1e-05, true, null, ["full","shared"]. */
const char *value_json(Arena *a, const Value *v);

#endif
