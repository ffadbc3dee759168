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

/* cache_seal - writes NAME.sum, the hash of these files (NULL-terminated); last, where all of them are whole. False
 * with errno set. */
bool cache_seal(Arena *a, const char *name, const char *const *files);

/* cache_sealed - are the files those that NAME.sum was written for? What was cut, changed or lost is not: it is made
 * again. */
bool cache_sealed(Arena *a, const char *name, const char *const *files);

/* cache_jobs - compiler processes to run side by side: one per core. */
int cache_jobs(void);

#endif
