/* edited.h - sources that a user has changed, in place of generated ones (--kernels DIR). */
#ifndef GLMC_EDITED_H
#define GLMC_EDITED_H

#include "../base/diag.h"
#include "../pass/fn.h"

/* edited_take - every file NAME<suffix> of `dir` becomes the source of kernel NAME. The name ends in
 * the hash of what was generated, so a file made for other parameters matches no kernel: an error, as are a
 * file that does not define its kernel and one whose parameters were edited. False after messages. */
bool edited_take(Arena *a, Diag *d, KernelSet *ks, const char *dir, const char *suffix);

/* edited_path - the user's file of kernel `name`; NULL when the source is the generated one, as it is where `dir` is
 * NULL. */
const char *edited_path(Arena *a, const char *dir, const char *name, const char *suffix);

#endif
