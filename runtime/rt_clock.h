/* rt_clock.h - the time in seconds. */
#ifndef GLMC_RT_CLOCK_H
#define GLMC_RT_CLOCK_H

#include <time.h>

static inline double rt_clock(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* rt_now - of a clock that only goes forward. */
static inline double rt_now(void)
{
	return rt_clock(CLOCK_MONOTONIC);
}

#endif
