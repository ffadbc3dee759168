/* split.c - see split.h. What B needs is found by a walk back from its results that stops at
 * values that may be saved; both functions keep the order of the joint graph.
 *
 * What routed experts add up to for a token (sum_slots) is saved under every policy: B runs all rows of
 * a dispatch in one loop of exchange rounds, so it cannot compute them once for what follows in the
 * layer and again for their own gradient. */
#include "split.h"

#include <string.h>

typedef struct Splitter {
	Arena *a;
	const Joint *j;
	const Graph *g;
	SplitPolicy policy;
	bool *need_f, *need_b;   /* per node */
	uint32_t *saved;         /* per value: number of the saved value + 1 */
	VEC(Val) order;          /* saved values */
} Splitter;

static bool is_global_input(const Splitter *s, Val v)
{
	const char *name = graph_val(s->g, v)->name;
	return strcmp(name, "tokens") == 0 || strcmp(name, "labels") == 0;
}

bool has_routed_rows(const Graph *g, const Node *n)
{
	for (uint32_t k = 0; k < n->nin + n->nout; k++) {
		const Type *t = graph_type(g, k < n->nin ? n->in[k] : n->out[k - n->nin]);
		if (t->rank && t->dim[0].kind == DIM_R)
			return true;
	}
	return false;
}

static bool may_save(const Splitter *s, Val v)
{
	const Node *n = graph_def(s->g, v);
	if ((uint32_t)(n - s->g->nodes.v) >= s->j->nfwd || n->op == OP_weight || n->op == OP_const)
		return false;
	if (n->op == OP_input)
		return !is_global_input(s, v);
	if (n->op == OP_sum_slots)
		return true;
	if (s->policy == SPLIT_EXIT || has_routed_rows(s->g, n) || op_class(n->op) != CL_TEMPLATE)
		return false;
	if (s->policy == SPLIT_CHECKPOINT)
		return n->op == OP_select_keys || n->op == OP_top_k;
	return n->op != OP_every_key && n->op != OP_balanced_ids && n->op != OP_embedding;
}

static void need_in_b(Splitter *s, Val v)
{
	uint32_t node = s->g->vals.v[v.i - 1].node;
	if (may_save(s, v)) {
		if (!s->saved[v.i - 1]) {
			vec_push(s->a, &s->order, v);
			s->saved[v.i - 1] = s->order.n;
		}
		return;
	}
	if (s->need_b[node])
		return;
	s->need_b[node] = true;
	for (uint32_t k = 0; k < s->g->nodes.v[node].nin; k++)
		need_in_b(s, s->g->nodes.v[node].in[k]);
}

static void need_in_f(Splitter *s, Val v)
{
	uint32_t node = s->g->vals.v[v.i - 1].node;
	if (s->need_f[node])
		return;
	s->need_f[node] = true;
	for (uint32_t k = 0; k < s->g->nodes.v[node].nin; k++)
		need_in_f(s, s->g->nodes.v[node].in[k]);
}

static bool is_b_output(const Port *p)
{
	return p->kind == PORT_WGRAD || (p->kind == PORT_CARRY && strncmp(p->name, "grad.", 5) == 0);
}

void split_copy_nodes(const Graph *from, Graph *to, const bool *want, Val *map)
{
	for (uint32_t i = 0; i < from->nodes.n; i++) {
		const Node *n = &from->nodes.v[i];
		if (want[i] && !(n->op == OP_input && map[n->out[0].i - 1].i))
			graph_copy_node(to, from, n, map);
	}
}

static Graph *make_f(const Splitter *s)
{
	Graph *f = graph_new(s->a, arena_printf(s->a, "%s.F", s->g->name));
	Val *map = ARENA_ARRAY(s->a, Val, s->g->vals.n + 1);
	split_copy_nodes(s->g, f, s->need_f, map);
	for (uint32_t i = 0; i < s->g->outputs.n; i++) {
		const Port *p = &s->g->outputs.v[i];
		if (!is_b_output(p) && p->kind != PORT_LOSS)
			graph_output(f, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	for (uint32_t k = 0; k < s->order.n; k++)
		graph_output(f, PORT_SAVED, arena_printf(s->a, "s%u", k), k, map[s->order.v[k].i - 1]);
	return f;
}

/* The loss that the gradient of the head computes on the way. */
static void output_loss(Graph *b)
{
	for (uint32_t i = 0; i < b->nodes.n; i++)
		if (b->nodes.v[i].op == OP_linear_cross_entropy_grad || b->nodes.v[i].op == OP_cross_entropy_grad)
			graph_output(b, PORT_LOSS, "loss", 0, b->nodes.v[i].out[0]);
}

static Graph *make_b(const Splitter *s)
{
	Graph *b = graph_new(s->a, arena_printf(s->a, "%s.B", s->g->name));
	Val *map = ARENA_ARRAY(s->a, Val, s->g->vals.n + 1);
	for (uint32_t k = 0; k < s->order.n; k++) {
		Val v = s->order.v[k];
		map[v.i - 1] = graph_input(b, graph_def(s->g, v)->span, arena_printf(s->a, "s%u", k),
		                           graph_type(s->g, v));
	}
	split_copy_nodes(s->g, b, s->need_b, map);
	for (uint32_t i = 0; i < s->g->outputs.n; i++) {
		const Port *p = &s->g->outputs.v[i];
		if (is_b_output(p))
			graph_output(b, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	if (s->policy == SPLIT_EXIT)
		output_loss(b);
	return b;
}

Split split_recompute(Arena *a, const Joint *j, SplitPolicy policy)
{
	Splitter s = {.a = a, .j = j, .g = j->g, .policy = policy};
	s.need_f = ARENA_ARRAY(a, bool, j->g->nodes.n + 1);
	s.need_b = ARENA_ARRAY(a, bool, j->g->nodes.n + 1);
	s.saved = ARENA_ARRAY(a, uint32_t, j->g->vals.n + 1);
	for (uint32_t i = 0; i < j->g->outputs.n; i++)
		if (is_b_output(&j->g->outputs.v[i]))
			need_in_b(&s, j->g->outputs.v[i].val);
	for (uint32_t i = 0; i < j->g->outputs.n; i++) {
		const Port *p = &j->g->outputs.v[i];
		if (!is_b_output(p) && p->kind != PORT_LOSS)
			need_in_f(&s, p->val);
	}
	for (uint32_t k = 0; k < s.order.n; k++)
		need_in_f(&s, s.order.v[k]);
	return (Split){.f = make_f(&s), .b = make_b(&s)};
}
