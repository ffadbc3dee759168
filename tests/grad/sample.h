/* sample.h - random operands for a graph, and its gradients by finite differences.
 *
 * The graph is made a function of its floating inputs and weights: the loss, plus the scalar product
 * of every carried floating result with random numbers. Those numbers are the inputs "grad.NAME" of
 * the joint graph.
 */
#ifndef GLMC_TESTS_SAMPLE_H
#define GLMC_TESTS_SAMPLE_H

#include "compiler/ir/graph_eval.h"
#include "compiler/ir/model.h"

enum { SAMPLE_TOKENS = 7 };

typedef struct Sample {
	const Graph *g;
	EvalEnv env;             /* SAMPLE_TOKENS tokens in three documents */
	EvalInput in[64];        /* of the graph, then the gradients of its results */
	double **weights;        /* by number; NULL where the graph does not use one */
	WeightDecl *decls;       /* of those; a weight whose name begins with `buffer` is one */
	uint32_t nweights;
} Sample;

/* A microbatch: document d is tokens cu[d] .. cu[d+1]-1. */
typedef struct SampleSize {
	int64_t tokens;
	int ndoc;
	const int32_t *cu;
} SampleSize;

/* splitmix64 as a generator: the next number in [0, 1), in [0, n). */
double sample_unit(uint64_t *state);
uint32_t sample_below(uint64_t *state, uint32_t n);

/* sample_new - random data for every input and weight of the forward graph `g`; ids are ascending,
 * distinct and now and then -1, labels now and then -100, every query sees its own key. */
Sample *sample_new(Arena *a, const Graph *g, uint64_t seed);

/* sample_sized - the same for other microbatches than SAMPLE_TOKENS tokens. */
Sample *sample_sized(Arena *a, const Graph *g, uint64_t seed, const SampleSize *size);

/* sample_round - operands of dtype bf16, and gradients, become values that bf16 holds. */
void sample_round(Sample *s);

/* sample_in_bf16 - the same graph over bfloat16 values. */
Graph *sample_in_bf16(Arena *a, const Graph *g);

/* sample_loss - the function described above, of `g` or a graph that should equal it. */
double sample_loss(const Sample *s, const Graph *g);

/* sample_check - compares the gradients that `joint` gives with central differences of s->g; at most
 * `most` elements of each operand. Returns the largest difference in units of the operand's largest
 * gradient, and its operand in *where. */
double sample_check(const Sample *s, const Graph *joint, int64_t most, const char **where);

#endif
