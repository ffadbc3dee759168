/* map.c - open addressing over an entry array; no deletion. */
#include "map.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

uint64_t hash64(const void *data, size_t n)
{
	return XXH3_64bits(data, n);
}

void hash_hex(const void *data, size_t n, char out[33])
{
	XXH128_hash_t h = XXH3_128bits(data, n);
	snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

Map map_new(Arena *a)
{
	return (Map){.arena = a};
}

static uint32_t *find_slot(const Map *m, const char *key, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & (m->nslots - 1);
	for (; m->slots[i]; i = (i + 1) & (m->nslots - 1)) {
		const MapEntry *e = &m->entries[m->slots[i] - 1];
		if (e->hash == hash && strcmp(e->key, key) == 0)
			break;
	}
	return &m->slots[i];
}

static void grow(Map *m)
{
	uint32_t cap = m->cap ? m->cap * 2 : 16;
	MapEntry *entries = ARENA_ARRAY(m->arena, MapEntry, cap);
	if (m->n)
		memcpy(entries, m->entries, m->n * sizeof *entries);
	m->entries = entries;
	m->cap = cap;
	m->nslots = cap * 2;
	m->slots = ARENA_ARRAY(m->arena, uint32_t, m->nslots);
	for (uint32_t i = 0; i < m->n; i++)
		*find_slot(m, entries[i].key, entries[i].hash) = i + 1;
}

const char *map_set(Map *m, const char *key, int64_t value)
{
	if (m->n == m->cap)
		grow(m);
	uint64_t hash = hash64(key, strlen(key));
	uint32_t *slot = find_slot(m, key, hash);
	if (!*slot) {
		m->entries[m->n] = (MapEntry){arena_strdup(m->arena, key), hash, 0};
		*slot = ++m->n;
	}
	m->entries[*slot - 1].value = value;
	return m->entries[*slot - 1].key;
}

bool map_get(const Map *m, const char *key, int64_t *value)
{
	if (!m->n)
		return false;
	uint32_t slot = *find_slot(m, key, hash64(key, strlen(key)));
	if (!slot)
		return false;
	if (value)
		*value = m->entries[slot - 1].value;
	return true;
}
