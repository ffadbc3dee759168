/* fn.c - see fn.h: clusters to launches, and the lifetimes of local values.
 *
 * A value has one buffer, that of its root. Values inside an exchange region are made anew in
 * every round; what the region reads from outside lives until its last round, and what it collects
 * lives from its first.
 */
#include "fn.h"

#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "row_kernel.h"
#include "select.h"

typedef struct Build {
	Arena *a;
	KernelSet *ks;
	const Diag *d;
	Graph *g;                /* the caller's, with outputs rewritten */
	const WeightDecl *weights;
	const FnOptions *o;
	bool *accumulate;        /* per value */
	int *buf;                /* per value: index into fn->bufs + 1 */
	uint32_t *xch_of;        /* per R dimension: exchange number + 1 */
	Fn *fn;
} Build;

uint32_t kernel_add(KernelSet *ks, const char *stem, const char *source, const char *origin,
                    const char *template_, const char *scratch)
{
	char hex[33];
	hash_hex(source, strlen(source), hex);
	const char *name = arena_printf(ks->arena, "%s_%.8s", stem, hex);
	int64_t known;
	if (map_get(&ks->index, name, &known))
		return (uint32_t)known;
	Text t = {0};
	for (const char *p = source, *hit; *p; p = hit + 5) {
		hit = strstr(p, "$NAME");
		if (!hit) {
			text_add(&t, "%s", p);
			break;
		}
		text_put(&t, p, (size_t)(hit - p));
		text_add(&t, "%s", name);
	}
	text_add(&t, "\nextern const int64_t %s_scratch;\nconst int64_t %s_scratch = %s;\n", name, name,
	         scratch);
	vec_push(ks->arena, &ks->kernels,
	         ((Kernel){.name = name, .source = arena_strdup(ks->arena, t.s), .origin = origin, .template_ = template_}));
	map_set(&ks->index, name, ks->kernels.n - 1);
	text_free(&t);
	return ks->kernels.n - 1;
}

/* ---- outputs ---- */

static uint32_t count_readers(const Graph *g, Val v)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		for (uint32_t k = 0; k < g->nodes.v[i].nin; k++)
			n += g->nodes.v[i].in[k].i == v.i;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].val.i == v.i;
	return n;
}

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
	bool alone = count_readers(g, p.val) == 1;
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

static Graph *copy_graph(Arena *a, const Graph *g)
{
	Graph *to = graph_new(a, g->name);
	to->rows = g->rows;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		vec_push(a, &to->nodes, g->nodes.v[i]);
	for (uint32_t i = 0; i < g->vals.n; i++)
		vec_push(a, &to->vals, g->vals.v[i]);
	return to;
}

/* Weight gradients are added to by the kernels that make them: a sum of them becomes several additions
 * to the same gradient. */
