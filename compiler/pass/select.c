/* select.c - the table from operators to templates: which macros an instantiation defines and in
 * which order the kernel takes its buffers. Both targets share it; what the cuda target does beside
 * is in select_cuda.c. */
#include "../ir/op_cost.h"
#include "select_int.h"

#include <string.h>

void sel_define(Maker *m, const char *name, int64_t value)
{
	text_add(&m->t, "#define %s %lld\n", name, (long long)value);
	vec_push(m->a, &m->defines, ((Define){name, value}));
}

uint32_t sel_products(const Maker *m, const Cluster *cl, Val *product, Cluster *rows)
{
	uint32_t n = 0;
	*rows = (Cluster){.kind = CLUSTER_ROWS, .nodes = ARENA_ARRAY(m->a, uint32_t, cl->n), .region = cl->region};
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *node = &m->g->nodes.v[cl->nodes[i]];
		if (node->op == OP_matmul)
			product[n++] = node->out[0];
		else
			rows->nodes[rows->n++] = cl->nodes[i];
	}
	return n;
}

static bool is_result(const Node *n, Val v)
{
	for (uint32_t k = 0; k < n->nout; k++)
		if (n->out[k].i == v.i)
			return true;
	return false;
}

void sel_arg(Maker *m, Val v)
{
	if (m->k.nargs == GLMC_ARGS)
		ice("%s has more than %d arguments", op_name(m->n->op), GLMC_ARGS);
	char mode = !is_result(m->n, v) ? 'r' : m->accumulate[v.i - 1] ? 'a' : 'w';
	m->k.args[m->k.nargs++] = (TemplateArg){.val = v, .mode = mode};
}

static const char *elem_name(DType t)
{
	return t == DT_bf16 ? "bf16" : "float";
}

void sel_elem(Maker *m, DType t)
{
	text_add(&m->t, "#define ELEM %s\n", elem_name(t));
	vec_push(m->a, &m->defines, ((Define){"ELEM_BYTES", (int64_t)dtype_size(t)}));
}

static void add_operands(Maker *m)
{
	for (uint32_t i = 0; i < m->n->nin; i++)
		sel_arg(m, m->n->in[i]);
}

static void add_results(Maker *m)
{
	for (uint32_t i = 0; i < m->n->nout; i++)
		sel_arg(m, m->n->out[i]);
}

void sel_finish(Maker *m, TemplateSteps *out, const char *stem, const char *base, const char *scratch)
{
	if (m->o->cuda) {
		cuda_finish(m, out, stem, base);
		return;
	}
	m->k.stem = stem;
	m->k.file = arena_printf(m->a, "%s.h", base);
	m->k.scratch = scratch;
	m->k.source = arena_printf(m->a, "#define KERNEL $NAME\n%s#include \"%s\"\n", m->t.s ? m->t.s : "", m->k.file);
	vec_push(m->a, &out->v, m->k);
}

static void make_plain(Maker *m, TemplateSteps *out, const char *base, const char *scratch)
{
	add_operands(m);
	add_results(m);
	sel_finish(m, out, m->o->cuda ? base : op_name(m->n->op), base, scratch);
}

/* ---- contractions ---- */

static bool is_rows(const Type *t, DimKind k)
{
	return t->rank && t->dim[0].kind == k;
}

static bool accumulates(const Maker *m, uint32_t result)
{
	return m->accumulate[m->n->out[result].i - 1];
}

/* The elements of a product's operands and result. */
static void product_elems(Maker *m, DType result)
{
	text_add(&m->t, "#define A_ELEM %s\n#define B_ELEM %s\n#define C_ELEM %s\n", elem_name(sel_in(m, 0)->dtype),
	         elem_name(sel_in(m, 1)->dtype), elem_name(result));
}

/* The macros of a product but for its addend. ops.def matmul: 0 NT, 1 NN, 2 TN */
static void define_matmul(Maker *m, DType result)
{
	int form = (int)m->n->i[0];
	const Type *a = sel_in(m, 0), *b = sel_in(m, 1), *c = sel_out(m, 0);
	int64_t experts = form == 2 ? m->n->i[1] : node_grouped(m->g, m->n) ? sel_dim(b, 0) : 0;
	product_elems(m, result);
	sel_define(m, "FORM", form);
	sel_define(m, "ROWS_R", is_rows(a, DIM_R));
	sel_define(m, "GROUPS", node_grouped(m->g, m->n) ? experts / m->o->ep : 0);
	if (form == 2) {
		sel_define(m, "M", sel_dim(c, c->rank - 2));
		sel_define(m, "N", sel_dim(c, c->rank - 1));
	} else {
		sel_define(m, "N", sel_dim(c, 1));
		sel_define(m, "K", sel_dim(a, 1));
	}
	sel_define(m, "ACC", accumulates(m, 0));
}

