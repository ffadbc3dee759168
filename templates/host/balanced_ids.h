/* balanced_ids.h - the fake balanced gate: ids[t,j] = (t * TOP_K + j) mod EXPERTS, ascending in j.
 *
 * arg: ids i32[T,TOP_K] (written); t is the position in the microbatch.
 * Parameters: KERNEL, EXPERTS, TOP_K (at most EXPERTS). No scratch.
 */
#include "rt_kernel.h"

#undef SCRATCH_BYTES
#define SCRATCH_BYTES 0

#ifndef KERNEL
#define KERNEL balanced_ids
#endif
#ifndef EXPERTS
#define EXPERTS 256
#endif
#ifndef TOP_K
#define TOP_K 8
#endif

_Static_assert(TOP_K >= 1 && TOP_K <= EXPERTS, "distinct experts");

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	int32_t *ids = c->arg[0];

	for (int64_t t = 0; t < c->env->T; t++, ids += TOP_K) {
		/* the run start .. start+K-1 wraps at most once: what wrapped comes first */
		int32_t start = (int32_t)(t * TOP_K % EXPERTS);
		int32_t wrapped = start + TOP_K > EXPERTS ? start + TOP_K - EXPERTS : 0;
		for (int32_t j = 0; j < wrapped; j++)
			ids[j] = j;
		for (int32_t j = wrapped; j < TOP_K; j++)
			ids[j] = start + j - wrapped;
	}
}
