/* edited.h - sources that a user has changed, in place of generated ones (--kernels DIR). */
#ifndef GLMC_EDITED_H
#define GLMC_EDITED_H

#include "../base/diag.h"
#include "../pass/fn.h"

/* edited_take - every file NAME<suffix> of `dir` becomes the source of kernel NAME. The name ends in
 * the hash of what was generated, so a file made for other parameters matches no kernel: an error, as is a
 * file that does not define its kernel. False after messages. */
bool edited_take(Arena *a, Diag *d, KernelSet *ks, const char *dir, const char *suffix);

#endif
