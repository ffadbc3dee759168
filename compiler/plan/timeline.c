/* timeline.c - see timeline.h. */
#include "timeline.h"

#include <stdlib.h>

static int by_offset(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

Timeline timeline_new(Arena *a, const Ranges *ranges, int n)
{
	VEC(uint64_t) borders = {0};
	Piece blank = {0};
	for (int t = 0; t < STREAMS; t++)
		blank.write[t] = blank.read[t] = NEVER;
	for (int i = 0; i < n; i++)
		for (uint32_t k = 0; k < ranges[i].n; k++) {
			vec_push(a, &borders, ranges[i].v[k].off);
			vec_push(a, &borders, ranges[i].v[k].off + ranges[i].v[k].bytes);
		}
	if (borders.n)
		qsort(borders.v, borders.n, sizeof *borders.v, by_offset);
	Timeline t = {.n = 0};
	for (uint32_t i = 0; i < borders.n; i++)
		if (!t.n || borders.v[t.n - 1] != borders.v[i])
			borders.v[t.n++] = borders.v[i];
	t.pieces = ARENA_ARRAY(a, Piece, t.n + 1);
	for (uint32_t i = 0; i < t.n; i++) {
		t.pieces[i] = blank;
		t.pieces[i].off = borders.v[i];
	}
	return t;
}

/* The piece that begins at `off`, a border. */
static uint32_t find(const Timeline *t, uint64_t off)
{
	uint32_t lo = 0, hi = t->n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (t->pieces[mid].off < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void later(int *x, int y)
{
	if (y > *x)
		*x = y;
}

void timeline_needs(const Timeline *t, const Ranges *r, int need[STREAMS])
{
	for (uint32_t k = 0; k < r->n; k++) {
		const Range *x = &r->v[k];
		for (uint32_t i = find(t, x->off); i < t->n && t->pieces[i].off < x->off + x->bytes; i++)
			for (int s = 0; s < STREAMS; s++) {
				later(&need[s], t->pieces[i].write[s]);
				if (x->write)
					later(&need[s], t->pieces[i].read[s]);
			}
	}
}

void timeline_touch(Timeline *t, const Ranges *r, int stream, int place)
{
	for (uint32_t k = 0; k < r->n; k++) {
		const Range *x = &r->v[k];
		for (uint32_t i = find(t, x->off); i < t->n && t->pieces[i].off < x->off + x->bytes; i++) {
			if (x->write)
				t->pieces[i].write[stream] = place;
			if (x->read)
				t->pieces[i].read[stream] = place;
		}
	}
}
