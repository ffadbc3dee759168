/* arena.h - memory by lifetime.
 *
 * The compiler frees nothing piecemeal: an object lives in the arena of its lifetime and dies
 * with it. Functions take the arena they allocate from as first argument. Blocks are zeroed.
 * Out of memory ends the process with exit status 7.
 */
#ifndef GLMC_ARENA_H
#define GLMC_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_new(void);

/* arena_child - an arena that dies with `parent`, or before when it is freed by itself. */
Arena *arena_child(Arena *parent);

void arena_free(Arena *a);

/* arena_alloc - `size` zeroed bytes, aligned to 16. */
void *arena_alloc(Arena *a, size_t size);

/* arena_copy - a copy of `size` bytes. */
void *arena_copy(Arena *a, const void *data, size_t size);

char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_alloc((a), (size_t)(n) * sizeof(T)))
#define LEN(x) (sizeof(x) / sizeof((x)[0]))

#endif
