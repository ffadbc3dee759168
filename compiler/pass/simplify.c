/* simplify.c - one rebuilding walk: every node is rewritten by the rules, looked up among equal
 * nodes, or copied; afterwards a second walk drops what no result needs. */
#include "simplify.h"

#include <string.h>

typedef struct Walk {
	Graph *to;
	const Graph *from;
	Val *map;
	int64_t seq_max;
} Walk;

static Val emit(Walk *w, const Node *n, Op op, const Val *in, uint32_t nin, const int64_t *i)
{
	return graph_add1(w->to, op, n->span, in, nin, i, n->f);
}

/* ---- rules: the new value of n's first result, NO_VAL when the rule does not apply ---- */

/* cross_entropy(x @ w', labels) = linear_cross_entropy(x, w, labels) */
static Val rule_cross_entropy(Walk *w, const Node *n, const Val *in)
{
	if (n->op != OP_cross_entropy)
		return NO_VAL;
	Val logits = in[0];
	while (graph_def(w->to, logits)->op == OP_cast)
		logits = graph_def(w->to, logits)->in[0];
	const Node *m = graph_def(w->to, logits);
	if (m->op != OP_matmul || m->i[0] != 0 || m->nin > 2)
		return NO_VAL;
	Val v[] = {m->in[0], m->in[1], in[1]};
	return emit(w, n, OP_linear_cross_entropy, v, 3, NULL);
}

/* attention over a selection that holds every causal key */
static Val rule_every_key(Walk *w, const Node *n, const Val *in)
{
	if (n->op != OP_attention || n->nin != 4 || !w->seq_max)
		return NO_VAL;
	const Node *s = graph_def(w->to, in[3]);
	bool all = s->op == OP_every_key || (s->op == OP_select_keys && w->seq_max <= s->i[0]);
	return all ? emit(w, n, OP_attention, in, 3, n->i) : NO_VAL;
}

static const Node *through(const Graph *g, Val v, Op op)
{
	const Node *n = graph_def(g, v);
	return n->op == op ? n : NULL;
}

/* sum_slots(collect(h @ W') * w) = sum_slots(collect((h * w by row) @ W')) */
static Val rule_routing_weight(Walk *w, const Node *n, const Val *in)
{
	const Node *m = n->op == OP_sum_slots ? through(w->to, in[0], OP_mul) : NULL;
	if (!m)
		return NO_VAL;
	for (int side = 0; side < 2; side++) {
		const Node *collect = through(w->to, m->in[side], OP_collect);
		const Node *wide = through(w->to, m->in[!side], OP_broadcast);
		const Node *down = collect ? through(w->to, collect->in[0], OP_matmul) : NULL;
		if (!wide || !down || down->i[0] != 0)
			continue;
		Type t = *graph_type(w->to, wide->in[0]);
		if (t.rank != 3 || t.dim[2].n != 1)
			continue;
		Val h = down->in[0], weight = down->in[1], ids = collect->in[1];
		Type th = *graph_type(w->to, h);
		int64_t experts = collect->i[0];
		const int64_t slots[MAX_INT] = {experts, th.dim[0].id}, nt[MAX_INT] = {0};
		const int64_t back[MAX_INT] = {experts};
		Val scatter[] = {wide->in[0], ids};
		Val by_row = emit(w, n, OP_dispatch_slots, scatter, 2, slots);
		Val scaled = graph_op2(w->to, OP_mul, n->span, h, graph_broadcast(w->to, n->span, by_row, &th));
		Val product[] = {scaled, weight};
		Val y[] = {emit(w, n, OP_matmul, product, 2, nt), ids};
		return graph_op1(w->to, OP_sum_slots, n->span, emit(w, n, OP_collect, y, 2, back));
	}
	return NO_VAL;
}

/* dispatch_slots(y repeated for every slot) = dispatch(y) */
static Val rule_dispatch(Walk *w, const Node *n, const Val *in)
{
	const Node *wide = n->op == OP_dispatch_slots ? through(w->to, in[0], OP_broadcast) : NULL;
	if (!wide)
		return NO_VAL;
	Val y = wide->in[0];
	Type t = *graph_type(w->to, y);
	if (t.rank != 3 || t.dim[1].n != 1 || t.dim[2].n != graph_type(w->to, in[0])->dim[2].n)
		return NO_VAL;
	const int64_t flat[] = {t.dim[2].n};
	Val v[] = {graph_reshape(w->to, n->span, y, 1, flat), in[1]};
	return emit(w, n, OP_dispatch, v, 2, n->i);
}

static bool is_number(const Graph *g, Val v, double x)
{
	const Node *n = graph_def(g, v);
	while (n->op == OP_broadcast || n->op == OP_reshape)
		n = graph_def(g, n->in[0]);
	return n->op == OP_const && n->f[0] == x;
}

