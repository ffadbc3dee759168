/* subgraph.c - see subgraph.h. */
#include "subgraph.h"

#include <stdio.h>
#include <string.h>

typedef struct Cut {
	const Graph *from;
	Graph *to;
	Val *map;                /* per value of `from` */
	int ep;
	bool grouped;
	Val ids;
	int64_t experts;         /* on a rank */
} Cut;

static int64_t experts_of(const Graph *g, const Node *n)
{
	return n->i[0] == 2 ? n->i[1] : graph_type(g, n->in[1])->dim[0].n;
}

/* Finds the grouped product, if there is one, among what makes v. */
static void find_grouped(Cut *c, Val v, const bool *input)
{
	const Node *n = graph_def(c->from, v);
	if (input[v.i - 1])
		return;
	if (node_grouped(c->from, n)) {
		c->grouped = true;
		c->experts = experts_of(c->from, n) / c->ep;
	}
	for (uint32_t k = 0; k < (n->op == OP_dispatch ? 1 : n->nin); k++)
		find_grouped(c, n->in[k], input);
}

static Val dispatch(Cut *c, Val rows)
{
	Val pair[] = {rows, c->ids};
	const int64_t ints[MAX_INT] = {c->experts, 0};
	return graph_add1(c->to, OP_dispatch, (Span){0}, pair, 2, ints, NULL);
}

static Val add_input(Cut *c, const SubgraphInput *in)
{
	Type t = *graph_type(c->from, in->val);
	bool rows = t.rank && t.dim[0].kind == DIM_R;
	if (rows)
		t.dim[0] = dim_tokens();
	if (c->grouped && t.rank == 3 && t.dim[0].kind == DIM_CONST)
		t.dim[0] = dim_const(c->experts, NULL);
	Val v = graph_input(c->to, (Span){0}, in->name, &t);
	return rows && c->grouped ? dispatch(c, v) : v;
}

static Val copy(Cut *c, Val v)
{
	if (c->map[v.i - 1].i)
		return c->map[v.i - 1];
	Node n = *graph_def(c->from, v);
	Val in[64];
	if (op_class(n.op) == CL_SOURCE && n.op != OP_const)
		ice("a part of %s reads more than its inputs", c->from->name);
	if (n.op == OP_dispatch)
		return c->map[v.i - 1] = dispatch(c, copy(c, n.in[0]));
	for (uint32_t k = 0; k < n.nin; k++)
		in[k] = copy(c, n.in[k]);
	if (n.op == OP_broadcast && (n.i[0] >> 4 & 15) == 2)
		n.i[0] = (n.i[0] & 15) | (c->grouped ? 2 : 1) << 4;
	if (node_grouped(c->from, &n) && n.i[0] == 2)
		n.i[1] = c->experts;
	uint32_t made = graph_add(c->to, n.op, n.span, in, n.nin, n.i, n.f);
	for (uint32_t k = 0; k < n.nout; k++)
		c->map[n.out[k].i - 1] = c->to->nodes.v[made].out[k];
	return c->map[v.i - 1];
}

Graph *subgraph_cut(Arena *a, const Graph *g, const SubgraphInput *in, uint32_t nin, const Val *out, uint32_t nout, int ep,
                    Val *at)
{
	Cut c = {.from = g, .to = graph_new(a, g->name), .map = ARENA_ARRAY(a, Val, g->vals.n + 1), .ep = ep};
	bool *input = ARENA_ARRAY(a, bool, g->vals.n + 1);
	for (uint32_t k = 0; k < nin; k++)
		input[in[k].val.i - 1] = true;
	for (uint32_t k = 0; k < nout; k++)
		find_grouped(&c, out[k], input);
	if (c.grouped) {
		Type ids = {.dtype = DT_i32, .rank = 2, .dim = {dim_tokens(), dim_const(1, NULL)}};
		c.ids = graph_input(c.to, (Span){0}, "ids", &ids);
		c.to->rows = 1;
	}
	for (uint32_t k = 0; k < nin; k++)
		at[k] = c.map[in[k].val.i - 1] = add_input(&c, &in[k]);
	for (uint32_t k = 0; k < nout; k++)
		graph_output(c.to, PORT_CARRY, arena_printf(a, "r%u", k), 0, copy(&c, out[k]));
	return c.to;
}
