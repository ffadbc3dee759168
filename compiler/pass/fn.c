/* fn.c - see fn.h: clusters to launches, and the lifetimes of local values.
 *
 * A value has one buffer, that of its root. Values inside an exchange region are made anew in
 * every round; what the region reads from outside lives until its last round, and what it collects
 * lives from its first.
 */
#include <stdio.h>
#include <string.h>

#include "fn_int.h"
#include "hoist.h"
#include "select.h"

/* ---- outputs ---- */

/* Can the kernel of node `n` add its result to what is in the buffer? */
static bool adds(const Node *n)
{
	OpClass c = op_class(n->op);
	return c == CL_TEMPLATE || c == CL_COLUMN || c == CL_MAP;
}

/* A node of its own that makes the same value. */
static Val copy_value(Graph *g, Val v)
{
	Type t = *graph_type(g, v);
	Span s = graph_def(g, v)->span;
	Val one = graph_broadcast(g, s, graph_const(g, s, 1, t.dtype), &t);
	return graph_op2(g, OP_mul, s, v, one);
}

static void add_wgrad(Build *b, const Graph *g, Port p)
{
	const Node *n = graph_def(g, p.val);
	bool alone = graph_readers(g, p.val) == 1;
	if ((n->op == OP_add || n->op == OP_reshape) && alone) {
		for (uint32_t k = 0; k < n->nin; k++) {
			p.val = n->in[k];
			add_wgrad(b, g, p);
		}
		return;
	}
	if (!alone || !adds(n))
		p.val = copy_value(b->g, p.val);
	vec_push(b->a, &b->g->outputs, p);
}

/* Weight gradients are added to by the kernels that make them: a sum of them becomes several additions
 * to the same gradient. */
static void rewrite_outputs(Build *b, const Graph *g)
{
	b->g = graph_copy(b->a, g);
	b->g->outputs.n = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		if (g->outputs.v[i].kind == PORT_WGRAD)
			add_wgrad(b, g, g->outputs.v[i]);
		else
			vec_push(b->a, &b->g->outputs, g->outputs.v[i]);
	}
	b->accumulate = ARENA_ARRAY(b->a, bool, b->g->vals.n + 1);
	b->buf = ARENA_ARRAY(b->a, int, b->g->vals.n + 1);
	for (uint32_t i = 0; i < b->g->outputs.n; i++)
		if (b->g->outputs.v[i].kind == PORT_WGRAD)
			b->accumulate[b->g->outputs.v[i].val.i - 1] = true;
}

/* The operand that a cast to float32 widens, NO_VAL when v is something else. */
static Val widened(const Graph *g, Val v)
{
	const Node *n = graph_def(g, v);
	bool wide = n->op == OP_cast && graph_type(g, v)->dtype == DT_f32;
	return wide && graph_type(g, n->in[0])->dtype == DT_bf16 ? n->in[0] : NO_VAL;
}

/* Float32 products of widened bf16 operands, also those of index scores, are products of those, summed in
 * float32: what tensor cores do at full speed. The casts go unless something else reads them. */
static void take_narrow_operands(Build *b)
{
	for (uint32_t i = 0; i < b->g->nodes.n; i++) {
		Node *n = &b->g->nodes.v[i];
		if (n->op != OP_matmul && n->op != OP_head_matmul && n->op != OP_select_keys)
			continue;
		Val x = widened(b->g, n->in[0]), y = widened(b->g, n->in[1]);
		if (!x.i || !y.i)
			continue;
		n->in = arena_copy(b->a, n->in, n->nin * sizeof *n->in);
		n->in[0] = x;
		n->in[1] = y;
	}
}

/* ---- buffers ---- */

static BufRows buf_rows(const Type *t)
{
	if (!t->rank || t->dim[0].kind == DIM_CONST)
		return ROWS_NONE;
	return t->dim[0].kind == DIM_T ? ROWS_T : ROWS_R;
}

uint32_t fn_add_buf(Build *b, FnBuf buf)
{
	buf.first = -1;
	vec_push(b->a, &b->fn->bufs, buf);
	return b->fn->bufs.n - 1;
}

static FnBuf source_buf(const Node *n, const char *name, FnBuf buf)
{
	buf.name = name;
	if (n->op == OP_weight) {
		buf.role = BUF_WEIGHT;
		buf.index = (uint32_t)n->i[0];
	} else if (strcmp(name, "tokens") == 0) {
		buf.role = BUF_TOKENS;
	} else if (strcmp(name, "labels") == 0) {
		buf.role = BUF_LABELS;
	} else {
		buf.role = BUF_INPUT;
	}
	return buf;
}