/* x * 1, x / 1, x + 0, and views that change nothing */
static Val rule_identity(Walk *w, const Node *n, const Val *in)
{
	if (n->op == OP_mul || n->op == OP_add) {
		double unit = n->op == OP_mul ? 1 : 0;
		if (is_number(w->to, in[1], unit))
			return in[0];
		return is_number(w->to, in[0], unit) ? in[1] : NO_VAL;
	}
	if (n->op == OP_div && is_number(w->to, in[1], 1))
		return in[0];
	if (n->op == OP_reshape && graph_def(w->to, in[0])->op == OP_reshape)
		return emit(w, n, OP_reshape, graph_def(w->to, in[0])->in, 1, n->i);
	bool view = n->op == OP_reshape || n->op == OP_slice || n->op == OP_broadcast || n->op == OP_cast;
	if (view && type_equal(graph_type(w->to, in[0]), graph_type(w->from, n->out[0])))
		return in[0];
	return NO_VAL;
}

static Val apply_rules(Walk *w, const Node *n, const Val *in)
{
	static Val (*const rules[])(Walk *, const Node *, const Val *) = {
		rule_identity, rule_cross_entropy, rule_every_key, rule_routing_weight, rule_dispatch,
	};
	for (uint32_t k = 0; k < LEN(rules); k++) {
		Val v = rules[k](w, n, in);
		if (v.i)
			return v;
	}
	return NO_VAL;
}

/* ---- the walk ---- */

static const Node *find_equal(const Graph *g, const Node *n, const Val *in)
{
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *m = &g->nodes.v[i];
		if (m->op == n->op && m->nin == n->nin && memcmp(m->i, n->i, sizeof m->i) == 0 &&
		    memcmp(m->f, n->f, sizeof m->f) == 0 &&
		    (!n->nin || memcmp(m->in, in, n->nin * sizeof *in) == 0))
			return m;
	}
	return NULL;
}

static void copy_source(Walk *w, const Node *n)
{
	const ValInfo *v = graph_val(w->from, n->out[0]);
	Val to = NO_VAL;
	for (uint32_t i = 0; i < w->to->nodes.n && !to.i; i++) {
		const Node *m = &w->to->nodes.v[i];
		if (m->op != n->op)
			continue;
		const char *name = graph_val(w->to, m->out[0])->name;
		bool same = n->op == OP_weight ? m->i[0] == n->i[0]
		                               : strcmp(name ? name : "", v->name ? v->name : "") == 0;
		if (same)
			to = m->out[0];
	}
	if (!to.i)
		to = n->op == OP_weight ? graph_weight(w->to, n->span, (uint32_t)n->i[0], &v->type)
		                        : graph_input(w->to, n->span, v->name, &v->type);
	w->map[n->out[0].i - 1] = to;
}

static void copy_node(Walk *w, const Node *n)
{
	Val in[64];
	if (n->op == OP_input || n->op == OP_weight) {
		copy_source(w, n);
		return;
	}
	for (uint32_t k = 0; k < n->nin; k++)
		in[k] = w->map[n->in[k].i - 1];
	Val v = apply_rules(w, n, in);
	if (v.i) {
		w->map[n->out[0].i - 1] = v;
		return;
	}
	const Node *same = find_equal(w->to, n, in);
	if (!same) {
		uint32_t made = graph_add(w->to, n->op, n->span, in, n->nin, n->i, n->f);
		same = &w->to->nodes.v[made];
	}
	for (uint32_t k = 0; k < n->nout; k++) {
		w->map[n->out[k].i - 1] = same->out[k];
		if (!graph_val(w->to, same->out[k])->name)
			w->to->vals.v[same->out[k].i - 1].name = graph_val(w->from, n->out[k])->name;
	}
}

static Graph *rebuild(Arena *a, const Graph *g, int64_t seq_max)
{
	bool *live = ARENA_ARRAY(a, bool, g->nodes.n + 1);
	Walk w = {.to = graph_new(a, g->name), .from = g, .seq_max = seq_max};
	w.map = ARENA_ARRAY(a, Val, g->vals.n + 1);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		live[g->vals.v[g->outputs.v[i].val.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;)
		for (uint32_t k = 0; live[i] && k < g->nodes.v[i].nin; k++)
			live[g->vals.v[g->nodes.v[i].in[k].i - 1].node] = true;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (live[i])
			copy_node(&w, &g->nodes.v[i]);
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		graph_output(w.to, p->kind, p->name, p->index, w.map[p->val.i - 1]);
	}
	return w.to;
}

Graph *simplify_graph(Arena *a, const Graph *g, int64_t seq_max)
{
	return rebuild(a, rebuild(a, g, seq_max), seq_max);
}
