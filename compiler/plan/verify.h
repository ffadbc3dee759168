/* verify.h - proof that the programs of a pipeline can run, or the witness that they cannot.
 *
 * What is checked, all of it on the programs alone:
 *
 *   actions      every stage and microbatch has one forward, then one backward (or input and weight
 *                gradients, in that order) on one rank; gradients are added in ascending order of
 *                microbatches, save under LoopedBFS, which counts down
 *   transfers    the k-th send and the k-th receive between two pipeline ranks are of one tensor:
 *                there are no tags
 *   deadlock     with every send waiting for its receive and all of a rank's instructions in issue
 *                order, the programs end
 *   collectives  the pipeline ranks meet in the same ones; members of the other groups share a
 *                program. Exchanges are counted before their rounds, gradients reduced once
 *   memory       no two live buffers overlap, every argument lies in one, and what is read is what
 *                was written there: nothing else wrote over it since
 *   streams      what touches the same bytes on two streams is ordered by an event
 *
 * Up to memory all operations of a rank are taken as one chain, which is stronger than any stream
 * assignment; that the streams keep that chain's results is the last check.
 */
#ifndef GLMC_VERIFY_H
#define GLMC_VERIFY_H

#include "../../runtime/rt_prog.h"
#include "../base/vec.h"

typedef struct Finding {
	const char *text;        /* what is wrong */
	VEC(const char *) notes; /* the witness: a cycle, a pair */
} Finding;

typedef VEC(Finding) Findings;

/* verify_programs - p[r] is the program of pipeline rank r, n of them. Empty when all is well. Stops
 * after a few dozen findings. Allocates in `a`. */
Findings verify_programs(Arena *a, const RtProg *const *p, int n);

/* verify_text - all findings, one below the other. */
const char *verify_text(Arena *a, const Findings *f);

#endif
