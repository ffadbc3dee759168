/* select_cuda.c - what the cuda target runs for an operator: products of cuBLASLt where they are
 * dense, templates that say in their heads how they are launched, and sequences of both.
 *
 * Sizes that do not tile are rejected, not padded: sides of weights are multiples of TILE, and a head says what its
 * template takes (`@need`).
 */
#include <string.h>

#include "../base/file.h"
#include "../ir/op_cost.h"
#include "epilogue.h"
#include "select_int.h"

enum {
	TILE = 16,
	BLOCK_SHARED = 232448,   /* bytes of shared memory that a block can have */
	HEAD_TOKENS = 2048       /* tokens whose logits exist at a time */
};

/* ---- templates ---- */

/* Copies of the step for every part; the launch is that of its part. */
static void add_parts(Maker *m, TemplateSteps *out, const char *text, const char *stem)
{
	int parts = 1;
	for (int part = 0; part < parts; part++) {
		vec_push(m->a, &m->defines, ((Define){"PART", part}));
		TemplateHead h = template_head(m->a, m->k.file, text, &m->defines);
		m->defines.n--;
		parts = h.parts;
		if (h.launch.shared > BLOCK_SHARED && !h.error)
			h.error = arena_printf(m->a, "%s needs %d bytes of shared memory for these sizes and tiles, a block has %d", stem,
			                       h.launch.shared, BLOCK_SHARED);
		out->error = out->error ? out->error : h.error;
		TemplateStep s = m->k;
		h.launch.choice = part + 1 == parts ? m->k.launch.choice : 0;
		h.launch.choice_bytes = part + 1 == parts ? m->k.launch.choice_bytes : 0;
		s.launch = h.launch;
		s.maps = h.maps.v;
		s.nmaps = h.maps.n;
		s.stem = parts > 1 ? arena_printf(m->a, "%s_%d", stem, part) : stem;
		for (uint32_t i = 0; i < h.work.n && s.nargs < GLMC_ARGS; i++)
			s.args[s.nargs++] = (TemplateArg){.work = (int)i + 1, .rows = h.work.v[i].rows, .mode = 'w',
			                                  .row_bytes = h.work.v[i].row_bytes};
		s.source = arena_printf(m->a, "%s#define KERNEL_NAME $NAME\n#define LAUNCH_THREADS %d\n#define LAUNCH_SHARED %d\n"
		                        "#define PART %d\n%s#include \"%s\"\n", m->code ? m->code : "",
		                        s.launch.threads, s.launch.shared, part, m->t.s ? m->t.s : "", m->k.file);
		vec_push(m->a, &out->v, s);
	}
}

void cuda_finish(Maker *m, TemplateSteps *out, const char *stem, const char *base)
{
	m->k.stem = stem;
	m->k.file = arena_printf(m->a, "%s.cuh", base);
	char *text = file_read(m->a, path_join(m->a, m->o->templates, m->k.file), NULL);
	if (!text) {
		m->k.missing = true;
		m->k.source = arena_printf(m->a, "#define KERNEL_NAME $NAME\n%s#include \"%s\"\n", m->t.s ? m->t.s : "",
		                           m->k.file);
		vec_push(m->a, &out->v, m->k);
		return;
	}
	uint32_t first = m->defines.n;
	template_tiles(m->a, m->k.file, text, stem, m->o->tune, &m->defines);
	for (uint32_t i = first; i < m->defines.n; i++)
		text_add(&m->t, "#define %s %lld\n", m->defines.v[i].name, (long long)m->defines.v[i].value);
	m->k.ntiles = m->defines.n - first;
	m->k.tiles = m->k.ntiles ? arena_copy(m->a, &m->defines.v[first], m->k.ntiles * sizeof(Define)) : NULL;
	vec_push(m->a, &m->defines, ((Define){"S_MAX", m->o->seq_max}));
	vec_push(m->a, &m->defines, ((Define){"T_MAX", m->o->tokens_max}));
	add_parts(m, out, text, stem);
}

