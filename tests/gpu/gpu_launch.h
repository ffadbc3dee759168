/* gpu_launch.h - launches of tests of kernels on a GPU, in place of the CPU shim's (tests/simt/harness.h).
 *
 * The test stays as it is: its arrays are copied to the device, the kernel of the same name runs from the cubin
 * that $GLMC_GPU_CUBIN names, and the arrays are copied back.
 */
#ifndef GLMC_GPU_LAUNCH_H
#define GLMC_GPU_LAUNCH_H

#include <stddef.h>

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct GpuRegion {
	void *p;
	size_t bytes;
} GpuRegion;

/* gpu_launch - NULL, or what is wrong. Every address in `c` lies in a region; tensor maps are the shim's. */
const char *gpu_launch(const char *kernel, const GlmcCall *c, const GpuRegion *regions, int n, int grid, int threads,
                       int shared);

#ifdef __cplusplus
}
#endif

#endif
