/* file.h - whole files in, complete files out. */
#ifndef GLMC_FILE_H
#define GLMC_FILE_H

#include <stdbool.h>

#include "arena.h"

/* file_read - the whole regular file, NUL-terminated, or NULL with errno set. */
char *file_read(Arena *a, const char *path, size_t *size);

/* file_write - writes under a temporary name in the same folder and renames, so that `path` is
 * never seen half-written. `executable` sets mode 0755. False with errno set on failure. */
bool file_write(const char *path, const void *data, size_t size, bool executable);

/* file_make_dirs - mkdir -p; false with errno set. */
bool file_make_dirs(const char *path);

bool file_exists(const char *path);

/* path_current - the folder that relative paths begin at; "" when it is not known. */
char *path_current(Arena *a);

/* path_join, path_dir - plain text operations, results in the arena. */
char *path_join(Arena *a, const char *dir, const char *name);
char *path_dir(Arena *a, const char *path);

#endif
