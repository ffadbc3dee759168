/* simt.h - runs kernels of the cuda target on the CPU: what tests and the test double of libcuda call.
 *
 * A kernel's source is compiled as C++17 with templates/cuda and tests/simt as include folders (README.md
 * here); every CUDA thread is then a fiber, and simt_launch runs the blocks of a grid on a few
 * threads of the operating system.
 *
 *     GlmcCall c = {0};
 *     c.arg[0] = ...;
 *     simt_map_encode(&c.map[0], 2, a, rows, cols, 2 * cols, 128, 64, SIMT_SWIZZLE_128);
 *     if (simt_launch(kernel, &c, grid, 128, bytes, seed) != SIMT_OK)
 *         puts(simt_message());
 */
#ifndef GLMC_SIMT_H
#define GLMC_SIMT_H

#include <stdint.h>

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void SimtKernel(GlmcCall c);

enum { SIMT_SHARED_MAX = 227 * 1024 };

/* Why a launch ended early. After a fault the memory that the kernel writes is undefined. */
typedef enum SimtFault {
	SIMT_OK,
	SIMT_RACE,               /* accesses of shared memory that nothing orders, a missing proxy fence */
	SIMT_DEADLOCK,           /* no thread can go on */
	SIMT_MISUSE,             /* a primitive against its rules: alignment, bounds, descriptors, counts */
	SIMT_LAUNCH              /* the launch itself: sizes beyond what a block may have */
} SimtFault;

typedef struct SimtOptions {
	int workers;             /* threads of the operating system; 0: one per core, at most 8 */
	int unchecked;           /* 1: no tracking of accesses, for whole programs; copies land at once */
} SimtOptions;

/* simt_configure - for later launches of this process. */
void simt_configure(const SimtOptions *o);

/* simt_launch - runs all blocks to their end; `seed` decides the order of blocks and threads and when
 * copies land. A grid of 0 blocks does nothing. Thread-safe. */
int simt_launch(SimtKernel *fn, const GlmcCall *c, int grid, int threads, int shared, uint64_t seed);

/* simt_message - what the last launch of this OS thread that failed reports: the fault, the block and
 * thread, and for a deadlock who waits for what. */
const char *simt_message(void);

enum { SIMT_SWIZZLE_NONE = 0, SIMT_SWIZZLE_128 = 3 };

/* simt_map_encode - a tensor map as the shim's TMA reads it: a matrix [outer, inner] of elements of
 * `elem` bytes (2 or 4), rows `row_bytes` apart, moved in boxes [box_outer, box_inner]. NULL, or the
 * rule of cuTensorMapEncodeTiled that is broken. */
const char *simt_map_encode(GlmcMap *m, int elem, void *base, int64_t outer, int64_t inner,
                            int64_t row_bytes, int box_outer, int box_inner, int swizzle);

#ifdef __cplusplus
}
#endif

#endif
