/* split_weights.c - see split.h: B cut in I and W.
 *
 * W gets every weight gradient that can be computed without routed rows from what I or F leave behind;
 * gradients of experts are added in I, since rows of an exchange do not outlive their action. What I
 * does not need is computed in W alone; what both need is a result of I, saved, views aside.
 */
#include <string.h>

#include "split.h"

typedef struct Cutter {
	Arena *a;
	const Graph *b;
	bool *late;              /* per output: a gradient of W */
	bool *need_d;            /* per node: for results that are no weight gradients */
	bool *need_i, *need_w;   /* per node */
	uint32_t *kept;          /* per value: number among those kept from I to W + 1 */
	VEC(Val) order;
} Cutter;

static void need(const Graph *g, bool *needed, Val v)
{
	uint32_t node = g->vals.v[v.i - 1].node;
	if (needed[node])
		return;
	needed[node] = true;
	for (uint32_t k = 0; k < g->nodes.v[node].nin; k++)
		need(g, needed, g->nodes.v[node].in[k]);
}

/* What is computed for `v` alone, down to where the gradients of carried values are used, has no
 * routed rows. `seen` per node. */
static bool free_of_routing(const Cutter *c, bool *seen, Val v)
{
	uint32_t node = c->b->vals.v[v.i - 1].node;
	const Node *n = &c->b->nodes.v[node];
	if (seen[node] || c->need_d[node])
		return !has_routed_rows(c->b, n);
	seen[node] = true;
	for (uint32_t k = 0; k < n->nin; k++)
		if (!free_of_routing(c, seen, n->in[k]))
			return false;
	return !has_routed_rows(c->b, n);
}

static bool is_late(const Cutter *c, const Port *p)
{
	bool *seen = ARENA_ARRAY(c->a, bool, c->b->nodes.n + 1);
	return p->kind == PORT_WGRAD && !c->need_d[c->b->vals.v[p->val.i - 1].node] && free_of_routing(c, seen, p->val);
}

/* A result of I that W reads. Gradients that come from outside pass through I, too. */
static bool comes_from_i(const Cutter *c, Val v)
{
	const Node *n = graph_def(c->b, v);
	if (n->op == OP_input)
		return strncmp(graph_val(c->b, v)->name, "grad.", 5) == 0;
	bool view = n->op == OP_slice || n->op == OP_broadcast || n->op == OP_reshape || n->op == OP_detach;
	return c->need_i[n - c->b->nodes.v] && op_class(n->op) != CL_SOURCE && !view;
}

static void need_in_w(Cutter *c, Val v)
{
	uint32_t node = c->b->vals.v[v.i - 1].node;
	if (comes_from_i(c, v)) {
		if (!c->kept[v.i - 1]) {
			vec_push(c->a, &c->order, v);
			c->kept[v.i - 1] = c->order.n;
		}
		return;
	}
	if (c->need_w[node])
		return;
	c->need_w[node] = true;
	for (uint32_t k = 0; k < c->b->nodes.v[node].nin; k++)
		need_in_w(c, c->b->nodes.v[node].in[k]);
}

static const char *kept_name(const Cutter *c, uint32_t k)
{
	return arena_printf(c->a, "w%u", k);
}

static Graph *make_i(const Cutter *c, const char *name)
{
	Graph *g = graph_new(c->a, arena_printf(c->a, "%s.I", name));
	Val *map = ARENA_ARRAY(c->a, Val, c->b->vals.n + 1);
	split_copy_nodes(c->b, g, c->need_i, map);
	for (uint32_t i = 0; i < c->b->outputs.n; i++) {
		const Port *p = &c->b->outputs.v[i];
		if (!c->late[i])
			graph_output(g, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	for (uint32_t k = 0; k < c->order.n; k++)
		graph_output(g, PORT_SAVED, kept_name(c, k), k, map[c->order.v[k].i - 1]);
	return g;
}

static Graph *make_w(const Cutter *c, const char *name)
{
	Graph *g = graph_new(c->a, arena_printf(c->a, "%s.W", name));
	Val *map = ARENA_ARRAY(c->a, Val, c->b->vals.n + 1);
	for (uint32_t k = 0; k < c->order.n; k++) {
		Val v = c->order.v[k];
		map[v.i - 1] = graph_input(g, graph_def(c->b, v)->span, kept_name(c, k), graph_type(c->b, v));
	}
	split_copy_nodes(c->b, g, c->need_w, map);
	for (uint32_t i = 0; i < c->b->outputs.n; i++) {
		const Port *p = &c->b->outputs.v[i];
		if (c->late[i])
			graph_output(g, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	return g;
}

void split_weights(Arena *a, const char *name, Split *s)
{
	Cutter c = {.a = a, .b = s->b};
	c.late = ARENA_ARRAY(a, bool, s->b->outputs.n + 1);
	c.need_d = ARENA_ARRAY(a, bool, s->b->nodes.n + 1);
	c.need_i = ARENA_ARRAY(a, bool, s->b->nodes.n + 1);
	c.need_w = ARENA_ARRAY(a, bool, s->b->nodes.n + 1);
	c.kept = ARENA_ARRAY(a, uint32_t, s->b->vals.n + 1);
	for (uint32_t i = 0; i < s->b->outputs.n; i++)
		if (s->b->outputs.v[i].kind != PORT_WGRAD)
			need(s->b, c.need_d, s->b->outputs.v[i].val);
	for (uint32_t i = 0; i < s->b->outputs.n; i++) {
		c.late[i] = is_late(&c, &s->b->outputs.v[i]);
		if (!c.late[i])
			need(s->b, c.need_i, s->b->outputs.v[i].val);
	}
	for (uint32_t i = 0; i < s->b->outputs.n; i++)
		if (c.late[i])
			need_in_w(&c, s->b->outputs.v[i].val);
	for (uint32_t k = 0; k < c.order.n; k++)
		need(s->b, c.need_i, c.order.v[k]);
	s->i = make_i(&c, name);
	s->w = make_w(&c, name);
}
