/* rt_profile.h - where the time of a rank goes: RT_PROFILE=1 in the environment, or RT_PROFILE=cpu to
 * count the processor time of all threads, which other load on the machine changes little.
 *
 * Every kernel and every other kind of instruction has an account. A rank prints its accounts on
 * stderr when it ends, the largest first: milliseconds per step (without what it called itself),
 * share, calls per step. The first step, which touches memory for the first time, is left out when
 * there are others.
 */
#ifndef GLMC_RT_PROFILE_H
#define GLMC_RT_PROFILE_H

#include "rt_prog.h"

typedef struct RtProfile RtProfile;

/* A piece of work being timed; lives on the caller's stack. */
typedef struct RtSpan {
	double begin, nested;
} RtSpan;

/* rt_profile_new - NULL unless RT_PROFILE is set; the functions below do nothing with NULL. */
RtProfile *rt_profile_new(const RtProg *p);
RtSpan rt_profile_begin(RtProfile *f);

/* rt_profile_end - books the time since `s` began on kernel `kernel` of the program, or on `op` when
 * that is -1. Spans nest. */
void rt_profile_end(RtProfile *f, RtSpan s, int kernel, RtOp op);
void rt_profile_step(RtProfile *f);              /* a step begins */
void rt_profile_print(RtProfile *f, int rank);
void rt_profile_free(RtProfile *f);

#endif
