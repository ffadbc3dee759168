/* rt_exchange.c - dispatch and combine of routed rows over the expert-parallel group.
 *
 * The rows for the experts of one rank form a list sorted by (expert, source rank, slot). Round r
 * takes rows r*C .. (r+1)*C of every rank's list, C = rows_max. All ranks know all counts, so they
 * agree on rounds and sizes without talking. The list's order does not depend on C, so sums over an
 * expert's rows come out the same however many rounds there are.
 *
 * On the wire, rows travel by source, then expert, then slot; `place` maps them to the sorted list.
 * With one rank nothing travels: rows are copied straight.
 */
#include <stdlib.h>
#include <string.h>

#include "rt_int.h"

static int ep_size(const Rt *rt)
{
	return rt->p->ep;
}

static uint64_t widest_row(const RtProg *p)
{
	uint64_t most = 0;
	for (int i = 0; i < p->ninstr; i++)
		if (p->instrs[i].op == RT_DISPATCH || p->instrs[i].op == RT_COLLECT)
			most = p->instrs[i].row_bytes > most ? p->instrs[i].row_bytes : most;
	return most;
}

bool rt_exchange_init(Rt *rt)
{
	const RtProg *p = rt->p;
	size_t ep = (size_t)p->ep, e = (size_t)p->experts_max + 1;
	bool ok = true;
	rt->xch = calloc((size_t)p->xchs + 1, sizeof *rt->xch);
	for (int i = 0; rt->xch && i < p->xchs; i++) {
		RtExchange *x = &rt->xch[i];
		x->order = malloc(((size_t)p->slots_max + 1) * sizeof *x->order);
		x->first = calloc(e + 1, sizeof *x->first);
		x->counts = calloc(ep * e, sizeof *x->counts);
		x->group = calloc(e + 1, sizeof *x->group);
		x->from = calloc(e, sizeof *x->from);
		x->take = calloc(e, sizeof *x->take);
		x->arrive = calloc(ep * e, sizeof *x->arrive);
		x->send_rows = calloc(ep, sizeof *x->send_rows);
		x->recv_rows = calloc(ep, sizeof *x->recv_rows);
		ok = ok && x->order && x->first && x->counts && x->group && x->from && x->take && x->arrive &&
		     x->send_rows && x->recv_rows;
	}
	if (p->ep > 1 && p->xchs) {
		uint64_t row = widest_row(p), rows = (uint64_t)p->rows_max;
		uint64_t out = rows * (uint64_t)p->ep < (uint64_t)p->slots_max ? rows * (uint64_t)p->ep
		                                                              : (uint64_t)p->slots_max;
		rt->send_rows = malloc((out > rows ? out : rows) * row + 1);
		rt->recv_rows = malloc((out > rows ? out : rows) * row + 1);
		rt->row_map = malloc(((size_t)rows + 1) * sizeof *rt->row_map);
		ok = ok && rt->send_rows && rt->recv_rows && rt->row_map;
	}
	return ok && rt->xch;
}

/* Stable counting sort of the slots by expert. */
static void sort_slots(RtExchange *x, const int32_t *ids, int64_t *count)
{
	memset(x->first, 0, ((size_t)x->experts + 2) * sizeof *x->first);
	for (int64_t s = 0; s < x->slots; s++)
		x->first[(ids[s] < 0 ? x->experts : ids[s]) + 1]++;
	for (int e = 0; e < x->experts; e++)
		count[e] = x->first[e + 1];
	for (int e = 0; e <= x->experts; e++)
		x->first[e + 1] += x->first[e];
	for (int64_t s = 0; s < x->slots; s++)
		x->order[x->first[ids[s] < 0 ? x->experts : ids[s]]++] = (int32_t)s;
	for (int e = x->experts + 1; e > 0; e--)
		x->first[e] = x->first[e - 1];
	x->first[0] = 0;
}

/* Rows for expert e from sources before `source`. */
static int64_t rows_before(const RtExchange *x, int source, int e)
{
	int64_t n = 0;
	for (int s = 0; s < source; s++)
		n += x->counts[s * x->experts + e];
	return n;
}

