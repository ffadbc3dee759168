/* row_plan.c - see row_plan.h. */
#include "row_plan.h"

int row_dims(const Type *t, int64_t d[MAX_RANK])
{
	int first = type_has_rows(t) ? 1 : 0;
	for (int i = first; i < t->rank; i++)
		d[i - first] = t->dim[i].n;
	return t->rank - first;
}

bool row_same_dims(const int64_t *a, int na, const int64_t *b, int nb)
{
	if (na != nb)
		return false;
	for (int i = 0; i < na; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

int row_plan_rope(RowPlan *p, double theta, int64_t d)
{
	for (uint32_t i = 0; i < p->args.n; i++)
		if (p->args.v[i].kind == ROW_ROPE && p->args.v[i].d == d && p->args.v[i].theta == theta)
			return (int)i;
	vec_push(p->a, &p->args, ((RowArg){.kind = ROW_ROPE, .theta = theta, .d = d}));
	return (int)p->args.n - 1;
}

/* ---- what is stored, what is an argument ---- */

/* Follows operand v to the values of the cluster it reads. `whole`: read other than once per
 * element at the reader's own index. */
static void count_use(RowPlan *p, Val v, bool whole)
{
	Val root = value_root(p->g, v);
	const Node *n = graph_def(p->g, root);
	uint32_t node = (uint32_t)(n - p->g->nodes.v);
	if (n->op == OP_const)
		return;
	whole = whole || !type_equal(graph_type(p->g, v), graph_type(p->g, root));
	if (is_floating(p->cs, node)) {
		count_use(p, n->in[0], whole || n->op == OP_broadcast);
		return;
	}
	if (!p->inside[node]) {
		if (!p->arg[root.i - 1]) {
			vec_push(p->a, &p->args, ((RowArg){.kind = ROW_IN, .val = root}));
			p->arg[root.i - 1] = (int)p->args.n;
		}
		return;
	}
	p->uses[root.i - 1]++;
	if (whole)
		p->stored[root.i - 1] = true;
}

static bool reads_whole(Op op)
{
	return op == OP_rope || op == OP_gather || op == OP_scatter;
}

static void find_outside_use(RowPlan *p, uint32_t reader, Val v)
{
	Val root = value_root(p->g, v);
	uint32_t node = p->g->vals.v[root.i - 1].node;
	if (is_floating(p->cs, node)) {
		find_outside_use(p, reader, p->g->nodes.v[node].in[0]);
		return;
	}
	if (p->inside[node] && (reader == UINT32_MAX || !p->inside[reader]))
		p->outside[root.i - 1] = true;
}

static void find_outside_uses(RowPlan *p)
{
	const Graph *g = p->g;
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		if (!p->cs->coded[i])
			continue;
		for (uint32_t k = 0; k < g->nodes.v[i].nin; k++)
			find_outside_use(p, i, g->nodes.v[i].in[k]);
	}
	for (uint32_t i = 0; i < g->outputs.n; i++)
		find_outside_use(p, UINT32_MAX, g->outputs.v[i].val);
}

static void place_result(RowPlan *p, const Node *n)
{
	uint32_t k = n->out[0].i - 1;
	if (!p->outside[k])
		return;
	vec_push(p->a, &p->args, ((RowArg){.kind = ROW_OUT, .val = n->out[0], .accumulate = p->accumulate[k]}));
	p->arg[k] = (int)p->args.n;
	if (op_class(n->op) != CL_COLUMN)
		return;
	vec_push(p->a, &p->args, ((RowArg){.kind = ROW_PARTIAL, .val = n->out[0]}));
	p->partial[k] = (int)p->args.n;
}

static void analyse(RowPlan *p, bool (*inlines)(Op op))
{
	for (uint32_t i = 0; i < p->cl->n; i++)
		p->inside[p->cl->nodes[i]] = true;
	find_outside_uses(p);
	for (uint32_t i = 0; i < p->cl->n; i++) {
		const Node *n = &p->g->nodes.v[p->cl->nodes[i]];
		p->id[n->out[0].i - 1] = i;
		for (uint32_t k = 0; k < n->nin; k++)
			count_use(p, n->in[k], reads_whole(n->op));
	}
	for (uint32_t i = 0; i < p->cl->n; i++) {
		const Node *n = &p->g->nodes.v[p->cl->nodes[i]];
		uint32_t k = n->out[0].i - 1;
		bool inlined = op_class(n->op) == CL_MAP || inlines(n->op);
		if (!inlined || p->outside[k] || p->uses[k] != 1)
			p->stored[k] = true;
		place_result(p, n);
	}
}

RowPlan row_plan_make(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate,
                      bool (*inlines)(Op op))
{
	uint32_t nv = cs->g->vals.n;
	RowPlan p = {.a = a, .g = cs->g, .cs = cs, .cl = cl, .accumulate = accumulate};
	p.inside = ARENA_ARRAY(a, bool, cs->g->nodes.n);
	p.stored = ARENA_ARRAY(a, bool, nv);
	p.outside = ARENA_ARRAY(a, bool, nv);
	p.uses = ARENA_ARRAY(a, uint32_t, nv);
	p.id = ARENA_ARRAY(a, uint32_t, nv);
	p.arg = ARENA_ARRAY(a, int, nv);
	p.partial = ARENA_ARRAY(a, int, nv);
	analyse(&p, inlines);
	return p;
}

/* ---- what both printers say ---- */

bool row_plan_rounds(const RowPlan *p, const Node *n)
{
	bool same = n->op == OP_neg || n->op == OP_relu || n->op == OP_step;
	bool exact = same && graph_type(p->g, n->in[0])->dtype == DT_bf16;
	return graph_type(p->g, n->out[0])->dtype == DT_bf16 && !exact;
}

DimKind row_plan_domain(const RowPlan *p)
{
	uint32_t region = 0;
	for (uint32_t i = 0; i < p->cl->n; i++) {
		DimKind k = node_domain(p->g, &p->g->nodes.v[p->cl->nodes[i]], &region);
		if (k != DIM_CONST)
			return k;
	}
	return DIM_CONST;
}

int64_t row_plan_bytes(const RowPlan *p)
{
	int64_t bytes = 0;
	for (uint32_t i = 0; i < p->args.n; i++) {
		if (p->args.v[i].kind != ROW_IN && p->args.v[i].kind != ROW_OUT)
			continue;
		const Type *t = graph_type(p->g, p->args.v[i].val);
		if (type_has_rows(t))
			bytes += type_row(t) * (int64_t)dtype_size(t->dtype);
	}
	return bytes;
}

const char *row_plan_stem(const Graph *g, const Cluster *cl)
{
	for (uint32_t i = 0; i < cl->n; i++) {
		Op op = g->nodes.v[cl->nodes[i]].op;
		if (op_class(op) == CL_ROW || op == OP_silu || op == OP_concat)
			return op_name(op);
	}
	return op_name(g->nodes.v[cl->nodes[cl->n - 1]].op);
}

void row_plan_title(const RowPlan *p, Text *t)
{
	text_add(t, "/* rows of ");
	for (uint32_t i = 0; i < p->cl->n; i++)
		text_add(t, "%s%s", i ? (i % 12 ? " " : "\n * ") : "", op_name(p->g->nodes.v[p->cl->nodes[i]].op));
	text_add(t, " */\n");
}