static void finish_matmul(Maker *m, TemplateSteps *out, const char *what)
{
	static const char *const stem[] = {"gemm_nt", "gemm_nn", "gemm_tn"};
	int form = (int)m->n->i[0];
	const Type *a = sel_in(m, 0), *c = sel_out(m, 0);
	sel_finish(m, out, arena_printf(m->a, "%s%s%s_%lldx%lld", node_grouped(m->g, m->n) ? "grouped_" : "", stem[form], what,
	                       (long long)(form == 2 ? sel_dim(c, c->rank - 2) : sel_dim(c, 1)),
	                       (long long)(form == 2 ? sel_dim(c, c->rank - 1) : sel_dim(a, 1))),
	       "gemm", "SCRATCH_BYTES");
}

static void make_matmul(Maker *m, TemplateSteps *out)
{
	define_matmul(m, sel_out(m, 0)->dtype);
	sel_define(m, "ADDEND", m->n->nin == 3);
	add_operands(m);
	add_results(m);
	finish_matmul(m, out, "");
}

/* The sum of two products of routed rows: the first stays float32, the second adds to it. */
static void make_sum(Maker *m, const Clusters *cs, const Cluster *cl, TemplateSteps *out)
{
	CostEnv env = {(double)m->o->tokens_max, (double)m->o->seq_max};
	Val product[2];
	Cluster rows;
	sel_products(m, cl, product, &rows);
	Maker second = maker_of(m);
	m->n = graph_def(cs->g, product[0]);
	second.n = graph_def(cs->g, product[1]);
	TemplateArg sum = {.work = 1, .mode = 'w', .rows = ROWS_R, .row_bytes = 4 * sel_dim(sel_out(m, 0), 1)};
	define_matmul(m, DT_f32);
	sel_define(m, "ADDEND", 0);
	add_operands(m);
	m->k.args[m->k.nargs++] = sum;
	finish_matmul(m, out, "");
	define_matmul(&second, sel_out(&second, 0)->dtype);
	text_add(&second.t, "#define D_ELEM float\n");
	sel_define(&second, "ADDEND", 1);
	add_operands(&second);
	sum.mode = 'r';
	second.k.args[second.k.nargs++] = sum;
	second.k.args[second.k.nargs++] = (TemplateArg){.val = cs->g->nodes.v[rows.nodes[0]].out[0], .mode = 'w'};
	finish_matmul(&second, out, "_sum");
	text_free(&second.t);
	for (uint32_t i = 0; i < out->v.n; i++)
		out->v.v[i].flops = op_flops(cs->g, m->n, &env);
}

static void make_head_matmul(Maker *m, TemplateSteps *out)
{
	int form = (int)m->n->i[0];
	const Type *a = sel_in(m, 0), *c = sel_out(m, 0);
	product_elems(m, c->dtype);
	sel_define(m, "FORM", form);
	sel_define(m, "HEADS", form == 2 ? sel_dim(c, 0) : sel_dim(a, 1));
	sel_define(m, "J", form == 2 ? sel_dim(c, 1) : sel_dim(c, 2));
	sel_define(m, "K", form == 2 ? sel_dim(c, 2) : sel_dim(a, 2));
	sel_define(m, "ACC", accumulates(m, 0));
	make_plain(m, out, "head_gemm", "SCRATCH_BYTES");
}

static void make_cross_entropy(Maker *m, TemplateSteps *out)
{
	sel_elem(m, sel_in(m, 0)->dtype);
	sel_define(m, "V", sel_dim(sel_in(m, 0), 1));
	add_operands(m);
	add_results(m);
	m->k.args[m->k.nargs++] = (TemplateArg){.work = 1, .mode = 'w', .rows = ROWS_T, .row_bytes = 8};
	sel_finish(m, out, op_name(m->n->op), "cross_entropy", "SCRATCH_BYTES");
}

static void make_head(Maker *m, TemplateSteps *out)
{
	bool grad = m->n->op == OP_linear_cross_entropy_grad;
	const Type *x = sel_in(m, 0), *w = sel_in(m, 1);
	sel_elem(m, x->dtype);
	sel_define(m, "GRAD", grad);
	sel_define(m, "ACC", grad && accumulates(m, 2));
	sel_define(m, "D", sel_dim(x, 1));
	sel_define(m, "V", sel_dim(w, 0));
	add_operands(m);
	add_results(m);
	m->k.args[m->k.nargs++] = (TemplateArg){.work = 1, .mode = 'w', .row_bytes = 128 * (4 * (sel_dim(w, 0) + 16) + 8)};
	sel_finish(m, out, op_name(m->n->op), "linear_cross_entropy", "SCRATCH_BYTES");
}

