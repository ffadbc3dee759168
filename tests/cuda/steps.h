/* steps.h - runs a function of the cuda target step by step on the CPU and compares every result with
 * the interpreter.
 *
 * Before each step its operands are set to what the interpreter says, rounded to their dtype, so that a
 * difference is that step's own. Working memory and sums over several steps stay as the steps leave
 * them.
 */
#ifndef GLMC_TESTS_STEPS_H
#define GLMC_TESTS_STEPS_H

#include "compiler/ir/graph_eval.h"
#include "compiler/pass/fn.h"
#include "tests/simt/simt.h"

typedef struct StepsInput {
	const Fn *fn;
	const KernelSet *kernels;
	SimtKernel *const *run;  /* per kernel; NULL: its steps are passed over */
	const Eval *want;        /* of fn->graph */
	int64_t seq_max;         /* S_max */
	uint64_t seed;           /* of the order of threads */
} StepsInput;

typedef struct StepsResult {
	int steps, passed_over, failed;
} StepsResult;

/* steps_check - messages on stderr. Allocates in `a`. */
StepsResult steps_check(Arena *a, const StepsInput *in);

#endif