TemplateStep template_columns(Arena *a, const FnOptions *o, int64_t width, int64_t per, bool rows_r, bool acc)
{
	Maker m = {.a = a, .o = o};
	TemplateSteps out = {0};
	sel_define(&m, "WIDTH", width);
	sel_define(&m, "PER", per);
	sel_define(&m, "ROWS_R", rows_r);
	sel_define(&m, "ACC", acc);
	cuda_finish(&m, &out, arena_printf(a, "columns_%lld", (long long)width), "columns");
	text_free(&m.t);
	return out.v.v[0];
}

/* ---- products ---- */

static const char *side(Maker *m, const Dim *d)
{
	return d->name ? arena_printf(m->a, "%s = %lld", d->name, (long long)d->n) : arena_printf(m->a, "%lld", (long long)d->n);
}

/* The sides of a weight, or of its gradient. */
static const char *check_tiles(Maker *m, const Type *w)
{
	const Dim *rows = &w->dim[w->rank - 2], *cols = &w->dim[w->rank - 1];
	if (rows->n % TILE == 0 && cols->n % TILE == 0)
		return NULL;
	return arena_printf(m->a, "the cuda target multiplies by weights whose sides are multiples of %d, this one is [%s, %s]",
	                    TILE, side(m, rows), side(m, cols));
}

static BufRows rows_of(const Type *t)
{
	if (!t->rank || t->dim[0].kind == DIM_CONST)
		return ROWS_NONE;
	return t->dim[0].kind == DIM_T ? ROWS_T : ROWS_R;
}

static TemplateStep product_step(const Gemm *g, TemplateArg a, TemplateArg b, TemplateArg c)
{
	TemplateStep s = {.product = true, .gemm = *g, .nargs = 3};
	a.mode = b.mode = 'r';
	c.mode = g->acc ? 'a' : 'w';
	s.args[0] = a;
	s.args[1] = b;
	s.args[2] = c;
	return s;
}

/* ops.def matmul and head_matmul: a product per head, or one. */
static void make_product(Maker *m, TemplateSteps *out)
{
	const Type *a = sel_in(m, 0), *b = sel_in(m, 1), *c = sel_out(m, 0);
	bool heads = m->n->op == OP_head_matmul;
	Gemm g = {.form = (int)m->n->i[0], .rows = rows_of(a), .a = a->dtype, .b = b->dtype, .c = c->dtype,
	          .acc = m->accumulate[m->n->out[0].i - 1]};
	int last = a->rank - 1;
	g.heads = !heads ? 0 : (int)(g.form == 2 ? sel_dim(c, 0) : sel_dim(a, 1));
	g.nrow = g.rows == ROWS_NONE ? sel_dim(a, 0) : 0;
	g.ncol = g.form == 2 ? sel_dim(c, c->rank - 2) : sel_dim(c, c->rank - 1);
	g.kcol = g.form == 2 ? sel_dim(c, c->rank - 1) : sel_dim(a, last);
	out->error = check_tiles(m, g.form == 2 ? c : b);
	TemplateStep s = product_step(&g, (TemplateArg){.val = m->n->in[0]}, (TemplateArg){.val = m->n->in[1]},
	                              (TemplateArg){.val = m->n->out[0]});
	if (m->n->nin == 3)
		s.args[s.nargs++] = (TemplateArg){.val = m->n->in[2], .mode = 'r'};
	vec_push(m->a, &out->v, s);
}

/* Is every use of v in `n` that of routed rows in a grouped product? */
static bool only_gathers(const Graph *g, const Node *n, Val v)
{
	bool rows = node_grouped(g, n);
	for (uint32_t k = 0; k < n->nin; k++)
		if (n->in[k].i == v.i && (!rows || (k > 0 && n->i[0] != 2)))
			return false;
	return true;
}

Val gathered_tokens(const Graph *g, Val v, const FnOptions *o)
{
	const Node *d = graph_def(g, v);
	if (!o->cuda || o->ep != 1 || d->op != OP_dispatch || graph_type(g, v)->dtype != DT_bf16)
		return NO_VAL;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (!only_gathers(g, &g->nodes.v[i], v))
			return NO_VAL;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].val.i == v.i)
			return NO_VAL;
	return d->in[0];
}