static void rewrite_outputs(Build *b, const Graph *g)
{
	b->g = copy_graph(b->a, g);
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

/* ---- buffers ---- */

static BufRows buf_rows(const Type *t)
{
	if (!t->rank || t->dim[0].kind == DIM_CONST)
		return ROWS_NONE;
	return t->dim[0].kind == DIM_T ? ROWS_T : ROWS_R;
}

static uint32_t add_buf(Build *b, FnBuf buf)
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

static uint32_t value_buf(Build *b, Val v)
{
	Val root = value_root(b->g, v);
	if (b->buf[root.i - 1])
		return (uint32_t)b->buf[root.i - 1] - 1;
	const Type *t = graph_type(b->g, root);
	const Node *n = graph_def(b->g, root);
	FnBuf buf = {.rows = buf_rows(t), .row_bytes = type_row(t) * (int64_t)dtype_size(t->dtype),
	             .name = graph_val(b->g, root)->name};
	if (op_class(n->op) == CL_SOURCE)
		buf = source_buf(n, graph_val(b->g, root)->name, buf);
	else
		place_result(b, root, &buf);
	bool weight = buf.role == BUF_WEIGHT || buf.role == BUF_WGRAD;
	if (weight && b->weights[buf.index].stacked)
		buf.row_bytes /= b->o->ep;
	uint32_t k = add_buf(b, buf);
	b->buf[root.i - 1] = (int)k + 1;
	return k;
}

/* ---- steps ---- */

static Step *add_step(Build *b, Step s)
{
	vec_push(b->a, &b->fn->steps, s);
	return &vec_last(&b->fn->steps);
}

static const char *origin(const Build *b, Span s)
{
	const Source *src = diag_source(b->d, s.file);
	uint32_t line, col;
	if (!src)
		return "";
	diag_line_col(b->d, s, &line, &col);
	return arena_printf(b->a, "%s:%u", src->path, line);
}

/* One word of an access text (runtime/rt_prog.h) for an argument in buffer `k`. */
static void add_access(const Build *b, Text *t, char mode, uint32_t k)
{
	const FnBuf *f = &b->fn->bufs.v[k];
	static const char *const rows[] = {[ROWS_NONE] = "", [ROWS_T] = "T", [ROWS_R] = "R"};
	text_add(t, t->n ? " " : "");
	if (f->role == BUF_ROPE)
		text_add(t, "%c%uS", mode, f->index * 4);
	else
		text_add(t, "%c%lld%s", mode, (long long)f->row_bytes, rows[f->rows]);
	if (f->blocks_of)
		text_add(t, "/%lld", (long long)f->blocks_of);
}

/* kernel_add with a head line that says what the arguments are: kernels that differ in sizes alone
 * are different kernels. */
static uint32_t add_kernel(Build *b, const char *stem, const char *source, Kernel k, Text *access,
                           const char *scratch)
{
	char *words = arena_strdup(b->a, access->s ? access->s : "");
	text_free(access);
	source = arena_printf(b->a, "/* arguments: %s */\n%s", words, source);
	uint32_t i = kernel_add(b->ks, stem, source, k.origin, k.template_, scratch);
	b->ks->kernels.v[i].launch.access = words;
	return i;
}

static uint32_t row_arg_buf(Build *b, const RowArg *arg, BufRows rows)
{
	if (arg->kind == ROW_ROPE) {
		for (uint32_t i = 0; i < b->fn->bufs.n; i++) {
			const FnBuf *f = &b->fn->bufs.v[i];
			if (f->role == BUF_ROPE && f->index == (uint32_t)arg->d && f->theta == arg->theta)
				return i;
		}
		return add_buf(b, (FnBuf){.role = BUF_ROPE, .index = (uint32_t)arg->d, .theta = arg->theta,
		                          .name = "rope"});
	}
	if (arg->kind == ROW_PARTIAL)
		return add_buf(b, (FnBuf){.role = BUF_LOCAL, .rows = rows, .blocks_of = ROW_BLOCK,
		                          .row_bytes = type_row(graph_type(b->g, arg->val)) * 4,
		                          .name = "partial"});
	return value_buf(b, arg->val);
}

static const char *row_stem(const Graph *g, const Cluster *cl)
{
	for (uint32_t i = 0; i < cl->n; i++) {
		Op op = g->nodes.v[cl->nodes[i]].op;
		if (op_class(op) == CL_ROW || op == OP_silu || op == OP_concat)
			return op_name(op);
	}
	return op_name(g->nodes.v[cl->nodes[cl->n - 1]].op);
}

static void step_rows(Build *b, const Clusters *cs, const Cluster *cl)
{
	RowKernel k = row_kernel_host(b->a, cs, cl, b->accumulate);
	const Node *first = &b->g->nodes.v[cl->nodes[0]];
	uint32_t region = 0;
	BufRows rows = ROWS_NONE;
	for (uint32_t i = 0; i < cl->n && rows == ROWS_NONE; i++) {
		DimKind d = node_domain(b->g, &b->g->nodes.v[cl->nodes[i]], &region);
		rows = d == DIM_T ? ROWS_T : d == DIM_R ? ROWS_R : ROWS_NONE;
	}
	Step s = {.kind = STEP_LAUNCH, .span = first->span, .narg = k.nargs};
	Text access = {0};
	s.arg = ARENA_ARRAY(b->a, uint32_t, k.nargs);
	for (uint32_t i = 0; i < k.nargs; i++) {
		const RowArg *arg = &k.args[i];
		bool out = arg->kind == ROW_OUT, read = arg->kind == ROW_IN || arg->kind == ROW_ROPE;
		s.arg[i] = row_arg_buf(b, arg, rows);
		add_access(b, &access, read ? 'r' : out && arg->accumulate ? 'a' : 'w', s.arg[i]);
	}
	Kernel about = {.origin = origin(b, first->span), .template_ = "generated"};
	s.kernel = add_kernel(b, arena_printf(b->a, "row_%s", row_stem(b->g, cl)), k.source, about, &access,
	                      "SCRATCH_BYTES");
	add_step(b, s);
}

static bool is_result(const Node *n, Val v)
{
	for (uint32_t k = 0; k < n->nout; k++)
		if (n->out[k].i == v.i)
			return true;
	return false;
}

static void step_template(Build *b, const Node *n)
{
	TemplateKernel k = template_make(b->a, b->g, n, b->accumulate, b->o);
	Step s = {.kind = STEP_LAUNCH, .span = n->span, .narg = k.nargs};
	Text access = {0};
	s.arg = ARENA_ARRAY(b->a, uint32_t, k.nargs);
	for (uint32_t i = 0; i < k.nargs; i++) {
		Val v = k.args[i].val;
		bool add = v.i && b->accumulate[v.i - 1];
		if (v.i)
			s.arg[i] = value_buf(b, v);
		else
			s.arg[i] = add_buf(b, (FnBuf){.role = BUF_LOCAL, .rows = k.args[i].rows, .name = "work",
			                              .row_bytes = k.args[i].row_bytes});
		add_access(b, &access, v.i && !is_result(n, v) ? 'r' : add ? 'a' : 'w', s.arg[i]);
	}
	Kernel about = {.origin = origin(b, n->span), .template_ = k.file};
	s.kernel = add_kernel(b, k.stem, k.source, about, &access, k.scratch);
	add_step(b, s);
}

static void step_exchange(Build *b, const Node *n, uint32_t xch)
{
	bool collect = n->op == OP_collect;
	const Type *rows = graph_type(b->g, collect ? n->in[0] : n->out[0]);
	Step s = {.kind = collect ? STEP_COLLECT : STEP_DISPATCH, .span = n->span, .narg = 2, .xch = xch,
	          .per_slot = n->op == OP_dispatch_slots,
	          .row_bytes = type_row(rows) * (int64_t)dtype_size(rows->dtype)};
	s.arg = ARENA_ARRAY(b->a, uint32_t, 2);
	s.arg[0] = value_buf(b, n->in[0]);
	s.arg[1] = value_buf(b, n->out[0]);
	add_step(b, s);
}

static void step_leaf(Build *b, const Clusters *cs, const Cluster *cl, uint32_t xch)
{
	const Node *n = &b->g->nodes.v[cl->nodes[0]];
	if (cl->kind == CLUSTER_ROWS)
		step_rows(b, cs, cl);
	else if (cl->kind == CLUSTER_TEMPLATE)
		step_template(b, n);
	else
		step_exchange(b, n, xch);
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

static void step_zero(Build *b, const Node *n)
{
	Step s = {.kind = STEP_LAUNCH, .span = n->span, .narg = 1, .arg = ARENA_ARRAY(b->a, uint32_t, 1)};
	Text access = {0};
	s.arg[0] = value_buf(b, n->out[0]);
	add_access(b, &access, 'w', s.arg[0]);
	long long bytes = (long long)b->fn->bufs.v[s.arg[0]].row_bytes;
	Kernel about = {.origin = origin(b, n->span), .template_ = "zero.h"};
	s.kernel = add_kernel(b, arena_printf(b->a, "zero_%lld", bytes),
	                      arena_printf(b->a, "#define KERNEL $NAME\n#define BYTES %lld\n#include \"zero.h\"\n",
	                                   bytes), about, &access, "0");
	add_step(b, s);
	b->accumulate[n->out[0].i - 1] = true;
}

static void step_region(Build *b, const Clusters *cs, const Cluster *cl)
{
	for (uint32_t i = 0; i < cl->n; i++)
		if (sums_rounds(b, &b->g->nodes.v[cl->nodes[i]]))
			step_zero(b, &b->g->nodes.v[cl->nodes[i]]);
	const Node *dispatch = region_dispatch(b->g, cl);
	Val ids = value_root(b->g, dispatch->in[1]);
	uint32_t xch = b->fn->xchs++;
	Step counts = {.kind = STEP_COUNTS, .span = dispatch->span, .narg = 1, .xch = xch, .balance = -1,
	               .topk = (int)type_row(graph_type(b->g, ids)), .experts = dispatch->i[0]};
	counts.arg = ARENA_ARRAY(b->a, uint32_t, 1);
	counts.arg[0] = value_buf(b, ids);
	for (uint32_t i = 0; i < b->g->outputs.n; i++) {
		const Port *p = &b->g->outputs.v[i];
		if (p->kind == PORT_BALANCE && value_root(b->g, p->val).i == ids.i)
			counts.balance = (int)p->index;
	}
	add_step(b, counts);
	uint32_t loop = b->fn->steps.n;
	add_step(b, (Step){.kind = STEP_ROUNDS, .span = dispatch->span, .xch = xch});
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

Fn *fn_build(Arena *a, KernelSet *ks, const Diag *d, const Graph *g, const WeightDecl *weights,
             uint32_t nweights, const FnOptions *o)
{
	(void)nweights;
	Build b = {.a = a, .ks = ks, .d = d, .weights = weights, .o = o};
	b.fn = ARENA_NEW(a, Fn);
	rewrite_outputs(&b, g);
	b.fn->name = g->name;
	b.fn->graph = b.g;
	Clusters cs = cluster_nodes(a, b.g);
	for (uint32_t i = 0; i < cs.n; i++) {
		if (cs.v[i].kind == CLUSTER_REGION)
			step_region(&b, &cs, &cs.v[i]);
		else
			step_leaf(&b, &cs, &cs.v[i], 0);
	}
	lifetimes(&b);
	return b.fn;
}

/* ---- text ---- */

static void print_step(const Fn *fn, const KernelSet *ks, const Step *s, Text *t)
{
	static const char *const kind[] = {"launch", "counts", "rounds", "dispatch", "collect"};
	text_add(t, "  %-9s", kind[s->kind]);
	if (s->kind == STEP_LAUNCH)
		text_add(t, " %s", ks->kernels.v[s->kernel].name);
	if (s->kind == STEP_ROUNDS)
		text_add(t, " body %u", s->body);
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
