/* build_stale.h - what an earlier build left in the folder. */
#ifndef GLMC_BUILD_STALE_H
#define GLMC_BUILD_STALE_H

#include "build_dir.h"

/* build_stale_remove - removes the files that the manifest in the folder names and that are not among b->written. What
 * is not named, or is not where glmc writes, stays; so does everything where there is no manifest. */
void build_stale_remove(const BuildDir *b);

#endif
