/* vec.h - growable arrays that live in an arena.
 *
 *   VEC(int) v = {0};
 *   vec_push(arena, &v, 3);   for (uint32_t i = 0; i < v.n; i++) use(v.v[i]);
 */
#ifndef GLMC_VEC_H
#define GLMC_VEC_H

#include <stdint.h>
#include <string.h>

#include "arena.h"

#define VEC(T) \
	struct { \
		T *v; \
		uint32_t n, cap; \
	}

#define vec_push(a, vec, x) \
	((vec)->n == (vec)->cap \
	     ? (void)((vec)->v = vec_grow((a), (vec)->v, (vec)->n, &(vec)->cap, sizeof *(vec)->v)) \
	     : (void)0, \
	 (vec)->v[(vec)->n++] = (x))

#define vec_last(vec) ((vec)->v[(vec)->n - 1])

static inline void *vec_grow(Arena *a, void *old, uint32_t n, uint32_t *cap, size_t size)
{
	*cap = *cap ? *cap * 2 : 8;
	void *p = arena_alloc(a, *cap * size);
	if (n)
		memcpy(p, old, n * size);
	return p;
}

#endif