/* The operands of a grouped product, and GATHER. */
static void grouped_operands(Maker *m)
{
	int gather = 0;
	for (uint32_t i = 0; i < 2; i++) {
		Val tokens = gathered_tokens(m->g, m->n->in[i], m->o);
		gather |= tokens.i ? 1 << i : 0;
		sel_arg(m, tokens.i ? tokens : m->n->in[i]);
	}
	sel_define(m, "GATHER", gather);
}

static void define_grouped(Maker *m, const Epilogue *e, bool second)
{
	const Type *a = sel_in(m, 0), *b = sel_in(m, 1), *c = sel_out(m, 0);
	int form = (int)m->n->i[0];
	sel_define(m, "FORM", form);
	sel_define(m, "N", sel_dim(c, 1));
	sel_define(m, "K", form == 2 ? sel_dim(c, 2) : sel_dim(a, 1));
	sel_define(m, "EXPERTS", (form == 2 ? m->n->i[1] : sel_dim(b, 0)) / m->o->ep);
	sel_define(m, "ACC", !e->outs && m->accumulate[m->n->out[0].i - 1]);
	sel_define(m, "C_F32", !e->outs && c->dtype == DT_f32);
	sel_define(m, "PAIRED", second && e->outs);
	sel_define(m, "SUMMED", second && !e->outs);
	sel_define(m, "EPILOGUE_OUTS", e->outs);
	sel_define(m, "EPILOGUE_SUMS", e->sums);
	sel_define(m, "EPILOGUE_HEAVY", e->heavy);
}

/* The product of node m->n: alone; or with an epilogue, which gives its name to the kernel, and perhaps with a second
 * one of the same rows; or its sum with a second one. `result`: what has no epilogue makes. */
static void make_grouped(Maker *m, TemplateSteps *out, const Epilogue *e, const Node *second, Val result)
{
	static const char *const form[] = {"nt", "nn", "tn"};
	const Type *a = sel_in(m, 0), *b = sel_in(m, 1), *c = sel_out(m, 0);
	out->error = check_tiles(m, m->n->i[0] == 2 ? c : b);
	if (!out->error && (a->dtype != DT_bf16 || b->dtype != DT_bf16))
		out->error = "the cuda target multiplies the rows of experts in bfloat16 only";
	if (!out->error && e->outs + e->ins + 4 > GLMC_ARGS)
		out->error = arena_printf(m->a, "a product with an epilogue has %u arguments, %d are possible", e->outs + e->ins + 4,
		                          GLMC_ARGS);
	define_grouped(m, e, second != NULL);
	grouped_operands(m);
	if (second && !e->outs)
		sel_arg(m, second->in[0]);
	if (second)
		sel_arg(m, second->in[1]);
	for (uint32_t i = 0; i < e->outs + e->ins && m->k.nargs < GLMC_ARGS; i++)
		m->k.args[m->k.nargs++] = (TemplateArg){.val = e->args[i].val, .mode = i < e->outs ? 'w' : 'r'};
	if (!e->outs)
		m->k.args[m->k.nargs++] = (TemplateArg){.val = result, .mode = m->accumulate[result.i - 1] ? 'a' : 'w'};
	if (e->sums)
		sel_define(m, "EPILOGUE_WORK", m->k.nargs);
	m->code = e->source;
	const char *stem = e->outs ? e->stem : second ? "sum" : NULL;
	cuda_finish(m, out, arena_printf(m->a, "grouped_%s%s%s_%lldx%lld", form[m->n->i[0]], stem ? "_" : "",
	                                 stem ? stem : "", (long long)sel_dim(c, 1),
	                                 (long long)(m->n->i[0] == 2 ? sel_dim(c, 2) : sel_dim(a, 1))), "grouped_gemm");
}

/* The second stage of an epilogue's sums: adds those of the tiles that the first kernel leaves, its last argument. */
static void make_row_sums(Maker *m, TemplateSteps *out, const Epilogue *e)
{
	Maker sums = maker_of(m);
	const TemplateStep *first = &out->v.v[0];
	TemplateArg work = first->args[first->nargs - 1];
	sel_define(&sums, "SUMS", e->sums);
	sel_define(&sums, "TILES", work.row_bytes / (4 * (int64_t)e->sums));
	sel_define(&sums, "SUM_F32", e->sum_f32);
	work.mode = 'r';
	sums.k.args[sums.k.nargs++] = work;
	for (uint32_t i = 0; i < e->sums; i++)
		sums.k.args[sums.k.nargs++] = (TemplateArg){.val = e->args[e->outs + e->ins + i].val, .mode = 'w'};
	cuda_finish(&sums, out, "row_sums", "row_sums");
	text_free(&sums.t);
}

