/* mem_plan.c - largest items first, each at the lowest place that is free during its whole life.
 *
 * Items of a step come in a few sizes and live like brackets, so first fit by size packs them
 * nearly without loss. To find the neighbours in time quickly, placed items are kept in buckets of
 * instructions.
 */
#include "mem_plan.h"

#include <stdlib.h>
#include <string.h>

#include "../base/vec.h"

enum { BUCKETS = 256 };

typedef VEC(uint32_t) ItemList;

typedef struct Placer {
	Arena *a;
	MemItem *items;
	int span;                /* instructions per bucket */
	ItemList bucket[BUCKETS];
	uint32_t *mark;          /* per item: last search that met it */
	ItemList near;
} Placer;

static int compare_size(const void *x, const void *y)
{
	const MemItem *a = *(MemItem *const *)x, *b = *(MemItem *const *)y;
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
	if (a->birth != b->birth)
		return a->birth < b->birth ? -1 : 1;
	return a < b ? -1 : a > b;
}

static int compare_offset(const void *x, const void *y, void *ctx)
{
	const MemItem *items = ctx;
	const MemItem *a = &items[*(const uint32_t *)x], *b = &items[*(const uint32_t *)y];
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool overlap_in_time(const MemItem *a, const MemItem *b)
{
	return a->birth < b->death && b->birth < a->death;
}

static void find_near(Placer *p, uint32_t k)
{
	const MemItem *it = &p->items[k];
	p->near.n = 0;
	for (int b = it->birth / p->span; b <= (it->death - 1) / p->span; b++) {
		for (uint32_t i = 0; i < p->bucket[b].n; i++) {
			uint32_t other = p->bucket[b].v[i];
			if (p->mark[other] == k + 1 || !overlap_in_time(it, &p->items[other]))
				continue;
			p->mark[other] = k + 1;
			vec_push(p->a, &p->near, other);
		}
	}
	if (p->near.n)
		qsort_r(p->near.v, p->near.n, sizeof *p->near.v, compare_offset, p->items);
}

static void place(Placer *p, uint32_t k, uint64_t align)
{
	MemItem *it = &p->items[k];
	uint64_t at = 0;
	find_near(p, k);
	for (uint32_t i = 0; i < p->near.n; i++) {
		const MemItem *o = &p->items[p->near.v[i]];
		if (o->offset >= at + it->bytes)
			break;
		uint64_t end = (o->offset + o->bytes + align - 1) / align * align;
		at = end > at ? end : at;
	}
	it->offset = at;
	for (int b = it->birth / p->span; b <= (it->death - 1) / p->span; b++)
		vec_push(p->a, &p->bucket[b], k);
}

static void find_peak(Arena *a, const MemItem *items, uint32_t n, int end, int *peak_at)
{
	int64_t *change = ARENA_ARRAY(a, int64_t, end + 2), live = 0, most = -1;
	for (uint32_t i = 0; i < n; i++) {
		if (!items[i].bytes)
			continue;
		change[items[i].birth] += (int64_t)items[i].bytes;
		change[items[i].death] -= (int64_t)items[i].bytes;
	}
	for (int t = 0; t < end; t++) {
		live += change[t];
		if (live > most) {
			most = live;
			*peak_at = t;
		}
	}
}

uint64_t mem_plan(Arena *a, MemItem *items, uint32_t n, uint64_t align, int *peak_at)
{
	Placer *p = ARENA_NEW(a, Placer);
	MemItem **order = ARENA_ARRAY(a, MemItem *, n + 1);
	uint64_t bytes = 0;
	int end = 0;
	uint32_t m = 0;
	for (uint32_t i = 0; i < n; i++) {
		end = items[i].bytes && items[i].death > end ? items[i].death : end;
		if (items[i].bytes)
			order[m++] = &items[i];
	}
	*p = (Placer){.a = a, .items = items, .span = end / BUCKETS + 1};
	p->mark = ARENA_ARRAY(a, uint32_t, n + 1);
	if (m)
		qsort(order, m, sizeof *order, compare_size);
	for (uint32_t i = 0; i < m; i++) {
		place(p, (uint32_t)(order[i] - items), align);
		uint64_t top = order[i]->offset + order[i]->bytes;
		bytes = top > bytes ? top : bytes;
	}
	if (peak_at)
		find_peak(a, items, n, end, peak_at);
	return bytes;
}
