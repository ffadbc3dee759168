/* overlap.h - streams of the cuda target, and the events that order them.
 *
 * 0 computes; 1 sends and receives between pipeline ranks; 2 counts, dispatches and collects routed rows; 3
 * gathers parameters, clears and reduces gradients. What a group of one rank does stays on 0, but counts, for
 * which the host waits.
 */
#ifndef GLMC_OVERLAP_H
#define GLMC_OVERLAP_H

#include "program.h"

/* overlap_streams - gives every instruction its stream and puts in RT_RECORD and RT_WAIT where one must not begin
 * before another of a different stream is over, and nothing else says so. Indices into the program
 * (actions, buffers, loops, the peak) move along. */
void overlap_streams(Arena *a, RtProg *p, RankPlan *plan);

#endif
