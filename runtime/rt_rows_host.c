/* rt_rows_host.c - rt_rows.h by copies, in parallel over rows. */
#include <string.h>

#include "rt_rows.h"

enum { BLOCK = 64 };         /* rows of a job */

static int32_t *order_of(Rt *rt, const RtExchange *x)
{
	return rt_at(rt, rt->own.order + rt->own.per_xch * (uint64_t)(x - rt->xch));
}

/* Stable counting sort of the slots by expert, those without one last; x->begin holds the places. */
static void sort_slots(const RtExchange *x, const int32_t *ids, int32_t *order)
{
	const int32_t *mine = &x->counts[x->me * x->experts];
	int32_t last = 0;
	for (int e = 0; e < x->experts; e++) {
		x->begin[e] = last;
		last += mine[e];
	}
	for (int64_t s = 0; s < x->slots; s++)
		order[ids[s] < 0 ? last++ : x->begin[ids[s]]++] = (int32_t)s;
}

void rt_rows_count(Rt *rt, RtExchange *x, const RtInstr *in)
{
	const int32_t *ids = rt_at(rt, in->arg[0]);
	int32_t *mine = &x->counts[x->me * x->experts];
	memset(mine, 0, (size_t)x->experts * sizeof *mine);
	for (int64_t s = 0; s < x->slots; s++) {
		if (ids[s] >= x->experts)
			rt_fail(rt, 70, "expert %d of %d in instruction %td", ids[s], x->experts, in - rt->p->instrs);
		if (ids[s] >= 0)
			mine[ids[s]]++;
	}
	sort_slots(x, ids, order_of(rt, x));
	rt_comm_all_gather(rt->comm, RT_COMM_EP, mine, x->counts, (size_t)x->experts * sizeof *mine);
}

void rt_rows_begin(Rt *rt, RtExchange *x, const RtInstr *in)
{
	(void)rt, (void)x, (void)in;
}

void rt_rows_round(Rt *rt, const RtExchange *x, const RtInstr *in)
{
	(void)rt, (void)x, (void)in;
}

void rt_rows_end(Rt *rt, const RtExchange *x, const RtInstr *in)
{
	(void)rt, (void)x, (void)in;
}

const int32_t *rt_rows_group(Rt *rt, const RtExchange *x)
{
	(void)rt;
	return x->group;
}

typedef struct Copy {
	const RtExchange *x;
	const int32_t *order;
	char *by_slot;           /* or by token, where `per` slots are one */
	char *packed;
	size_t row;
	int per;
	bool unpack;
} Copy;

/* The expert of packed row i. */
static int expert_of(const RtExchange *x, int64_t i)
{
	int lo = 0, hi = x->experts - 1;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (x->at[mid + 1] > i)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void copy_block(void *ctx, int64_t job, int thread)
{
	const Copy *c = ctx;
	const RtExchange *x = c->x;
	int64_t i = job * BLOCK, end = i + BLOCK < x->at[x->experts] ? i + BLOCK : x->at[x->experts];
	(void)thread;
	for (int e = expert_of(x, i); i < end; i++) {
		while (x->at[e + 1] <= i)
			e++;
		int32_t slot = c->order[x->begin[e] + (i - x->at[e])];
		char *outside = c->by_slot + (size_t)(slot / c->per) * c->row, *inside = c->packed + (size_t)i * c->row;
		memcpy(c->unpack ? outside : inside, c->unpack ? inside : outside, c->row);
	}
}

static void copy_rows(Rt *rt, Copy *c)
{
	rt_parallel(rt->pool, (c->x->at[c->x->experts] + BLOCK - 1) / BLOCK, copy_block, c);
}

void rt_rows_pack(Rt *rt, const RtExchange *x, const RtInstr *in, void *to)
{
	Copy c = {.x = x, .order = order_of(rt, x), .by_slot = rt_at(rt, in->arg[0]), .packed = to,
	          .row = in->row_bytes, .per = in->per_slot ? 1 : x->topk};
	copy_rows(rt, &c);
}

void rt_rows_unpack(Rt *rt, const RtExchange *x, const RtInstr *in, const void *from)
{
	Copy c = {.x = x, .order = order_of(rt, x), .by_slot = rt_at(rt, in->arg[1]),
	          .packed = (char *)(uintptr_t)from, .row = in->row_bytes, .per = 1, .unpack = true};
	copy_rows(rt, &c);
	for (int64_t i = rt_exchange_routed(x); x->round == 0 && i < x->slots; i++)
		memset(c.by_slot + (size_t)c.order[i] * c.row, 0, c.row);
}
