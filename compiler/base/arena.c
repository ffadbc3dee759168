/* arena.c - bump allocation in chunks; with GLMC_ARENA_EACH every object is its own malloc, so
 * that AddressSanitizer sees overruns between neighbours. */
#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

typedef struct Chunk Chunk;
struct Chunk {
	Chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

struct Arena {
	Chunk *top;
	Arena *parent, *children;        /* the first child */
	Arena *before, *after;           /* its neighbours among its parent's children */
};

enum { CHUNK_BYTES = 1 << 18 };

static void *must_calloc(size_t size)
{
	void *p = calloc(1, size);
	if (!p) {
		fprintf(stderr, "glmc: out of memory (%zu bytes asked)\n", size);
		exit(ST_MEMORY);
	}
	return p;
}

Arena *arena_new(void)
{
	return must_calloc(sizeof(Arena));
}

Arena *arena_child(Arena *parent)
{
	Arena *a = arena_new();
	a->parent = parent;
	a->after = parent->children;
	if (a->after)
		a->after->before = a;
	parent->children = a;
	return a;
}

static void leave_parent(Arena *a)
{
	if (a->after)
		a->after->before = a->before;
	if (a->before)
		a->before->after = a->after;
	else if (a->parent)
		a->parent->children = a->after;
}

void arena_free(Arena *a)
{
	if (!a)
		return;
	while (a->children)
		arena_free(a->children);
	leave_parent(a);
	for (Chunk *c = a->top, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

void *arena_alloc(Arena *a, size_t size)
{
	size = (size + 15) & ~(size_t)15;
#ifdef GLMC_ARENA_EACH
	size_t chunk = size;
#else
	size_t chunk = size > CHUNK_BYTES ? size : CHUNK_BYTES;
#endif
	Chunk *c = a->top;
	if (!c || c->size - c->used < size) {
		c = must_calloc(sizeof(Chunk) + chunk);
		c->size = chunk;
		c->next = a->top;
		a->top = c;
	}
	void *p = c->data + c->used;
	c->used += size;
	return p;
}

void *arena_copy(Arena *a, const void *data, size_t size)
{
	void *p = arena_alloc(a, size);
	if (size)
		memcpy(p, data, size);
	return p;
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
	char *p = arena_alloc(a, n + 1);
	memcpy(p, s, n);
	return p;
}

char *arena_strdup(Arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}