/* The role of a value that the function makes. */
static void place_result(const Build *b, Val root, FnBuf *buf)
{
	buf->role = BUF_LOCAL;
	for (uint32_t i = 0; i < b->g->outputs.n; i++) {
		const Port *p = &b->g->outputs.v[i];
		if (value_root(b->g, p->val).i != root.i || p->kind == PORT_BALANCE)
			continue;
		buf->name = p->name;
		if (p->kind == PORT_WGRAD) {
			buf->role = BUF_WGRAD;
			buf->index = p->index;
		} else if (p->kind == PORT_LOSS) {
			buf->role = BUF_LOSS;
		} else {
			buf->role = BUF_OUTPUT;
			buf->index = i;
		}
		return;
	}
}

uint32_t fn_value_buf(Build *b, Val v)
{
	Val root = value_root(b->g, v);
	if (b->buf[root.i - 1])
		return (uint32_t)b->buf[root.i - 1] - 1;
	const Type *t = graph_type(b->g, root);
	const Node *n = graph_def(b->g, root);
	FnBuf buf = {.val = root, .rows = buf_rows(t), .row_bytes = type_row(t) * (int64_t)dtype_size(t->dtype),
	             .name = graph_val(b->g, root)->name};
	if (op_class(n->op) == CL_SOURCE)
		buf = source_buf(n, graph_val(b->g, root)->name, buf);
	else
		place_result(b, root, &buf);
	bool weight = buf.role == BUF_WEIGHT || buf.role == BUF_WGRAD;
	if (weight && b->weights[buf.index].stacked)
		buf.row_bytes /= b->o->ep;
	uint32_t k = fn_add_buf(b, buf);
	b->buf[root.i - 1] = (int)k + 1;
	return k;
}

/* ---- steps ---- */

void fn_add_step(Build *b, Step s)
{
	vec_push(b->a, &b->fn->steps, s);
}

static void step_exchange(Build *b, const Node *n, uint32_t xch)
{
	bool collect = n->op == OP_collect;
	if (gathered_tokens(b->g, n->out[0], b->o).i)
		return;
	const Type *rows = graph_type(b->g, collect ? n->in[0] : n->out[0]);
	Step s = {.kind = collect ? STEP_COLLECT : STEP_DISPATCH, .span = n->span, .narg = 2, .xch = xch,
	          .per_slot = n->op == OP_dispatch_slots,
	          .row_bytes = type_row(rows) * (int64_t)dtype_size(rows->dtype)};
	s.arg = ARENA_ARRAY(b->a, uint32_t, 2);
	s.arg[0] = fn_value_buf(b, n->in[0]);
	s.arg[1] = fn_value_buf(b, n->out[0]);
	fn_add_step(b, s);
}

static void step_leaf(Build *b, const Clusters *cs, const Cluster *cl, uint32_t xch)
{
	if (cl->kind == CLUSTER_ROWS)
		fn_step_rows(b, cs, cl);
	else if (cl->kind == CLUSTER_TEMPLATE)
		fn_step_operator(b, cs, cl);
	else
		step_exchange(b, &b->g->nodes.v[cl->nodes[0]], xch);
}

static const Node *region_dispatch(const Graph *g, const Cluster *cl)
{
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *n = &g->nodes.v[cl->nodes[i]];
		if (op_class(n->op) == CL_EXCHANGE)
			return n;
	}
	ice("routed rows without a dispatch in %s", g->name);
}

/* Is the result of `n` a sum over routed rows that is not added to a gradient of its own accord? Every
 * round has some of the rows, so it starts from zero and is added to. */
static bool sums_rounds(const Build *b, const Node *n)
{
	bool over_rows = n->op == OP_sum_rows || (n->op == OP_matmul && n->i[0] == 2);
	return over_rows && !b->accumulate[n->out[0].i - 1];
}

static void step_region(Build *b, const Clusters *cs, const Cluster *cl)
{
	for (uint32_t i = 0; i < cl->n; i++)
		if (sums_rounds(b, &b->g->nodes.v[cl->nodes[i]]))
			fn_step_zero(b, &b->g->nodes.v[cl->nodes[i]]);
	const Node *dispatch = region_dispatch(b->g, cl);
	Val ids = value_root(b->g, dispatch->in[1]);
	uint32_t xch = b->fn->xchs++;
	Step counts = {.kind = STEP_COUNTS, .span = dispatch->span, .narg = 1, .xch = xch, .balance = -1,
	               .topk = (int)type_row(graph_type(b->g, ids)), .experts = dispatch->i[0]};
	counts.arg = ARENA_ARRAY(b->a, uint32_t, 1);
	counts.arg[0] = fn_value_buf(b, ids);
	for (uint32_t i = 0; i < b->g->outputs.n; i++) {
		const Port *p = &b->g->outputs.v[i];
		if (p->kind == PORT_BALANCE && value_root(b->g, p->val).i == ids.i)
			counts.balance = (int)p->index;
	}
	fn_add_step(b, counts);
	uint32_t loop = b->fn->steps.n;
	fn_add_step(b, (Step){.kind = STEP_ROUNDS, .span = dispatch->span, .xch = xch});
	for (uint32_t i = 0; i < cl->ninner; i++)
		step_leaf(b, cs, &cl->inner[i], xch);
	b->fn->steps.v[loop].body = b->fn->steps.n - loop - 1;
}