void cuda_fused(Maker *m, const Clusters *cs, const Cluster *cl, TemplateSteps *out)
{
	CostEnv env = {(double)m->o->tokens_max, (double)m->o->seq_max};
	Val product[EPILOGUE_PRODUCTS];
	Cluster rows;
	uint32_t n = sel_products(m, cl, product, &rows);
	m->n = graph_def(cs->g, product[0]);
	const Node *second = n > 1 ? graph_def(cs->g, product[1]) : NULL;
	bool sum = second && value_root(cs->g, m->n->in[0]).i != value_root(cs->g, second->in[0]).i;
	Epilogue e = {0};
	if (!sum)
		e = epilogue_make(m->a, cs, &rows, m->accumulate, product, n, 1 + n);
	make_grouped(m, out, &e, second, sum ? cs->g->nodes.v[rows.nodes[0]].out[0] : NO_VAL);
	out->v.v[0].flops = n * op_flops(cs->g, m->n, &env);
	if (e.sums)
		make_row_sums(m, out, &e);
}

/* ---- attention: one kernel forward, or over gathered latents; two backward ---- */

/* Most keys of a row of the selection, where that is known. */
static int64_t most_keys(const Maker *m, uint32_t selection)
{
	const Node *n = graph_def(m->g, value_root(m->g, m->n->in[selection]));
	int64_t all = 32 * sel_dim(sel_in(m, selection), 1);
	return n->op == OP_select_keys && n->i[0] < all ? n->i[0] : all;
}

static void make_attention(Maker *m, TemplateSteps *out)
{
	if (!sel_gathers(m, 3)) {
		sel_attention(m, out, 3, "attention");
		return;
	}
	sel_define(m, "TOP_K", most_keys(m, 3));
	sel_attention(m, out, 3, "attention_absorbed");
}

static void make_attention_grad(Maker *m, TemplateSteps *out)
{
	Maker keys = maker_of(m);
	if (sel_gathers(m, 6)) {
		sel_attention(m, out, 6, "attention_absorbed_grad");
		return;
	}
	sel_attention(m, out, 6, "attention_grad_q");
	sel_attention(&keys, out, 6, "attention_grad_kv");
	text_free(&keys.t);
}

/* ---- the head: slices of tokens, their logits, the loss and its gradient in place, products ---- */

enum { WORK_LOGITS = 1, WORK_LOSSES = 2 };

static TemplateArg losses_arg(char mode)
{
	return (TemplateArg){.work = WORK_LOSSES, .rows = ROWS_T, .row_bytes = 8, .mode = mode};
}

/* Rows row0 .. row0+nrow-1 of a value. */
static TemplateArg slice(Val v, int64_t row0, int64_t nrow, char mode)
{
	return (TemplateArg){.val = v, .row0 = row0, .nrow = nrow, .mode = mode};
}

/* The losses of rows row0 .. row0+nrow-1 of logits and their gradient: a value where the operator has one as its
 * result, else in place. */
static void make_losses(Maker *m, TemplateSteps *out, TemplateArg logits, int64_t row0, int64_t nrow)
{
	Maker part = maker_of(m);
	bool plain = m->n->op == OP_cross_entropy_grad;
	sel_define(&part, "GRAD", m->n->op != OP_linear_cross_entropy);
	if (plain)
		sel_define(&part, "APART", 1);
	sel_define(&part, "VOCAB", plain ? sel_dim(sel_in(m, 0), 1) : sel_dim(sel_in(m, 1), 0));
	sel_elem(&part, sel_in(m, 0)->dtype);
	logits.mode = plain ? 'r' : 'a';
	part.k.args[0] = logits;
	part.k.args[1] = (TemplateArg){.val = m->n->in[m->n->nin - 1], .mode = 'r'};
	part.k.args[2] = losses_arg('w');
	part.k.nargs = 3;
	if (plain)
		sel_arg(&part, m->n->out[1]);
	part.k.nint = 2;
	part.k.n[0] = row0;
	part.k.n[1] = nrow;
	cuda_finish(&part, out, "cross_entropy", "cross_entropy");
	text_free(&part.t);
}

