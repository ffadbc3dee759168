/* fn_steps.c - kernels and products of a step, see fn_int.h. */
#include <string.h>

#include "fn_int.h"
#include "row_plan.h"
#include "select.h"

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
	if (scratch)
		text_add(&t, "\nextern const int64_t %s_scratch;\nconst int64_t %s_scratch = %s;\n", name, name, scratch);
	vec_push(ks->arena, &ks->kernels,
	         ((Kernel){.name = name, .source = arena_strdup(ks->arena, t.s), .origin = origin, .template_ = template_}));
	map_set(&ks->index, name, ks->kernels.n - 1);
	text_free(&t);
	return ks->kernels.n - 1;
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

static void add_problem(Build *b, Span span, const char *text)
{
	if (text)
		vec_push(b->ks->arena, &b->ks->problems, ((Problem){span, text}));
}

/* ---- what a kernel does with its arguments: access texts (runtime/rt_prog.h) ---- */

static void add_access(const Build *b, Text *t, char mode, uint32_t k, int64_t nrow)
{
	const FnBuf *f = &b->fn->bufs.v[k];
	static const char *const rows[] = {[ROWS_NONE] = "", [ROWS_T] = "T", [ROWS_R] = "R"};
	text_add(t, t->n ? " " : "");
	if (f->role == BUF_ROPE)
		text_add(t, "%c%uS", mode, f->index * 4);
	else if (nrow)
		text_add(t, "%c%lld", mode, (long long)(f->row_bytes * nrow));
	else
		text_add(t, "%c%lld%s", mode, (long long)f->row_bytes, rows[f->rows]);
	if (f->blocks_of)
		text_add(t, "/%lld", (long long)f->blocks_of);
}

static void add_launch(Build *b, Step *s, const TemplateStep *k, Text *access, Span span)
{
	s->kernel = kernel_of_step(b->ks, k, access->s ? access->s : "", origin(b, span));
	text_free(access);
	fn_add_step(b, *s);
}

/* ---- row code ---- */

static uint32_t row_arg_buf(Build *b, const RowArg *arg, BufRows rows)
{
	if (arg->kind == ROW_ROPE) {
		for (uint32_t i = 0; i < b->fn->bufs.n; i++) {
			const FnBuf *f = &b->fn->bufs.v[i];
			if (f->role == BUF_ROPE && f->index == (uint32_t)arg->d && f->theta == arg->theta)
				return i;
		}
		return fn_add_buf(b, (FnBuf){.role = BUF_ROPE, .index = (uint32_t)arg->d, .theta = arg->theta,
		                             .name = "rope"});
	}
	if (arg->kind == ROW_PARTIAL)
		return fn_add_buf(b, (FnBuf){.role = BUF_LOCAL, .rows = rows, .name = "partial",
		                             .blocks_of = b->o->cuda ? ROW_BLOCK_CUDA : ROW_BLOCK,
		                             .row_bytes = type_row(graph_type(b->g, arg->val)) * 4});
	return fn_value_buf(b, arg->val);
}

static BufRows cluster_rows(const Build *b, const Cluster *cl)
{
	uint32_t region = 0;
	for (uint32_t i = 0; i < cl->n; i++) {
		DimKind d = node_domain(b->g, &b->g->nodes.v[cl->nodes[i]], &region);
		if (d != DIM_CONST)
			return d == DIM_T ? ROWS_T : ROWS_R;
	}
	return ROWS_NONE;
}

/* The second stage of sums over rows on the cuda target: a launch per sum. */
static void add_columns(Build *b, const RowKernel *k, const Step *rows, Span span)
{
	for (uint32_t i = 0; i < k->nargs; i++) {
		if (k->args[i].kind != ROW_PARTIAL)
			continue;
		uint32_t out = 0;
		while (k->args[out].kind != ROW_OUT || k->args[out].val.i != k->args[i].val.i)
			out++;
		const FnBuf *part = &b->fn->bufs.v[rows->arg[i]];
		bool add = k->args[out].accumulate;
		TemplateStep t = template_columns(b->a, b->o, part->row_bytes / 4, part->blocks_of, part->rows == ROWS_R, add);
		Step s = {.kind = STEP_LAUNCH, .span = span, .narg = 2};
		Text access = {0};
		s.arg = ARENA_ARRAY(b->a, uint32_t, 2);
		s.arg[0] = rows->arg[i];
		s.arg[1] = rows->arg[out];
		add_access(b, &access, 'r', s.arg[0], 0);
		add_access(b, &access, add ? 'a' : 'w', s.arg[1], 0);
		add_launch(b, &s, &t, &access, span);
	}
}

/* On the cuda target the kernel leaves a sum over rows in its partial sums. */
static char row_mode(const Build *b, const RowKernel *k, uint32_t i)
{
	const RowArg *arg = &k->args[i];
	bool partial = i + 1 < k->nargs && k->args[i + 1].kind == ROW_PARTIAL && k->args[i + 1].val.i == arg->val.i;
	if (arg->kind == ROW_IN || arg->kind == ROW_ROPE)
		return 'r';
	if (arg->kind != ROW_OUT || !arg->accumulate)
		return 'w';
	return b->o->cuda && partial ? 'r' : 'a';
}

