/* every_key.h - the selection that holds every key.
 *
 * arg: selection u32[T,SELW] (written, all bits set; attention looks at causal keys only).
 * Parameters: KERNEL, SELW. No scratch.
 */
#include <string.h>

#include "rt_kernel.h"

#ifndef KERNEL
#define KERNEL every_key
#endif
#ifndef SELW
#define SELW 1
#endif

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	memset(c->arg[0], 0xFF, (size_t)c->env->T * SELW * sizeof(uint32_t));
}
