/* rt_kernel.h - the interface between a rank's runtime and its generated host kernels.
 *
 * The only runtime header that generated code and templates/host include. A kernel is a C function
 *
 *     void NAME(const RtCall *c);
 *
 * that reads and writes the buffers c->arg[0..], in the order of its parameters. Constant sizes
 * are compiled in; what varies at run time (tokens, documents, routed rows) is in c->env.
 * A kernel splits its work with rt_parallel and takes working memory from rt_scratch: nothing is
 * allocated in a step. Results must not depend on the number of threads: jobs split output
 * elements, or fixed blocks of rows whose partial sums are added in block order.
 *
 * Notation: T tokens of the microbatch, R routed rows of the exchange round on this rank,
 * E experts on this rank. All arrays are dense and row-major, 64-byte aligned.
 */
#ifndef GLMC_RT_KERNEL_H
#define GLMC_RT_KERNEL_H

#include <stdint.h>

typedef struct RtEnv {
	int64_t T;               /* tokens of this microbatch, all documents */
	int32_t ndoc;            /* documents (rows of the data set) packed in it */
	const int32_t *cu;       /* [ndoc+1] first token of each document; cu[ndoc] = T */
	const int32_t *pos;      /* [T] position of a token in its document, from 0 */
	int64_t R;               /* routed rows of this round on this rank; 0 is ordinary */
	const int32_t *group;    /* [E+1] rows of local expert e: group[e] .. group[e+1]; group[E] = R */
	float scale;             /* optimizer: factor of the gradient (1/N, or the clipping factor) */
	float lr;                /* learning rate of this step */
	float bias1, bias2;      /* 1 - beta1^t, 1 - beta2^t of Adam, t from 1 */
} RtEnv;

typedef struct RtPool RtPool;

typedef struct RtCall {
	void *const *arg;        /* buffers, in the order of the kernel's parameters */
	const int64_t *n;        /* integer parameters, where a kernel declares some */
	const RtEnv *env;
	RtPool *pool;
} RtCall;

typedef void RtKernel(const RtCall *c);

/* The kernels of an executable, defined by generated code. `scratch`: bytes of rt_scratch that the
 * kernel needs per thread; the runtime reserves the largest at start. */
typedef struct RtKernelEntry {
	const char *name;
	RtKernel *run;
	const int64_t *scratch;
} RtKernelEntry;

extern const RtKernelEntry rt_kernel_table[];
extern const int rt_kernel_count;

/* rt_parallel - runs fn(ctx, job, thread) for job = 0 .. jobs-1 on the pool's threads, in any
 * order; returns when all are done. 0 <= thread < rt_threads(pool). Not reentrant. */
void rt_parallel(RtPool *pool, int64_t jobs, void (*fn)(void *ctx, int64_t job, int thread),
                 void *ctx);

int rt_threads(const RtPool *pool);

/* rt_scratch - private working memory of one thread, 64-byte aligned, at least as large as the
 * largest `scratch` that a kernel of this program declares; contents undefined. */
void *rt_scratch(RtPool *pool, int thread);

#endif
