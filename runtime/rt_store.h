/* rt_store.h - float32 values to and from device memory of another dtype. */
#ifndef GLMC_RT_STORE_H
#define GLMC_RT_STORE_H

#include "rt_int.h"

enum { RT_STORE_MAX = 1 << 20 };     /* elements of a call */

/* rt_round - the values that `t` (float32 or bfloat16, nearest even) can hold. */
void rt_round(float *x, int64_t n, RtDType t);

/* rt_store - writes x[n] as elements first .. of a buffer of `t` at arena offset `off`. */
void rt_store(Rt *rt, uint64_t off, RtDType t, int64_t first, const float *x, int64_t n);

/* rt_fetch - reads them; waits. */
void rt_fetch(Rt *rt, uint64_t off, RtDType t, int64_t first, float *x, int64_t n);

#endif