void fn_step_rows(Build *b, const Clusters *cs, const Cluster *cl)
{
	RowKernel k = (b->o->cuda ? row_kernel_cuda : row_kernel_host)(b->a, cs, cl, b->accumulate);
	const Node *first = &b->g->nodes.v[cl->nodes[0]];
	BufRows rows = cluster_rows(b, cl);
	Step s = {.kind = STEP_LAUNCH, .span = first->span, .narg = k.nargs};
	Text access = {0};
	if (k.nargs > GLMC_ARGS && b->o->cuda)
		k.error = arena_printf(b->a, "a fused kernel has %u arguments, %d are possible", k.nargs, GLMC_ARGS);
	add_problem(b, first->span, k.error);
	s.arg = ARENA_ARRAY(b->a, uint32_t, k.nargs);
	for (uint32_t i = 0; i < k.nargs; i++) {
		s.arg[i] = row_arg_buf(b, &k.args[i], rows);
		add_access(b, &access, row_mode(b, &k, i), s.arg[i], 0);
	}
	TemplateStep t = {.stem = arena_printf(b->a, "row_%s", row_plan_stem(b->g, cl)), .source = k.source,
	                  .file = "generated", .scratch = b->o->cuda ? NULL : "SCRATCH_BYTES", .launch = k.launch};
	add_launch(b, &s, &t, &access, first->span);
	if (b->o->cuda)
		add_columns(b, &k, &s, first->span);
}

void fn_step_zero(Build *b, const Node *n)
{
	Step s = {.kind = STEP_LAUNCH, .span = n->span, .narg = 1, .arg = ARENA_ARRAY(b->a, uint32_t, 1)};
	Text access = {0};
	s.arg[0] = fn_value_buf(b, n->out[0]);
	add_access(b, &access, 'w', s.arg[0], 0);
	TemplateStep t = template_zero(b->a, b->o, b->fn->bufs.v[s.arg[0]].row_bytes);
	add_launch(b, &s, &t, &access, n->span);
	b->accumulate[n->out[0].i - 1] = true;
}

/* ---- operators with templates ---- */

/* Working memory of an operator: one buffer per number. */
typedef struct Works {
	int number[8];
	uint32_t buf[8];
	uint32_t n;
} Works;

static uint32_t arg_buf(Build *b, Works *w, const TemplateArg *arg)
{
	if (arg->val.i)
		return fn_value_buf(b, arg->val);
	for (uint32_t i = 0; i < w->n; i++)
		if (w->number[i] == arg->work)
			return w->buf[i];
	if (w->n == LEN(w->number))
		ice("an operator with more than %zu buffers to work in", LEN(w->number));
	w->number[w->n] = arg->work;
	w->buf[w->n] = fn_add_buf(b, (FnBuf){.role = BUF_LOCAL, .rows = arg->rows, .name = "work",
	                                     .row_bytes = arg->row_bytes});
	return w->buf[w->n++];
}

static void add_operator_step(Build *b, Works *w, const TemplateStep *k, Span span)
{
	Step s = {.kind = k->product ? STEP_GEMM : STEP_LAUNCH, .span = span, .narg = k->nargs, .nint = k->nint,
	          .gemm = k->gemm};
	Text access = {0};
	s.arg = ARENA_ARRAY(b->a, uint32_t, k->nargs);
	s.off = ARENA_ARRAY(b->a, uint64_t, k->nargs);
	memcpy(s.n, k->n, sizeof s.n);
	for (uint32_t i = 0; i < k->nargs; i++) {
		const TemplateArg *arg = &k->args[i];
		s.arg[i] = arg_buf(b, w, arg);
		const FnBuf *f = &b->fn->bufs.v[s.arg[i]];
		bool part = arg->nrow && f->rows == ROWS_T;
		s.off[i] = part ? (uint64_t)(arg->row0 * f->row_bytes) : 0;
		add_access(b, &access, arg->mode, s.arg[i], part ? arg->nrow : 0);
	}
	if (!k->product) {
		add_launch(b, &s, k, &access, span);
		return;
	}
	text_free(&access);
	fn_add_step(b, s);
}

void fn_step_operator(Build *b, const Clusters *cs, const Cluster *cl)
{
	const Node *n = &b->g->nodes.v[cl->nodes[0]];
	TemplateSteps steps = cl->n == 1 ? template_steps(b->a, b->g, n, b->accumulate, b->o)
	                                 : template_fused(b->a, cs, cl, b->accumulate, b->o);
	Works w = {.n = 0};
	add_problem(b, n->span, steps.error);
	for (uint32_t i = 0; i < steps.v.n; i++)
		add_operator_step(b, &w, &steps.v.v[i], n->span);
}
