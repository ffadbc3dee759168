/* predict.h - how long a step takes on the device and what every rank sends, from the rank programs.
 *
 * The programs of all pipeline ranks are run by their streams, events and transfers. A kernel or product takes
 * launch_us and the longer of its FLOPs and its bytes of memory; experts have even load, and a group of ranks
 * exchanges at the speed of the link. The programs must have passed the verifier.
 */
#ifndef GLMC_PREDICT_H
#define GLMC_PREDICT_H

#include "device.h"
#include "program.h"

/* Bytes that one rank sends in a step. */
typedef struct Traffic {
	double pipeline;         /* activations and their gradients, to other stages */
	double experts;          /* rows of dispatch and combine */
	double gradients;        /* reduce-scatter */
	double parameters;       /* all-gather */
} Traffic;

typedef struct Prediction {
	double step_us;
	double compute;          /* fraction of the ranks' time in which kernels compute */
	Traffic *sent;           /* per pipeline rank */
} Prediction;

/* predict_step - `p`: one program per pipeline rank. */
Prediction predict_step(Arena *a, const RtProg *const *p, int pp, const KernelSet *kernels, const Device *d);

/* predict_fn - microseconds of a layer's function by itself, one step after another. `sizes`: tokens_max, seq_max and
 * the numbers of ranks. */
double predict_fn(Arena *a, const Fn *fn, const KernelSet *kernels, const RtProg *sizes, const Device *d);

/* predict_bytes - bytes of memory that a launch of `k` in `p` reads and writes, when load is even. */
double predict_bytes(const RtProg *p, const Kernel *k);

#endif