static void make_loss_sum(Maker *m, TemplateSteps *out)
{
	Maker sum = maker_of(m);
	sum.k.args[0] = losses_arg('r');
	sum.k.args[1] = (TemplateArg){.val = m->n->out[0], .mode = 'w'};
	sum.k.nargs = 2;
	cuda_finish(&sum, out, "loss_sum", "loss_sum");
}

static void make_slice(Maker *m, TemplateSteps *out, TemplateArg logits, int64_t row0, int64_t nrow)
{
	Val x = m->n->in[0], w = m->n->in[1];
	const Type *tx = sel_in(m, 0), *tw = sel_in(m, 1);
	int64_t d = sel_dim(tx, 1), v = sel_dim(tw, 0);
	Gemm g = {.rows = ROWS_T, .row0 = row0, .nrow = nrow, .ncol = v, .kcol = d, .a = tx->dtype, .b = tw->dtype,
	          .c = tx->dtype};
	vec_push(m->a, &out->v, product_step(&g, slice(x, row0, nrow, 'r'), (TemplateArg){.val = w}, logits));
	make_losses(m, out, logits, row0, nrow);
	if (m->n->op == OP_linear_cross_entropy)
		return;
	Val dx = m->n->out[1], dw = m->n->out[2];
	g.form = 1;
	g.ncol = d;
	g.kcol = v;
	vec_push(m->a, &out->v, product_step(&g, logits, (TemplateArg){.val = w}, slice(dx, row0, nrow, 'w')));
	g.form = 2;
	g.ncol = v;
	g.kcol = d;
	g.c = graph_type(m->g, dw)->dtype;
	g.acc = row0 > 0 || m->accumulate[dw.i - 1];
	vec_push(m->a, &out->v, product_step(&g, logits, slice(x, row0, nrow, 'r'), (TemplateArg){.val = dw}));
}

static void make_head(Maker *m, TemplateSteps *out)
{
	const Type *x = sel_in(m, 0), *w = sel_in(m, 1);
	int64_t t = m->o->tokens_max, slices = (t + HEAD_TOKENS - 1) / HEAD_TOKENS, rows = (t + slices - 1) / slices;
	int64_t row = sel_dim(w, 0) * (int64_t)dtype_size(x->dtype);
	TemplateArg logits = {.work = WORK_LOGITS, .row_bytes = rows * row};
	out->error = check_tiles(m, w);
	for (int64_t row0 = 0; row0 < t; row0 += rows) {
		int64_t nrow = t - row0 < rows ? t - row0 : rows;
		logits.nrow = nrow;
		make_slice(m, out, logits, row0, nrow);
	}
	make_loss_sum(m, out);
}

/* Logits that exist as a value: those of all tokens at a time. */
static void make_plain_loss(Maker *m, TemplateSteps *out)
{
	make_losses(m, out, (TemplateArg){.val = m->n->in[0]}, 0, m->o->tokens_max);
	make_loss_sum(m, out);
}

static void make_select_keys(Maker *m, TemplateSteps *out)
{
	sel_template(m, out);
	if (sel_in(m, 0)->dtype != DT_bf16 || sel_in(m, 1)->dtype != DT_bf16)
		out->error = "the cuda target scores keys by queries and keys in bfloat16 only";
}

void cuda_steps(Maker *m, TemplateSteps *out)
{
	const Node *n = m->n;
	if (node_grouped(m->g, n))
		make_grouped(m, out, &(Epilogue){0}, NULL, n->out[0]);
	else if (n->op == OP_matmul || n->op == OP_head_matmul)
		make_product(m, out);
	else if (n->op == OP_linear_cross_entropy || n->op == OP_linear_cross_entropy_grad)
		make_head(m, out);
	else if (n->op == OP_select_keys)
		make_select_keys(m, out);
	else if (n->op == OP_cross_entropy_grad)
		make_plain_loss(m, out);
	else if (n->op == OP_attention)
		make_attention(m, out);
	else if (n->op == OP_attention_grad)
		make_attention_grad(m, out);
	else
		sel_template(m, out);
}