/* ---- attention ---- */

/* Are keys gathered: latents that many heads share? */
bool sel_gathers(const Maker *m, uint32_t plain_operands)
{
	return m->n->nin > plain_operands && sel_dim(sel_in(m, 0), 1) / sel_dim(sel_in(m, 1), 1) >= 16;
}

void sel_attention(Maker *m, TemplateSteps *out, uint32_t plain_operands, const char *base)
{
	const Type *q = sel_in(m, 0), *k = sel_in(m, 1), *v = sel_in(m, 2);
	bool selection = m->n->nin > plain_operands;
	sel_define(m, "HEADS", sel_dim(q, 1));
	sel_define(m, "KV_HEADS", sel_dim(k, 1));
	sel_define(m, "HEAD_DIM", sel_dim(q, 2));
	sel_define(m, "V_DIM", sel_dim(v, 2));
	text_add(&m->t, "#define SCALE %.9gf\n", m->n->f[0]);
	if (selection)
		sel_define(m, "SELW", sel_dim(sel_in(m, plain_operands), 1));
	if (m->o->cuda) {
		make_plain(m, out, base, "SCRATCH_BYTES");
		return;
	}
	sel_elem(m, q->dtype);
	sel_define(m, "GATHER", sel_gathers(m, plain_operands));
	add_operands(m);
	add_results(m);
	if (m->n->op == OP_attention_grad && q->dtype == DT_bf16)
		m->k.args[m->k.nargs++] = (TemplateArg){.work = 1, .mode = 'w', .rows = ROWS_T,
		                                        .row_bytes = 4 * (type_row(q) + type_row(k) + type_row(v))};
	sel_finish(m, out, op_name(m->n->op), base, "SCRATCH_BYTES");
}

/* Argument `arg` is a discrete choice of so many words per token. */
static void is_choice(Maker *m, int arg, int64_t words)
{
	m->k.launch.choice = arg + 1;
	m->k.launch.choice_bytes = (int)words * 4;
}

static void make_select_keys(Maker *m, TemplateSteps *out)
{
	sel_define(m, "INDEX_HEADS", sel_dim(sel_in(m, 0), 1));
	sel_define(m, "INDEX_DIM", sel_dim(sel_in(m, 0), 2));
	sel_define(m, "TOP_K", m->n->i[0]);
	sel_define(m, "SELW", sel_dim(sel_out(m, 0), 1));
	is_choice(m, 3, sel_dim(sel_out(m, 0), 1));
	make_plain(m, out, "select_keys", "SCRATCH_BYTES");
}

/* ---- routing and ends ---- */

static void make_top_k(Maker *m, TemplateSteps *out)
{
	sel_define(m, "EXPERTS", sel_dim(sel_in(m, 0), 1));
	sel_define(m, "TOP_K", m->n->i[0]);
	sel_define(m, "GROUPS", m->n->i[1] > 1 ? m->n->i[1] : 1);
	sel_define(m, "KEPT_GROUPS", m->n->i[1] > 1 ? m->n->i[2] : 1);
	is_choice(m, 1, m->n->i[0]);
	make_plain(m, out, "top_k", "SCRATCH_BYTES");
}

static void make_balanced_ids(Maker *m, TemplateSteps *out)
{
	sel_define(m, "TOP_K", m->n->i[0]);
	sel_define(m, "EXPERTS", m->n->i[1]);
	make_plain(m, out, "balanced_ids", "SCRATCH_BYTES");
}

static void make_every_key(Maker *m, TemplateSteps *out)
{
	sel_define(m, "SELW", sel_dim(sel_out(m, 0), 1));
	make_plain(m, out, "every_key", "0");
}

static void make_embedding(Maker *m, TemplateSteps *out)
{
	sel_elem(m, sel_out(m, 0)->dtype);
	sel_define(m, "WIDTH", sel_dim(sel_out(m, 0), 1));
	make_plain(m, out, "embedding", "SCRATCH_BYTES");
}

