/* epilogue.c - see epilogue.h. The expressions are those of row kernels, for two neighbouring columns
 * at a time: what a thread holds of a row after a product. They round where the row kernel would, so
 * that fusing changes no value, only the order of sums over columns.
 */
#include "epilogue.h"

#include "row_cuda.h"

enum { PAIR = 2 };

/* ---- what fits ---- */

bool epilogue_product(const Graph *g, const Node *n)
{
	return node_grouped(g, n) && n->i[0] != 2 &&
	       graph_type(g, n->in[0])->dtype == DT_bf16 && graph_type(g, n->in[1])->dtype == DT_bf16;
}

bool epilogue_sums(const Graph *g, const Node *x, const Node *y)
{
	const Type *a = graph_type(g, x->in[0]), *b = graph_type(g, y->in[0]);
	return x->i[0] == y->i[0] && a->dim[1].n == b->dim[1].n && value_root(g, x->in[0]).i != value_root(g, y->in[0]).i &&
	       op_class(graph_def(g, x->in[0])->op) != CL_EXCHANGE && op_class(graph_def(g, y->in[0])->op) != CL_EXCHANGE;
}

static bool is_member(const uint32_t *nodes, uint32_t n, uint32_t node)
{
	for (uint32_t i = 0; i < n; i++)
		if (nodes[i] == node)
			return true;
	return false;
}

static bool same_shape(const Type *a, const Type *b)
{
	return a->rank == 2 && b->rank == 2 && a->dim[0].kind == b->dim[0].kind && a->dim[1].n == b->dim[1].n;
}

static bool floats(const Graph *g, const bool *coded, const Node *n)
{
	return is_view(n) && !coded[n - g->nodes.v];
}

/* Is the operand read at the element's own place, or one number per row, or per column? */
static bool operand_fits(const Graph *g, const bool *coded, Val v, const Type *shape)
{
	Val root = value_root(g, v);
	const Node *n = graph_def(g, root);
	if (!same_shape(graph_type(g, v), shape) || !same_shape(graph_type(g, root), shape))
		return false;
	if (!floats(g, coded, n))
		return true;
	Val from = value_root(g, n->in[0]);
	return n->op == OP_broadcast && !floats(g, coded, graph_def(g, from)) &&
	       type_row(graph_type(g, from)) == type_row(graph_type(g, n->in[0]));
}

static bool node_fits(const Graph *g, const bool *coded, const Node *n, const Type *shape)
{
	const Type *out = graph_type(g, n->out[0]);
	if (n->op == OP_sum)
		return type_row(out) == 1 && operand_fits(g, coded, n->in[0], shape);
	if (op_class(n->op) != CL_MAP || !same_shape(out, shape))
		return false;
	for (uint32_t k = 0; k < n->nin; k++)
		if (!operand_fits(g, coded, n->in[k], shape))
			return false;
	return true;
}

/* Does a node read `v`, at least through views? */
static bool reads(const Graph *g, const bool *coded, const Node *n, Val v)
{
	for (uint32_t k = 0; k < n->nin; k++) {
		Val root = value_root(g, n->in[k]);
		const Node *def = graph_def(g, root);
		if (root.i == v.i || (floats(g, coded, def) && reads(g, coded, def, v)))
			return true;
	}
	return false;
}

static bool wanted_outside(const Graph *g, const bool *coded, const uint32_t *nodes, uint32_t n, Val v)
{
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (coded[i] && !is_member(nodes, n, i) && reads(g, coded, &g->nodes.v[i], v))
			return true;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (value_root(g, g->outputs.v[i].val).i == v.i)
			return true;
	return false;
}

bool epilogue_fits(const Graph *g, const bool *coded, const uint32_t *nodes, uint32_t n, const Node *product)
{
	const Type *shape = graph_type(g, product->out[0]);
	uint32_t outs = 0, wide_sums = 0, sums = 0;
	if (wanted_outside(g, coded, nodes, n, product->out[0]))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const Node *node = &g->nodes.v[nodes[i]];
		Val v = node->out[0];
		if (!node_fits(g, coded, node, shape))
			return false;
		if (node->op == OP_sum) {
			for (uint32_t k = 0; k < n; k++)
				if (reads(g, coded, &g->nodes.v[nodes[k]], v))
					return false;
			sums++;
			wide_sums += graph_type(g, v)->dtype == DT_f32;
		} else if (wanted_outside(g, coded, nodes, n, v)) {
			outs++;
			if (graph_type(g, v)->dtype != DT_bf16)
				return false;
		}
	}
	return outs && outs <= EPILOGUE_OUTS && (!wide_sums || wide_sums == sums);
}

/* ---- the function ---- */

/* Numbers the arguments anew: results, operands but the products; sums, which are no arguments of this kernel. */
static void number_args(RowGen *g, Epilogue *e, uint32_t first)
{
	VEC(RowArg) v = {0};
	for (int turn = 0; turn < 3; turn++) {
		uint32_t before = v.n;
		for (uint32_t i = 0; i < g->p.args.n; i++) {
			const RowArg *arg = &g->p.args.v[i];
			int its = arg->kind == ROW_IN ? 1 : graph_def(g->p.g, arg->val)->op == OP_sum ? 2 : 0;
			if (its != turn || row_product(g, arg->val) >= 0)
				continue;
			vec_push(g->p.a, &v, *arg);
			g->p.arg[arg->val.i - 1] = (int)(first + v.n);
		}
		*(turn == 0 ? &e->outs : turn == 1 ? &e->ins : &e->sums) = v.n - before;
	}
	e->args = v.v;
}

