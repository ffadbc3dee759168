/* hoist.h - work to do while rows travel. */
#ifndef GLMC_HOIST_H
#define GLMC_HOIST_H

#include "fn.h"

/* hoist_steps - on the cuda target exchanges have a stream of their own. Of the steps behind an exchange
 * that do not depend on it, as the shared expert, one half by FLOPs moves before it, to run during
 * counting and dispatch; the other half stays and runs during the way back. */
void hoist_steps(Arena *a, Fn *fn, const KernelSet *ks, const FnOptions *o);

#endif