static void make_embedding_grad(Maker *m, TemplateSteps *out)
{
	sel_elem(m, sel_in(m, 1)->dtype);
	sel_define(m, "WIDTH", sel_dim(sel_out(m, 0), 1));
	sel_define(m, "VOCAB", sel_dim(sel_out(m, 0), 0));
	sel_define(m, "PADDING_IDX", m->n->i[0]);
	sel_define(m, "ACC", accumulates(m, 0));
	make_plain(m, out, "embedding_grad", "SCRATCH_BYTES");
}

void sel_template(Maker *m, TemplateSteps *out)
{
	switch (m->n->op) {
	case OP_matmul: make_matmul(m, out); break;
	case OP_head_matmul: make_head_matmul(m, out); break;
	case OP_linear_cross_entropy:
	case OP_linear_cross_entropy_grad: make_head(m, out); break;
	case OP_cross_entropy_grad: make_cross_entropy(m, out); break;
	case OP_attention: sel_attention(m, out, 3, "attention"); break;
	case OP_attention_grad: sel_attention(m, out, 6, "attention_grad"); break;
	case OP_select_keys: make_select_keys(m, out); break;
	case OP_every_key: make_every_key(m, out); break;
	case OP_top_k: make_top_k(m, out); break;
	case OP_balanced_ids: make_balanced_ids(m, out); break;
	case OP_embedding: make_embedding(m, out); break;
	case OP_embedding_grad: make_embedding_grad(m, out); break;
	default: ice("operator %s has no template", op_name(m->n->op));
	}
}

/* Backward attention of the cuda target computes scores twice: 3 and 4 products where 5 are counted. */
static double share_of(const TemplateStep *s)
{
	return strcmp(s->file, "attention_grad_q.cuh") == 0 ? 3 / 5.0 : strcmp(s->file, "attention_grad_kv.cuh") == 0 ? 4 / 5.0 : 1;
}

TemplateSteps template_steps(Arena *a, const Graph *g, const Node *n, const bool *accumulate, const FnOptions *o)
{
	Maker m = {.a = a, .g = g, .n = n, .accumulate = accumulate, .o = o};
	TemplateSteps out = {0};
	(o->cuda ? cuda_steps : sel_template)(&m, &out);
	text_free(&m.t);
	CostEnv env = {(double)o->tokens_max, (double)o->seq_max};
	bool products = out.v.n && out.v.v[0].product;       /* they have the operator's FLOPs */
	for (uint32_t i = 0; i < out.v.n && !products; i++)
		out.v.v[i].flops = op_flops(g, n, &env) * share_of(&out.v.v[i]);
	return out;
}

TemplateSteps template_fused(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate,
                             const FnOptions *o)
{
	Maker m = {.a = a, .g = cs->g, .accumulate = accumulate, .o = o};
	TemplateSteps out = {0};
	(o->cuda ? cuda_fused : make_sum)(&m, cs, cl, &out);
	text_free(&m.t);
	return out;
}

TemplateStep template_zero(Arena *a, const FnOptions *o, int64_t bytes)
{
	Maker m = {.a = a, .o = o};
	TemplateSteps out = {0};
	sel_define(&m, "BYTES", bytes);
	sel_finish(&m, &out, arena_printf(a, "zero_%lld", (long long)bytes), "zero", "0");
	text_free(&m.t);
	return out.v.v[0];
}

uint32_t kernel_of_step(KernelSet *ks, const TemplateStep *s, const char *access, const char *origin)
{
	const char *head = access ? arena_printf(ks->arena, "/* arguments: %s */\n", access) : "";
	const char *source = arena_printf(ks->arena, "%s%s", head, s->source);
	uint32_t i = kernel_add(ks, s->stem, source, origin, s->file, s->scratch);
	Kernel *k = &ks->kernels.v[i];
	k->launch = s->launch;
	k->launch.access = access ? arena_strdup(ks->arena, access) : NULL;
	k->maps = s->maps;
	k->nmaps = s->nmaps;
	k->missing = s->missing;
	k->tiles = s->tiles;
	k->ntiles = s->ntiles;
	k->flops = s->flops;
	return i;
}

uint32_t template_add(KernelSet *ks, const FnOptions *o, const char *base, const char *macros, const Defines *defines)
{
	Maker m = {.a = ks->arena, .o = o};
	TemplateSteps out = {0};
	for (uint32_t i = 0; defines && i < defines->n; i++)
		sel_define(&m, defines->v[i].name, defines->v[i].value);
	text_add(&m.t, "%s", macros);
	sel_finish(&m, &out, base, base, "SCRATCH_BYTES");
	text_free(&m.t);
	if (out.error)
		vec_push(ks->arena, &ks->problems, ((Problem){.text = out.error}));
	return kernel_of_step(ks, &out.v.v[0], NULL, "");
}
