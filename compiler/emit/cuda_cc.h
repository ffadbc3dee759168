/* cuda_cc.h - kernels of the cuda target to cubins: worker processes, one per core, take the kernels
 * one after the other; results are content-addressed in the kernel cache (cache.h).
 *
 * The key is the source, all headers of templates/cuda, the options and NVRTC's version.
 */
#ifndef GLMC_CUDA_CC_H
#define GLMC_CUDA_CC_H

#include "../base/diag.h"
#include "../pass/fn.h"

/* A compiled kernel: files in the cache, and what ptxas says about it. */
typedef struct CudaBinary {
	const char *cubin, *ptx;
	int registers;           /* of a thread */
	int shared_bytes;        /* static */
	int spill_bytes;         /* stored and loaded again, of a thread */
	int stack_bytes;         /* local memory of a thread */
} CudaBinary;

typedef struct CudaCc {
	Arena *a;
	Diag *d;
	const char *templates;   /* folder of templates/cuda */
	const char *arch;        /* "sm_90a" */
	const char *edited;      /* folder of edited sources, or NULL */
	bool lineinfo;           /* line tables for profilers */
	bool quiet;
	const char *cache;
	char key[33];
	int jobs;
	uint32_t compiled, cached;
} CudaCc;

/* cuda_cc_init - `c` holds the fields up to quiet. False after a message when NVRTC or the cache is
 * missing. */
bool cuda_cc_init(CudaCc *c);

/* cuda_cc_kernels - compiles what the cache lacks; out[i] is kernel i. Those whose template is missing are
 * passed over. False after messages that show
 * the compiler's words, the line of the kernel and the line of the model it was made for. Spills and
 * local memory are errors. */
bool cuda_cc_kernels(CudaCc *c, const KernelSet *ks, CudaBinary *out);

#endif
