/* rt_pool.h - the threads of a rank, behind rt_parallel (rt_kernel.h). */
#ifndef GLMC_RT_POOL_H
#define GLMC_RT_POOL_H

#include <stddef.h>

#include "rt_kernel.h"

/* rt_pool_new - `threads` workers, the caller among them, each with `scratch` bytes; NULL when the
 * machine refuses. */
RtPool *rt_pool_new(int threads, size_t scratch);
void rt_pool_free(RtPool *p);

#endif