void rt_counts(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	const int32_t *ids = rt_at(rt, in->arg[0]);
	int ep = ep_size(rt), me = rt_comm_index(rt->comm, RT_COMM_EP);
	x->experts = in->experts;
	x->topk = in->topk;
	x->slots = rt->env.T * in->topk;
	for (int64_t s = 0; s < x->slots; s++)
		if (ids[s] >= x->experts)
			rt_fail(rt, 70, "expert %d of %d in instruction %td", ids[s], x->experts, in - rt->p->instrs);
	int64_t *mine = &x->counts[me * x->experts];
	sort_slots(x, ids, mine);
	if (in->bal >= 0) {
		int64_t *load = rt->load[in->bal];
		for (int e = 0; e < x->experts; e++)
			load[e] += mine[e];
	}
	rt_comm_all_gather(rt->comm, RT_COMM_EP, mine, x->counts, (size_t)x->experts * sizeof *mine);
	int local = x->experts / ep;
	x->rounds = 1;
	for (int owner = 0; owner < ep; owner++) {
		int64_t rows = 0;
		for (int e = owner * local; e < (owner + 1) * local; e++)
			rows += rows_before(x, ep, e);
		int64_t rounds = (rows + rt->p->rows_max - 1) / rt->p->rows_max;
		x->rounds = rounds > x->rounds ? rounds : x->rounds;
	}
}

int64_t rt_rounds(Rt *rt, const RtInstr *in)
{
	return rt->xch[in->xch].rounds;
}

/* The part of rows at .. at+n that lies in the window w .. w+c: *from within them, and how many. */
static int64_t overlap(int64_t at, int64_t n, int64_t w, int64_t c, int64_t *from)
{
	int64_t lo = w > at ? w - at : 0, hi = w + c - at;
	lo = lo > n ? n : lo;
	hi = hi > n ? n : hi < lo ? lo : hi;
	*from = lo;
	return hi - lo;
}

void rt_begin_round(Rt *rt, const RtInstr *in, int64_t round)
{
	RtExchange *x = &rt->xch[in->xch];
	int ep = ep_size(rt), me = rt_comm_index(rt->comm, RT_COMM_EP), local = x->experts / ep;
	int64_t c = rt->p->rows_max, w = round * c, dummy;
	memset(x->send_rows, 0, (size_t)ep * sizeof *x->send_rows);
	memset(x->recv_rows, 0, (size_t)ep * sizeof *x->recv_rows);
	for (int owner = 0; owner < ep; owner++) {
		int64_t at = 0;
		for (int k = 0; k < local; k++) {
			int e = owner * local + k;
			int64_t mine = at + rows_before(x, me, e);
			x->take[e] = overlap(mine, x->counts[me * x->experts + e], w, c, &x->from[e]);
			x->send_rows[owner] += (size_t)x->take[e];
			for (int s = 0; owner == me && s < ep; s++) {
				int64_t n = overlap(at + rows_before(x, s, e), x->counts[s * x->experts + e], w, c, &dummy);
				x->arrive[s * local + k] = n;
				x->recv_rows[s] += (size_t)n;
			}
			at += rows_before(x, ep, e);
		}
	}
	x->group[0] = 0;
	for (int k = 0; k < local; k++) {
		x->group[k + 1] = x->group[k];
		for (int s = 0; s < ep; s++)
			x->group[k + 1] += (int32_t)x->arrive[s * local + k];
	}
	rt->env.R = x->group[local];
	rt->env.group = x->group;
	if (ep == 1)
		return;
	int64_t i = 0; /* rows as they arrive: by source, then expert */
	for (int s = 0; s < ep; s++) {
		for (int k = 0; k < local; k++) {
			int64_t place = x->group[k];
			for (int before = 0; before < s; before++)
				place += x->arrive[before * local + k];
			for (int64_t n = 0; n < x->arrive[s * local + k]; n++)
				rt->row_map[i++] = place + n;
		}
	}
}

/* ---- copies, in parallel over rows ---- */

typedef struct Copy {
	char *to;
	const char *from;
	size_t row;
	const int64_t *to_row, *from_row;    /* NULL: the row itself */
	const int32_t *order;                /* from (or to) by slot through this list */
	int64_t begin, rows;
	int topk;                            /* slot / topk is the token; 1: the slot itself */
	bool to_slot;
} Copy;