static void declare_operands(const RowGen *g, const Epilogue *e, uint32_t first, Text *t)
{
	for (uint32_t i = e->outs; i < e->outs + e->ins; i++) {
		const Type *type = graph_type(g->p.g, e->args[i].val);
		const char *c = row_c_type(type->dtype);
		text_add(t, "\tconst %s *a%u = (const %s *)c.arg[%u]", c, first + i, c, first + i);
		if (type_has_rows(type))
			text_add(t, type_row(type) == 1 ? " + row" : " + row * %lld", (long long)type_row(type));
		text_add(t, ";\n");
	}
}

static const char *pair_of(RowGen *g, const Node *n, bool operand)
{
	int64_t d[MAX_RANK];
	int nd = row_dims(graph_type(g->p.g, operand ? n->in[0] : n->out[0]), d);
	Index ix = index_split(ix_make("i", 1, PAIR), d, nd, PAIR);
	Text t = {0};
	if (operand)
		row_eval(g, &t, n->in[0], &ix);
	else
		row_eval_def(g, &t, n, &ix);
	const char *s = arena_strdup(g->p.a, t.s);
	text_free(&t);
	return s;
}

static void statement(RowGen *g, const Epilogue *e, uint32_t first, const Node *n)
{
	uint32_t k = n->out[0].i - 1, id = g->p.id[k];
	uint32_t at = g->p.arg[k] ? (uint32_t)g->p.arg[k] - 1 - first : 0;
	if (n->op == OP_sum) {
		const char *x = pair_of(g, n, true);
		row_line(g, "EACH(%d) sum[%u] += %s;", PAIR, at - e->outs - e->ins, x);
		return;
	}
	if (!g->p.stored[k])
		return;
	const char *x = pair_of(g, n, false);
	g->nest_of[k] = g->nest;
	row_line(g, "float v%u[%d];", id, PAIR);
	row_line(g, "EACH(%d) v%u[e] = %s;", PAIR, id, x);
	if (g->p.arg[k])
		row_line(g, "EACH(%d) out[%u][e] = v%u[e];", PAIR, at, id);
}

/* Registers are estimated, once measured with SwiGLU, GELU and their gradients: 16 for a result, 4 for an operator,
 * more for those that are functions of many steps. */
static bool is_heavy(const RowGen *g, const Epilogue *e)
{
	uint32_t registers = 16 * e->outs;
	for (uint32_t i = 0; i < g->p.cl->n; i++) {
		Op op = g->p.g->nodes.v[g->p.cl->nodes[i]].op;
		registers += op == OP_erf || op == OP_tanh ? 24 : 4;
	}
	return registers > 104;
}

static bool inlines_nothing(Op op)
{
	(void)op;
	return false;
}

Epilogue epilogue_make(Arena *a, const Clusters *cs, const Cluster *rows, const bool *accumulate, const Val *product,
                       uint32_t nproduct, uint32_t first)
{
	RowGen g = {.p = row_plan_make(a, cs, rows, accumulate, inlines_nothing), .product = product, .nproduct = nproduct};
	Epilogue e = {0};
	Text t = {0};
	g.place = ARENA_ARRAY(a, Place, cs->g->vals.n);
	g.nest_of = ARENA_ARRAY(a, int, cs->g->vals.n);
	g.open = true;
	g.nest = g.depth = 1;
	g.v = g.nest_v = PAIR;
	g.size = type_row(graph_type(cs->g, product[0]));
	vec_push(a, &g.widths, ((Width){g.size, PAIR}));
	number_args(&g, &e, first);
	for (uint32_t i = 0; i < rows->n; i++)
		statement(&g, &e, first, &cs->g->nodes.v[rows->nodes[i]]);
	if (g.changed || g.conflict)
		ice("row code does not fit behind a product in %s", cs->g->name);
	text_add(&t, "#include \"row.cuh\"\n\n");
	row_plan_title(&g.p, &t);
	text_add(&t, "DEV void epilogue(const GlmcCall &c, i64 row, int i, const float (&p)[%u][%d], float (&out)[%u][%d], "
	         "float (&sum)[%u])\n{\n", nproduct, PAIR, e.outs, PAIR, e.sums ? e.sums : 1);
	declare_operands(&g, &e, first, &t);
	text_put(&t, g.loop.s, g.loop.n);
	text_add(&t, "}\n\n");
	e.sum_f32 = e.sums && graph_type(cs->g, e.args[e.outs + e.ins].val)->dtype == DT_f32;
	e.heavy = is_heavy(&g, &e);
	e.source = arena_strdup(a, t.s);
	const char *op = row_plan_stem(cs->g, rows);
	e.stem = e.outs > 1 ? arena_printf(a, "%s%u", op, e.outs) : op;
	text_free(&t);
	text_free(&g.loop);
	return e;
}
