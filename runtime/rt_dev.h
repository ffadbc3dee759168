/* rt_dev.h - the device a rank computes on: the process itself (rt_dev_host.c) or a GPU
 * (rt_dev_cuda.c).
 *
 * Addresses are the device's: rt_at of the arena. Common code never reads or writes through them; it
 * uses rt_dev_put and rt_dev_get. Work is issued to a stream and done in its order; on the host
 * target it is done when the call returns. Errors of the device end the run.
 */
#ifndef GLMC_RT_DEV_H
#define GLMC_RT_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt_prog.h"

typedef struct Rt Rt;
typedef struct RtDev RtDev;

/* rt_dev_open - finds the device and what it needs, before data and peers are looked for. Ends the
 * run with status 3 when something is missing. */
void rt_dev_open(Rt *rt);

/* rt_dev_reserve - the arena (rt->arena), with parameters, gradients and states zeroed, and the kernels. Ends
 * the run with status 7 when memory is too small. */
void rt_dev_reserve(Rt *rt);

void rt_dev_close(Rt *rt);

/* ---- in the order of a stream ---- */

void rt_dev_launch(Rt *rt, const RtInstr *in);
void rt_dev_gemm(Rt *rt, const RtInstr *in);

/* rt_dev_call - a kernel of the runtime's own choosing, with rt->env; `blocks` 0: as its line in the
 * program says. */
void rt_dev_call(Rt *rt, int stream, int kernel, int64_t blocks, void *const *arg, int narg, const int64_t *n,
                 int nint);

void rt_dev_zero(Rt *rt, int stream, void *to, size_t bytes);

/* rt_dev_copy - within device memory; the two do not overlap. */
void rt_dev_copy(Rt *rt, int stream, void *to, const void *from, size_t bytes);

/* rt_dev_put - from host memory, which may be used again at once. */
void rt_dev_put(Rt *rt, int stream, void *to, const void *from, size_t bytes);

/* rt_dev_get - to host memory; waits until it is there. */
void rt_dev_get(Rt *rt, int stream, void *to, const void *from, size_t bytes);

void rt_dev_record(Rt *rt, int stream, int event);
void rt_dev_wait(Rt *rt, int stream, int event);

/* rt_dev_finish - waits until everything issued to any stream is done. */
void rt_dev_finish(Rt *rt);

#endif