/* ---- lifetimes ---- */

static void touch(FnBuf *f, int step)
{
	if (f->first < 0)
		f->first = step;
	if (step > f->last)
		f->last = step;
}

static void lifetimes(Build *b)
{
	for (uint32_t i = 0; i < b->fn->steps.n; i++)
		for (uint32_t k = 0; k < b->fn->steps.v[i].narg; k++)
			touch(&b->fn->bufs.v[b->fn->steps.v[i].arg[k]], (int)i);
	for (uint32_t i = 0; i < b->fn->steps.n; i++) {
		const Step *loop = &b->fn->steps.v[i];
		if (loop->kind != STEP_ROUNDS)
			continue;
		int begin = (int)i, end = (int)(i + loop->body);
		for (uint32_t k = 0; k < b->fn->bufs.n; k++) {
			FnBuf *f = &b->fn->bufs.v[k];
			if (f->first < 0 || f->last <= begin || f->first > end)
				continue;
			bool before = f->first <= begin || f->role == BUF_INPUT;
			bool after = f->last > end || f->role == BUF_OUTPUT;
			if (before && f->last < end)
				f->last = end;
			if (after && f->first > begin)
				f->first = begin;
		}
	}
}

/* On the cuda target rows travel beside the computation: what an exchange reads stays until somebody waits
 * for its result, and its result has its place as soon as the operands are there. */
static void lengthen_exchange(Fn *fn, uint32_t at)
{
	const Step *s = &fn->steps.v[at];
	FnBuf *from = &fn->bufs.v[s->arg[0]], *to = &fn->bufs.v[s->arg[1]];
	uint32_t reader = at + 1;
	for (bool found = false; reader < fn->steps.n; reader++) {
		for (uint32_t k = 0; k < fn->steps.v[reader].narg; k++)
			found |= fn->steps.v[reader].arg[k] == s->arg[1];
		if (found)
			break;
	}
	int made = from->first < 0 ? 0 : from->first;
	if (reader < fn->steps.n && (int)reader > from->last)
		from->last = (int)reader;
	if (made < to->first)
		to->first = made;
}

static void lengthen_exchanges(Fn *fn)
{
	for (uint32_t i = 0; i < fn->steps.n; i++)
		if (fn->steps.v[i].kind == STEP_DISPATCH || fn->steps.v[i].kind == STEP_COLLECT)
			lengthen_exchange(fn, i);
}

Fn *fn_build(Arena *a, KernelSet *ks, const Diag *d, const Graph *g, const WeightDecl *weights,
             uint32_t nweights, const FnOptions *o)
{
	(void)nweights;
	Build b = {.a = a, .ks = ks, .d = d, .weights = weights, .o = o};
	b.fn = ARENA_NEW(a, Fn);
	rewrite_outputs(&b, g);
	if (o->cuda)
		take_narrow_operands(&b);
	b.fn->name = g->name;
	b.fn->graph = b.g;
	Clusters cs = cluster_nodes(a, b.g, o->cuda);
	for (uint32_t i = 0; i < cs.n; i++) {
		if (cs.v[i].kind == CLUSTER_REGION)
			step_region(&b, &cs, &cs.v[i]);
		else
			step_leaf(&b, &cs, &cs.v[i], 0);
	}
	if (o->cuda)
		hoist_steps(a, b.fn, ks, o);
	lifetimes(&b);
	if (o->cuda)
		lengthen_exchanges(b.fn);
	return b.fn;
}

/* ---- text ---- */

static void print_step(const Fn *fn, const KernelSet *ks, const Step *s, Text *t)
{
	static const char *const kind[] = {"launch", "counts", "rounds", "dispatch", "collect", "gemm"};
	static const char *const forms[] = {"nt", "nn", "tn"};
	text_add(t, "  %-9s", kind[s->kind]);
	if (s->kind == STEP_LAUNCH)
		text_add(t, " %s", ks->kernels.v[s->kernel].name);
	if (s->kind == STEP_ROUNDS)
		text_add(t, " body %u", s->body);
	if (s->kind == STEP_GEMM)
		text_add(t, " %s %lldx%lld", forms[s->gemm.form], (long long)s->gemm.ncol, (long long)s->gemm.kcol);
	for (uint32_t k = 0; k < s->narg; k++) {
		const FnBuf *f = &fn->bufs.v[s->arg[k]];
		text_add(t, " b%u(%s)", s->arg[k], f->name ? f->name : "");
	}
	text_add(t, "\n");
}

void fn_print(const Fn *fn, const KernelSet *ks, Text *t)
{
	text_add(t, "function %s: %u steps\n", fn->name, fn->steps.n);
	for (uint32_t i = 0; i < fn->steps.n; i++)
		print_step(fn, ks, &fn->steps.v[i], t);
}
