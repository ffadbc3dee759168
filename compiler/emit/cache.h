/* cache.h - the kernel cache: files named by a hash of everything that made them.
 * $GLMC_CACHE, else $XDG_CACHE_HOME/glmc, else ~/.cache/glmc.
 */
#ifndef GLMC_CACHE_H
#define GLMC_CACHE_H

#include "../base/diag.h"
#include "../base/text.h"

/* cache_open - the folder, made when absent; NULL after a message. */
const char *cache_open(Arena *a, Diag *d);

/* cache_add_headers - appends names and contents of all files in `folder` with this suffix to a key,
 * in the order of their names. */
void cache_add_headers(Arena *a, Text *key, const char *folder, const char *suffix);

/* cache_jobs - compiler processes to run side by side: one per core. */
int cache_jobs(void);

#endif
