/* nvrtc.h - NVIDIA's run-time compiler: CUDA C++ to PTX and to a cubin, on machines without a GPU.
 *
 * libnvrtc is opened when first needed, so that glmc builds and runs without the CUDA toolkit. The
 * search order: the file named by $GLMC_NVRTC; libnvrtc.so.13 and .so.12 as the dynamic linker
 * finds them; the same in the folder of the toolkit that was found when glmc was configured, in
 * $CUDA_HOME/lib64 and in /usr/local/cuda/lib64.
 *
 *     NvrtcJob j = {.name = "k12.cu", .source = text, .include = folders};
 *     bool ok = nvrtc_compile(&j);       // j.log holds the compiler's words in both cases
 *     ... j.cubin, j.ptx, j.kernels ...
 *     nvrtc_free(&j);
 *
 * No state but the opened library: worker processes may be forked before or after the first call,
 * and may call nvrtc_compile at the same time.
 */
#ifndef GLMC_NVRTC_H
#define GLMC_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

/* What ptxas reports about one kernel; bytes, registers per thread. */
typedef struct NvrtcKernel {
	char *name;
	int registers;
	int stack_bytes;         /* per thread: local memory */
	int spill_stores, spill_loads;   /* bytes */
	int shared_bytes;        /* static; kernels use dynamic shared memory only, so 0 or the 1 KB of
	                            the system */
	int constant_bytes;      /* with the kernel's parameters */
	int barriers;            /* named barriers in use */
} NvrtcKernel;

typedef struct NvrtcJob {
	/* in */
	const char *name;        /* name of the source in messages */
	const char *source;
	const char *arch;        /* NULL: "sm_90a" */
	const char *const *include;      /* folders of headers, NULL-terminated; NULL: none */
	const char *const *options;      /* further options, NULL-terminated; NULL: none */
	bool lineinfo;           /* line tables for profilers */
	/* out, owned by the job until nvrtc_free */
	char *log;               /* errors, warnings and ptxas -v; "" when there is none */
	char *ptx;               /* NUL-terminated */
	char *cubin;
	size_t ptx_bytes, cubin_bytes;   /* without the NUL */
	NvrtcKernel *kernels;    /* in the order of the log */
	int nkernel;
	double seconds;          /* of the compiler */
} NvrtcJob;

/* nvrtc_version - opens the library. False with a message in err, which says where was searched. */
bool nvrtc_version(int *major, int *minor, char err[400]);

/* nvrtc_compile - false when the source has errors or the library is missing; the log says why. */
bool nvrtc_compile(NvrtcJob *job);

/* nvrtc_clean - no kernel of a compiled job has spills or local memory, or wgmma that ptxas had to mend
 * or to serialise; else false, and why says what and in which kernel. */
bool nvrtc_clean(const NvrtcJob *job, char why[200]);

void nvrtc_free(NvrtcJob *job);

#endif