static void copy_block(void *ctx, int64_t job, int thread)
{
	const Copy *c = ctx;
	int64_t end = (job + 1) * 64 < c->rows ? (job + 1) * 64 : c->rows;
	(void)thread;
	for (int64_t i = job * 64; i < end; i++) {
		int64_t to = c->to_row ? c->to_row[i] : i, from = c->from_row ? c->from_row[i] : i;
		if (c->order && c->to_slot)
			to = c->order[c->begin + i];
		else if (c->order)
			from = c->order[c->begin + i] / c->topk;
		memcpy(c->to + (size_t)to * c->row, c->from + (size_t)from * c->row, c->row);
	}
}

static void copy_rows(Rt *rt, Copy *c)
{
	rt_parallel(rt->pool, (c->rows + 63) / 64, copy_block, c);
}

/* Byte counts and offsets of `rows` per rank; `at` starts at 0. */
static void byte_ranges(const size_t *rows, size_t row, int ep, size_t *bytes, size_t *at)
{
	size_t sum = 0;
	for (int r = 0; r < ep; r++) {
		bytes[r] = rows[r] * row;
		at[r] = sum;
		sum += bytes[r];
	}
}

/* Own travelling rows between the slots and the wire's order: by owner, expert, slot. */
static void own_rows(Rt *rt, const RtExchange *x, Copy c, char *wire, bool to_wire)
{
	int64_t at = 0;
	char *base = c.to;
	for (int e = 0; e < x->experts; e++) {
		c.order = x->order;
		c.begin = x->first[e] + x->from[e];
		c.rows = x->take[e];
		c.to_slot = !to_wire;
		if (to_wire)
			c.to = wire + (size_t)at * c.row;
		else
			c.from = wire + (size_t)at * c.row;
		if (!to_wire)
			c.to = base;
		copy_rows(rt, &c);
		at += c.rows;
	}
}

enum { MAX_EP = 4096 };

void rt_dispatch(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	int ep = ep_size(rt);
	Copy c = {.to = rt_at(rt, in->arg[1]), .from = rt_at(rt, in->arg[0]), .row = in->row_bytes,
	          .topk = in->per_slot ? 1 : x->topk};
	if (ep == 1) {
		own_rows(rt, x, c, c.to, true);
		return;
	}
	size_t sb[MAX_EP], sa[MAX_EP], rb[MAX_EP], ra[MAX_EP];
	own_rows(rt, x, c, rt->send_rows, true);
	byte_ranges(x->send_rows, c.row, ep, sb, sa);
	byte_ranges(x->recv_rows, c.row, ep, rb, ra);
	rt_comm_exchange(rt->comm, RT_COMM_EP, rt->send_rows, sb, sa, rt->recv_rows, rb, ra);
	Copy sort = {.to = c.to, .from = rt->recv_rows, .row = c.row, .to_row = rt->row_map, .rows = rt->env.R};
	copy_rows(rt, &sort);
}

static void zero_unrouted(const RtExchange *x, char *to, size_t row)
{
	for (int64_t i = x->first[x->experts]; i < x->slots; i++)
		memset(to + (size_t)x->order[i] * row, 0, row);
}

void rt_collect(Rt *rt, const RtInstr *in)
{
	RtExchange *x = &rt->xch[in->xch];
	int ep = ep_size(rt);
	Copy c = {.to = rt_at(rt, in->arg[1]), .row = in->row_bytes, .topk = 1};
	char *rows = rt_at(rt, in->arg[0]);
	zero_unrouted(x, c.to, c.row);
	if (ep == 1) {
		own_rows(rt, x, c, rows, false);
		return;
	}
	size_t sb[MAX_EP], sa[MAX_EP], rb[MAX_EP], ra[MAX_EP];
	Copy unsort = {.to = rt->send_rows, .from = rows, .row = c.row, .from_row = rt->row_map, .rows = rt->env.R};
	copy_rows(rt, &unsort);
	byte_ranges(x->recv_rows, c.row, ep, sb, sa);
	byte_ranges(x->send_rows, c.row, ep, rb, ra);
	rt_comm_exchange(rt->comm, RT_COMM_EP, rt->send_rows, sb, sa, rt->recv_rows, rb, ra);
	own_rows(rt, x, c, rt->recv_rows, false);
}
