/* graph_eval.h - the plain interpreter of graphs, the witness that kernels and gradient rules are
 * compared with.
 *
 * Every value is an array of doubles in the order of graph.h; tokens, ids and the words of a
 * selection are the integers in them. The rules (op_eval.c) are the loops of the definitions in
 * ops.def, in double precision: results differ from those of the kernels by the kernels' rounding
 * alone. Routed rows are those of one expert-parallel rank: by expert, then by slot.
 *
 *   EvalInput in[] = {{"x", x}, {"tokens", tokens}};
 *   EvalEnv env = {.tokens = 7, .ndoc = 2, .cu = (int32_t[]){0, 3, 7}, .inputs = in, .ninputs = 2};
 *   const Eval *e = graph_eval(arena, g, &env);
 *   const EvalTensor *y = eval_output(e, PORT_CARRY, "x", 0);
 *
 * Works on graphs of any level: forward, joint, F and B.
 */
#ifndef GLMC_GRAPH_EVAL_H
#define GLMC_GRAPH_EVAL_H

#include "graph.h"

typedef struct EvalInput {
	const char *name;
	const double *v;         /* as many elements as the type of the input says */
} EvalInput;

typedef struct EvalEnv {
	int64_t tokens;          /* T */
	int ndoc;
	const int32_t *cu;       /* [ndoc+1]: document d is tokens cu[d] .. cu[d+1]-1; cu[ndoc] = T */
	const EvalInput *inputs;
	uint32_t ninputs;
	const double *const *weights;   /* by number of the weight */
	bool bf16;               /* round values of dtype bf16, to nearest even */
} EvalEnv;

typedef struct EvalTensor {
	int64_t rows, row;       /* T, R or 1; elements of a row */
	double *v;
} EvalTensor;

/* The routed rows of one R dimension. */
typedef struct EvalRows {
	int64_t n, experts;      /* experts 0: not dispatched yet */
	int64_t topk;            /* K */
	int64_t *slot;           /* [n] token * K + k, ascending within an expert */
	int64_t *first;          /* [experts+1] rows of expert e are first[e] .. first[e+1]-1 */
} EvalRows;

typedef struct Eval {
	Arena *a;
	const Graph *g;
	const EvalEnv *env;
	EvalTensor *vals;        /* per value of the graph */
	EvalRows *rows;          /* per R dimension */
	int64_t *place;          /* [T] place of a token in its document */
} Eval;

/* graph_eval - all values of `g`, in `a`. An input or a weight that is not given is an ice. */
const Eval *graph_eval(Arena *a, const Graph *g, const EvalEnv *env);

static inline const EvalTensor *eval_val(const Eval *e, Val v) { return &e->vals[v.i - 1]; }

/* eval_output - the result of that kind and name (kind and index for PORT_WGRAD and PORT_BALANCE),
 * NULL when there is none. */
const EvalTensor *eval_output(const Eval *e, PortKind kind, const char *name, uint32_t index);

#endif
