/* autodiff.c - one reverse walk over the forward nodes; contributions to a value are added in the
 * order in which the walk finds them, slices of a value that do not overlap become one concat. */
#include "autodiff.h"

#include <stdlib.h>
#include <string.h>

#include "../ir/op_grad.h"

static bool is_floating(const Type *t)
{
	return t->dtype == DT_f32 || t->dtype == DT_bf16 || t->dtype == DT_f64;
}

static void mark_wanted(const Graph *g, uint32_t nodes, const WeightDecl *weights, Adjoint *adj)
{
	for (uint32_t i = 0; i < nodes; i++) {
		const Node *n = &g->nodes.v[i];
		bool want = false;
		if (n->op == OP_weight)
			want = !weights[n->i[0]].buffer;
		else if (n->op == OP_input)
			want = is_floating(graph_type(g, n->out[0]));
		else if (!(op_flags(n->op) & OPF_NOGRAD))
			for (uint32_t k = 0; k < n->nin; k++)
				want |= adj[n->in[k].i - 1].wanted;
		for (uint32_t k = 0; k < n->nout; k++)
			adj[n->out[k].i - 1].wanted = want && is_floating(graph_type(g, n->out[k]));
	}
}

static int by_begin(const void *x, const void *y)
{
	const GradPart *a = x, *b = y;
	return a->begin < b->begin ? -1 : a->begin > b->begin;
}

static Val zeros(Graph *g, Span s, const Type *like, int64_t size)
{
	Type t = *like;
	t.dim[t.rank - 1] = dim_const(size, NULL);
	return graph_broadcast(g, s, graph_const(g, s, 0, t.dtype), &t);
}

/* Disjoint slices as one value, gaps filled with zeros; NO_VAL when they overlap. */
static Val join_slices(Graph *g, Span s, const Type *t, GradPart *p, uint32_t n)
{
	Val parts[32];
	uint32_t np = 0;
	int64_t at = 0, width = t->dim[t->rank - 1].n;
	qsort(p, n, sizeof *p, by_begin);
	for (uint32_t k = 0; k < n; k++) {
		if (p[k].begin < at || np + 3 > LEN(parts))
			return NO_VAL;
		if (p[k].begin > at)
			parts[np++] = zeros(g, s, t, p[k].begin - at);
		parts[np++] = p[k].v;
		at = p[k].begin + p[k].size;
	}
	if (at < width)
		parts[np++] = zeros(g, s, t, width - at);
	return graph_concat(g, s, parts, np);
}

/* The whole gradient of a value, NO_VAL when nothing reaches it. It has the dtype of the value; that
 * of a weight is summed over microbatches and is float32. */
static Val total(Graph *g, Span s, Val v, Adjoint *adj)
{
	Type t = *graph_type(g, v);
	GradPart *slices = ARENA_ARRAY(g->arena, GradPart, adj->parts.n + 1);
	uint32_t n = 0;
	Val sum = NO_VAL;
	if (graph_def(g, v)->op == OP_weight)
		t.dtype = DT_f32;
	for (uint32_t k = 0; k < adj->parts.n; k++) {
		GradPart p = adj->parts.v[k];
		p.v = graph_cast(g, s, p.v, t.dtype);
		if (p.size)
			slices[n++] = p;
		else
			sum = sum.i ? graph_op2(g, OP_add, s, sum, p.v) : p.v;
	}
	Val joined = n ? join_slices(g, s, &t, slices, n) : NO_VAL;
	for (uint32_t k = 0; k < n; k++) {
		Val part = joined.i ? joined : join_slices(g, s, &t, &slices[k], 1);
		sum = sum.i ? graph_op2(g, OP_add, s, sum, part) : part;
		if (joined.i)
			break;
	}
	return sum;
}

/* Marks the nodes that only weight gradients need. */
static void mark_wgrad(Graph *g, uint32_t nfwd)
{
	bool *live = ARENA_ARRAY(g->arena, bool, g->nodes.n);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind != PORT_WGRAD)
			live[g->vals.v[g->outputs.v[i].val.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;)
		for (uint32_t k = 0; live[i] && k < g->nodes.v[i].nin; k++)
			live[g->vals.v[g->nodes.v[i].in[k].i - 1].node] = true;
	for (uint32_t i = nfwd; i < g->nodes.n; i++)
		g->nodes.v[i].wgrad = !live[i];
}

static void seed_outputs(Graph *g, uint32_t nout, Adjoint *adj)
{
	for (uint32_t i = 0; i < nout; i++) {
		Port p = g->outputs.v[i];
		Adjoint *to = &adj[p.val.i - 1];
		if (!to->wanted || (p.kind != PORT_CARRY && p.kind != PORT_LOSS))
			continue;
		Type t = *graph_type(g, p.val);
		Span s = graph_def(g, p.val)->span;
		Val d = p.kind == PORT_LOSS
		            ? graph_const(g, s, 1, t.dtype)
		            : graph_input(g, s, arena_printf(g->arena, "grad.%s", p.name), &t);
		vec_push(g->arena, &to->parts, ((GradPart){.v = d}));
	}
}

/* Of a carried value: zeros when nothing reaches it, for the instance that made it expects one. */
static void output_gradient(Graph *g, const GradCall *c)
{
	Type t = *graph_type(g, c->n.out[0]);
	if (!is_floating(&t))
		return;
	Val d = c->d[0].i ? c->d[0] : graph_broadcast(g, c->n.span, graph_const(g, c->n.span, 0, t.dtype), &t);
	const char *name = graph_val(g, c->n.out[0])->name;
	graph_output(g, PORT_CARRY, arena_printf(g->arena, "grad.%s", name), 0, d);
}

static bool is_gradient(const char *name)
{
	return strncmp(name, "grad.", 5) == 0;
}

bool autodiff_possible(const Graph *g)
{
	bool results = false;
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		if (p->kind == PORT_WGRAD || p->kind == PORT_SAVED || is_gradient(p->name))
			return false;
		results |= p->kind == PORT_CARRY || p->kind == PORT_LOSS;
	}
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		bool product = n->op == OP_matmul || n->op == OP_head_matmul;
		if ((n->op == OP_input && is_gradient(graph_val(g, n->out[0])->name)) ||
		    (product && (n->i[0] == 2 || n->nin > 2)))
			return false;
	}
	return results;
}

Joint autodiff(Arena *a, const Graph *fwd, const WeightDecl *weights, uint32_t nweights)
{
	(void)nweights;
	Graph *g = graph_copy(a, fwd);
	Joint j = {g, fwd->nodes.n};
	Adjoint *adj = ARENA_ARRAY(a, Adjoint, fwd->vals.n + 1);
	mark_wanted(g, j.nfwd, weights, adj);
	seed_outputs(g, fwd->outputs.n, adj);
	for (uint32_t i = j.nfwd; i-- > 0;) {
		GradCall c = {.g = g, .n = g->nodes.v[i], .adj = adj};
		bool any = false;
		for (uint32_t k = 0; k < c.n.nout; k++) {
			Adjoint *from = &adj[c.n.out[k].i - 1];
			if (from->wanted && from->parts.n)
				c.d[k] = total(g, c.n.span, c.n.out[k], from);
			any |= c.d[k].i != 0;
		}
		if (c.n.op == OP_input)
			output_gradient(g, &c);
		else if (any && c.n.op == OP_weight)
			graph_output(g, PORT_WGRAD, weights[c.n.i[0]].name, (uint32_t)c.n.i[0], c.d[0]);
		else if (any)
			op_grad(&c);
	}
	mark_wgrad(g, j.nfwd);
	return j;
}
