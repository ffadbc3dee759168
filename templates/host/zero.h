/* zero.h - zeros into a buffer that the rounds of an exchange add to.
 *
 * arg: x (written). Parameters: KERNEL, BYTES. No scratch.
 */
#include <string.h>

#include "rt_kernel.h"

#ifndef KERNEL
#define KERNEL zero
#endif
#ifndef BYTES
#define BYTES 4
#endif

void KERNEL(const RtCall *c);

void KERNEL(const RtCall *c)
{
	memset(c->arg[0], 0, BYTES);
}
