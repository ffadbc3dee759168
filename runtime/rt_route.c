/* rt_route.c - the exchange instructions: COUNTS, the rounds, DISPATCH, COLLECT.
 *
 * What moves is decided in rt_exchange.c, rows are gathered and scattered in rt_rows_*.c; here they
 * become pieces for rt_comm_exchange.
 */
#include <stdlib.h>

#include "rt_rows.h"

bool rt_route_init(Rt *rt)
{
	const RtProg *p = rt->p;
	bool ok = true;
	rt->xch = calloc((size_t)p->xchs + 1, sizeof *rt->xch);
	for (int i = 0; rt->xch && i < p->xchs; i++)
		ok = rt_exchange_new(&rt->xch[i], p->ep, rt_comm_index(rt->comm, RT_COMM_EP), p->experts_max,
		                     p->rows_max) && ok;
	rt->own_part = calloc((size_t)p->experts_max + 1, sizeof *rt->own_part);
	rt->list_part = calloc((size_t)p->experts_max + 1, sizeof *rt->list_part);
	return ok && rt->xch && rt->own_part && rt->list_part;
}

void rt_counts(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	x->experts = in->experts;
	x->topk = in->topk;
	x->slots = rt->env.T * in->topk;
	rt_rows_count(rt, x, in);
	for (int e = 0; in->bal >= 0 && e < x->experts; e++)
		rt->load[in->bal][e] += x->counts[x->me * x->experts + e];
	rt_exchange_agree(x);
	rt_rows_begin(rt, x, in);
}

int64_t rt_rounds(Rt *rt, const RtInstr *in)
{
	return rt->xch[in->xch].rounds;
}

void rt_begin_round(Rt *rt, const RtInstr *in, int64_t round)
{
	RtExchange *x = &rt->xch[in->xch];
	rt_exchange_round(x, round);
	rt->env.R = x->group[x->experts / x->ep];
	rt->env.group = rt_rows_group(rt, x);
	rt_rows_round(rt, x, in);
}

void rt_end_rounds(Rt *rt, const RtInstr *in)
{
	rt_rows_end(rt, &rt->xch[in->xch], in);
}

/* Packed rows by expert, and so by owner. */
static void own_parts(Rt *rt, const RtExchange *x, char *rows, size_t row)
{
	int local = x->experts / x->ep;
	for (int e = 0; e < x->experts; e++)
		rt->own_part[e] = (RtPiece){e / local, rows + (size_t)x->at[e] * row,
		                            (size_t)(x->at[e + 1] - x->at[e]) * row};
}

/* Rows of the list by source and expert; from one source in the order it packs. */
static void list_parts(Rt *rt, const RtExchange *x, char *rows, size_t row)
{
	int local = x->experts / x->ep;
	for (int k = 0; k < local; k++) {
		int64_t at = x->group[k];
		for (int s = 0; s < x->ep; s++) {
			int64_t n = x->arrive[s * local + k];
			rt->list_part[s * local + k] = (RtPiece){s, rows + (size_t)at * row, (size_t)n * row};
			at += n;
		}
	}
}

static char *packed(Rt *rt)
{
	return rt_at(rt, rt->own.rows);
}

void rt_dispatch(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	char *list = rt_at(rt, in->arg[1]);
	rt_rows_pack(rt, x, in, x->ep == 1 ? list : packed(rt));
	if (x->ep == 1)
		return;
	own_parts(rt, x, packed(rt), in->row_bytes);
	list_parts(rt, x, list, in->row_bytes);
	rt_comm_exchange(rt->comm, in->stream, RT_COMM_EP, rt->own_part, x->experts, rt->list_part, x->experts);
}

void rt_collect(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	char *list = rt_at(rt, in->arg[0]);
	if (x->ep > 1) {
		own_parts(rt, x, packed(rt), in->row_bytes);
		list_parts(rt, x, list, in->row_bytes);
		rt_comm_exchange(rt->comm, in->stream, RT_COMM_EP, rt->list_part, x->experts, rt->own_part, x->experts);
	}
	rt_rows_unpack(rt, x, in, x->ep == 1 ? list : packed(rt));
}
