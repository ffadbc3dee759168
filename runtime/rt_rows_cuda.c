/* rt_rows_cuda.c - rt_rows.h by kernels (templates/cuda/slots.cuh, rows.cuh).
 *
 * The tables of all rounds are made at once, when the counts are known, and go to the device in one
 * copy: per round begin[E], at[E+1], group[E/ep+1] of rt_exchange.h. An exchange context is used again
 * and again; before its tables are overwritten, the stream that does so waits for their last readers,
 * and before they are read, the reading streams wait for the copy.
 */
#include <stdlib.h>
#include <string.h>

#include "rt_cuda.h"
#include "rt_rows.h"

void rt_rows_init(Rt *rt)
{
	size_t xchs = (size_t)rt->p->xchs;
	size_t ints = (size_t)rt->own.rounds_max * (3 * (size_t)rt->p->experts_max + 2);
	RtTables *t = &rt->dev->tables;
	t->host = malloc(ints * sizeof *t->host + 1);
	t->used = calloc(xchs * RT_STREAMS + 1, sizeof *t->used);
	t->ready = calloc(xchs + 1, sizeof *t->ready);
	if (!t->host || !t->used || !t->ready)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (size_t i = 0; i < xchs * RT_STREAMS; i++)
		t->used[i] = rt_cuda_event(rt);
	for (size_t i = 0; i < xchs; i++)
		t->ready[i] = rt_cuda_event(rt);
}

void rt_rows_free(Rt *rt)
{
	RtTables *t = &rt->dev->tables;
	for (int i = 0; i < rt->p->xchs * RT_STREAMS; i++)
		rt_cu(rt, cuEventDestroy(t->used[i]));
	for (int i = 0; i < rt->p->xchs; i++)
		rt_cu(rt, cuEventDestroy(t->ready[i]));
	free(t->host);
	free(t->used);
	free(t->ready);
}

static int32_t *own(Rt *rt, const RtExchange *x, uint64_t part)
{
	return rt_at(rt, part + rt->own.per_xch * (uint64_t)(x - rt->xch));
}

/* ---- tables ---- */

static int table_ints(const RtExchange *x)
{
	return 2 * x->experts + 1 + x->experts / x->ep + 1;
}

static int32_t *begin_of(Rt *rt, const RtExchange *x)
{
	return own(rt, x, rt->own.rounds) + x->round * table_ints(x);
}

const int32_t *rt_rows_group(Rt *rt, const RtExchange *x)
{
	return begin_of(rt, x) + 2 * x->experts + 1;
}

static void write_round(const RtExchange *x, int32_t *to)
{
	size_t e = (size_t)x->experts, local = e / (size_t)x->ep;
	memcpy(to, x->begin, e * sizeof *to);
	memcpy(to + e, x->at, (e + 1) * sizeof *to);
	memcpy(to + 2 * e + 1, x->group, (local + 1) * sizeof *to);
}

/* Streams of the loop that follows the counts of x, as bits. */
static int streams_of(const RtInstr *rounds)
{
	int bits = 0;
	for (int i = 1; i <= rounds->body; i++)
		bits |= 1 << rounds[i].stream;
	return bits;
}

void rt_rows_count(Rt *rt, RtExchange *x, const RtInstr *in)
{
	CUstream s = rt->dev->stream[in->stream];
	int32_t *counts = own(rt, x, rt->own.counts);
	size_t bytes = (size_t)x->experts * sizeof *counts;
	for (int k = 0; k < RT_STREAMS; k++)
		rt_cu(rt, cuStreamWaitEvent(s, rt->dev->tables.used[(x - rt->xch) * RT_STREAMS + k], 0));
	void *arg[] = {rt_at(rt, in->arg[0]), counts + x->me * x->experts, own(rt, x, rt->own.order)};
	int64_t n[] = {x->experts, x->topk};
	rt_dev_call(rt, in->stream, rt->p->k_slots, 1, arg, 3, n, 2);
	rt_comm_gather(rt->comm, in->stream, RT_COMM_EP, counts, bytes);
	rt_dev_get(rt, in->stream, x->counts, counts, bytes * (size_t)x->ep);
}

void rt_rows_begin(Rt *rt, RtExchange *x, const RtInstr *in)
{
	RtTables *t = &rt->dev->tables;
	size_t ints = (size_t)table_ints(x);
	for (int64_t r = 0; r < x->rounds; r++) {
		rt_exchange_round(x, r);
		write_round(x, t->host + (size_t)r * ints);
	}
	rt_exchange_round(x, 0);
	rt_dev_put(rt, in->stream, begin_of(rt, x), t->host, (size_t)x->rounds * ints * sizeof *t->host);
	rt_cu(rt, cuEventRecord(t->ready[x - rt->xch], rt->dev->stream[in->stream]));
}

void rt_rows_round(Rt *rt, const RtExchange *x, const RtInstr *in)
{
	RtTables *t = &rt->dev->tables;
	t->order = own(rt, x, rt->own.order);
	t->begin = begin_of(rt, x);
	t->topk = x->topk;
	int bits = x->round == 0 ? streams_of(in) : 0;
	for (int s = 0; s < RT_STREAMS; s++)
		if (bits >> s & 1)
			rt_cu(rt, cuStreamWaitEvent(rt->dev->stream[s], t->ready[x - rt->xch], 0));
}

void rt_rows_end(Rt *rt, const RtExchange *x, const RtInstr *in)
{
	int bits = streams_of(in);
	for (int s = 0; s < RT_STREAMS; s++)
		if (bits >> s & 1)
			rt_cu(rt, cuEventRecord(rt->dev->tables.used[(x - rt->xch) * RT_STREAMS + s], rt->dev->stream[s]));
}

/* ---- rows ---- */

/* A warp copies a row at a time. */
static void move_rows(Rt *rt, const RtInstr *in, int kernel, int64_t rows, void *const arg[4], const int64_t n[4])
{
	int64_t warps = rt->p->kernels[kernel].threads / 32;
	if (rows)
		rt_dev_call(rt, in->stream, kernel, (rows + warps - 1) / warps, arg, 4, n, 4);
}

void rt_rows_pack(Rt *rt, const RtExchange *x, const RtInstr *in, void *to)
{
	void *arg[] = {rt_at(rt, in->arg[0]), to, own(rt, x, rt->own.order), begin_of(rt, x)};
	int64_t n[] = {(int64_t)in->row_bytes, x->experts, in->per_slot ? 1 : x->topk, 0};
	move_rows(rt, in, rt->p->k_pack, x->at[x->experts], arg, n);
}

void rt_rows_unpack(Rt *rt, const RtExchange *x, const RtInstr *in, const void *from)
{
	int64_t routed = rt_exchange_routed(x), end = x->round == 0 ? x->slots : routed;
	void *arg[] = {rt_at(rt, in->arg[1]), (void *)(uintptr_t)from, own(rt, x, rt->own.order), begin_of(rt, x)};
	int64_t n[] = {(int64_t)in->row_bytes, x->experts, routed, end};
	move_rows(rt, in, rt->p->k_unpack, x->at[x->experts] + end - routed, arg, n);
}
