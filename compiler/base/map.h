/* map.h - string keys to integers, iterated in insertion order (so that output is deterministic).
 * Keys are copied into the map's arena. */
#ifndef GLMC_MAP_H
#define GLMC_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"

typedef struct MapEntry {
	const char *key;
	uint64_t hash;
	int64_t value;
} MapEntry;

typedef struct Map {
	Arena *arena;
	MapEntry *entries;       /* in insertion order */
	uint32_t n, cap;
	uint32_t *slots;         /* entry index + 1, 0 = free; power of two */
	uint32_t nslots;
} Map;

Map map_new(Arena *a);

/* map_set - inserts or replaces; returns the stored key, unique per text. */
const char *map_set(Map *m, const char *key, int64_t value);

/* map_get - true and *value when present. `value` may be NULL. */
bool map_get(const Map *m, const char *key, int64_t *value);

/* hash64 - XXH3 of `n` bytes; hash_hex writes 32 hex digits of the 128-bit hash and a NUL. */
uint64_t hash64(const void *data, size_t n);
void hash_hex(const void *data, size_t n, char out[33]);

#endif
