/* graph_verify.c - the invariants of a graph, one function each. */
#include <string.h>

#include "../base/map.h"
#include "graph.h"

static const char *check_operands(Arena *a, const Graph *g, uint32_t i)
{
	const Node *n = &g->nodes.v[i];
	for (uint32_t k = 0; k < n->nin; k++) {
		if (!n->in[k].i || n->in[k].i > g->vals.n)
			return arena_printf(a, "node %u (%s) reads a value that does not exist", i, op_name(n->op));
		if (g->vals.v[n->in[k].i - 1].node >= i)
			return arena_printf(a, "node %u (%s) reads %%%u before it is made", i, op_name(n->op),
			                    n->in[k].i - 1);
	}
	return NULL;
}

static const char *check_results(Arena *a, const Graph *g, uint32_t i)
{
	const Node *n = &g->nodes.v[i];
	for (uint32_t k = 0; k < n->nout; k++) {
		if (!n->out[k].i || n->out[k].i > g->vals.n)
			return arena_printf(a, "node %u (%s) has no result %u", i, op_name(n->op), k);
		const ValInfo *v = graph_val(g, n->out[k]);
		if (v->node != i || v->out != k)
			return arena_printf(a, "%%%u does not know that node %u makes it", n->out[k].i - 1, i);
	}
	return NULL;
}

/* The types of the results are those the shape rule gives. */
static const char *check_types(Arena *a, const Graph *g, uint32_t i)
{
	const Node *n = &g->nodes.v[i];
	Type in[64], out[MAX_OUT];
	uint32_t nout;
	if (op_class(n->op) == CL_SOURCE)
		return NULL;
	if (n->nin > LEN(in))
		return arena_printf(a, "node %u (%s) has %u operands", i, op_name(n->op), n->nin);
	for (uint32_t k = 0; k < n->nin; k++)
		in[k] = *graph_type(g, n->in[k]);
	const char *wrong = op_check(a, n->op, in, n->nin, n->i, n->f, out, &nout);
	if (wrong)
		return arena_printf(a, "node %u (%s): %s", i, op_name(n->op), wrong);
	for (uint32_t k = 0; k < nout; k++)
		if (!type_equal(&out[k], graph_type(g, n->out[k])))
			return arena_printf(a, "node %u (%s): result %u is %s, its rule says %s", i, op_name(n->op), k,
			                    type_text(a, graph_type(g, n->out[k])), type_text(a, &out[k]));
	return NULL;
}

/* Rows are first dimensions only, and no constant dimension is empty. */
static const char *check_dims(Arena *a, const Graph *g, uint32_t v)
{
	const Type *t = &g->vals.v[v].type;
	for (int i = 0; i < t->rank; i++) {
		if (i && t->dim[i].kind != DIM_CONST)
			return arena_printf(a, "%%%u: %s has rows inside", v, type_text(a, t));
		if (t->dim[i].kind == DIM_CONST && t->dim[i].n < 1)
			return arena_printf(a, "%%%u: %s has an empty dimension", v, type_text(a, t));
	}
	return NULL;
}

/* Nodes of one input, or of one weight, agree on its type. */
static const char *check_sources(Arena *a, const Graph *g)
{
	Map seen = map_new(a);
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		int64_t first;
		if (n->op != OP_input && n->op != OP_weight)
			continue;
		const ValInfo *v = graph_val(g, n->out[0]);
		const char *name = n->op == OP_input ? arena_printf(a, "input %s", v->name)
		                                     : arena_printf(a, "weight %lld", (long long)n->i[0]);
		if (!map_get(&seen, name, &first))
			map_set(&seen, name, i);
		else if (!type_equal(graph_type(g, g->nodes.v[first].out[0]), &v->type))
			return arena_printf(a, "%s is %s, and %s before", name, type_text(a, &v->type),
			                    type_text(a, graph_type(g, g->nodes.v[first].out[0])));
	}
	return NULL;
}

/* A carried value is given once, in the type in which it came. */
static const char *check_carried(Arena *a, const Graph *g)
{
	Map inputs = map_new(a), given = map_new(a);
	int64_t i;
	for (uint32_t k = 0; k < g->nodes.n; k++)
		if (g->nodes.v[k].op == OP_input)
			map_set(&inputs, graph_val(g, g->nodes.v[k].out[0])->name, g->nodes.v[k].out[0].i);
	for (uint32_t k = 0; k < g->outputs.n; k++) {
		const Port *p = &g->outputs.v[k];
		if (p->kind != PORT_CARRY)
			continue;
		if (map_get(&given, p->name, NULL))
			return arena_printf(a, "result %s is there twice", p->name);
		map_set(&given, p->name, 1);
		if (map_get(&inputs, p->name, &i) && !type_equal(graph_type(g, (Val){(uint32_t)i}), graph_type(g, p->val)))
			return arena_printf(a, "%s comes as %s and is given as %s", p->name,
			                    type_text(a, graph_type(g, (Val){(uint32_t)i})), type_text(a, graph_type(g, p->val)));
	}
	return NULL;
}

static const char *check_outputs(Arena *a, const Graph *g)
{
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		if (!p->val.i || p->val.i > g->vals.n)
			return arena_printf(a, "result %s does not exist", p->name);
		const Type *t = graph_type(g, p->val);
		if (p->kind == PORT_LOSS && (t->dtype != DT_f64 || t->rank != 0))
			return arena_printf(a, "the loss %s is %s", p->name, type_text(a, t));
		if (p->kind == PORT_BALANCE && (t->dtype != DT_i32 || t->rank != 2))
			return arena_printf(a, "the ids of %s are %s", p->name, type_text(a, t));
	}
	return check_carried(a, g);
}

const char *graph_verify(Arena *a, const Graph *g)
{
	const char *wrong = NULL;
	for (uint32_t i = 0; i < g->nodes.n && !wrong; i++) {
		wrong = check_operands(a, g, i);
		wrong = wrong ? wrong : check_results(a, g, i);
		wrong = wrong ? wrong : check_types(a, g, i);
	}
	for (uint32_t v = 0; v < g->vals.n && !wrong; v++)
		wrong = check_dims(a, g, v);
	wrong = wrong ? wrong : check_sources(a, g);
	return wrong ? wrong : check_outputs(a, g);
}
