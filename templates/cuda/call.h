/* call.h - what a kernel of the cuda target gets: one struct by value.
 *
 *     KERNEL void LAUNCH_BOUNDS(128, 1) NAME(const GRID_CONSTANT GlmcCall c)
 *
 * Filled by the runtime from the program's instruction and the microbatch; read by kernels, by the
 * runtime and by the CPU shim. Only built-in types: NVRTC has no standard headers.
 *
 * T tokens of the microbatch, R routed rows of the exchange round on this rank, E experts on this
 * rank. All arrays are dense, row-major, 256-byte aligned, in device memory.
 */
#ifndef GLMC_CALL_H
#define GLMC_CALL_H

enum { GLMC_ARGS = 64, GLMC_INTS = 4, GLMC_MAPS = 4 };

typedef struct GlmcEnv {
	int T;                   /* tokens of this microbatch, all documents */
	int ndoc;                /* documents packed in it */
	const int *cu;           /* [ndoc+1] first token of each document; cu[ndoc] = T */
	const int *pos;          /* [T] position of a token in its document, from 0 */
	int R;                   /* routed rows of this round on this rank */
	const int *group;        /* [E+1] rows of local expert e: group[e] .. group[e+1] */
	const int *order;        /* [T*topk] slots by expert; slot s is one of token s / topk */
	const int *begin;        /* [E of all ranks] the first place in `order` of this round's rows of expert e */
	int topk;
	float scale;             /* optimizer: factor of the gradient */
	float lr, bias1, bias2;  /* learning rate; 1 - beta1^t, 1 - beta2^t of Adam, t from 1 */
} GlmcEnv;

typedef struct __attribute__((aligned(64))) GlmcMap {
	unsigned char opaque[128];       /* CUtensorMap */
} GlmcMap;

typedef struct GlmcCall {
	GlmcMap map[GLMC_MAPS];          /* tensor maps of the kernel, in the order of its `map` lines */
	void *arg[GLMC_ARGS];            /* buffers, in the order of the kernel's parameters */
	long long n[GLMC_INTS];
	GlmcEnv env;
} GlmcCall;

#endif
