/* from_text.c - `glmc check --from=rp|gir FILE...`: the text forms back in, through the same checks and
 * passes as a build.
 *
 *   rp    the rank programs of one pipeline, one per pipeline rank, in any order: verified
 *   gir   graphs: verified, simplified, differentiated when they are forward graphs, cut in F and B,
 *         fused; -d prints the graph after the passes named (letters of passes.def: L Y A R F)
 */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "driver.h"
#include "pass/addend.h"
#include "pass/simplify.h"
#include "plan/verify.h"

/* ---- rank programs ---- */

typedef struct Programs {
	const RtProg **p;        /* by pipeline rank */
	uint32_t n;
} Programs;

static RtProg *read_program(Comp *c, const char *path)
{
	size_t n = 0;
	char err[200], *text = diag_read(c->diag, c->arena, (Span){0}, "", path, &n);
	RtProg *p = text ? rt_prog_read(text, n, err) : NULL;
	if (text && !p)
		diag_error(c->diag, (Span){0}, "%s: %s", path, err);
	return p;
}

/* Puts a program in its place; every pipeline rank has one. */
static void enter_program(Comp *c, Programs *all, const RtProg *p, const char *path)
{
	if ((uint32_t)p->pp != all->n)
		diag_error(c->diag, (Span){0}, "%s is a program of %d pipeline ranks, but %u files are given", path, p->pp,
		           all->n);
	else if (all->p[p->pp_rank])
		diag_error(c->diag, (Span){0}, "%s: there is another program of pipeline rank %d", path, p->pp_rank);
	else
		all->p[p->pp_rank] = p;
}

static void report(Comp *c, const Findings *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		diag_error(c->diag, (Span){0}, "%s", f->v[i].text);
		for (uint32_t k = 0; k < f->v[i].notes.n; k++)
			diag_note(c->diag, (Span){0}, "%s", f->v[i].notes.v[k]);
	}
}

static void check_programs(Comp *c)
{
	uint32_t n = c->opt->operands.n;
	Programs all = {ARENA_ARRAY(c->arena, const RtProg *, n + 1), n};
	for (uint32_t i = 0; i < n; i++) {
		RtProg *p = read_program(c, c->opt->operands.v[i]);
		if (p)
			enter_program(c, &all, p, c->opt->operands.v[i]);
	}
	if (diag_errors(c->diag))
		return;
	Findings f = verify_programs(c->arena, all.p, (int)n);
	report(c, &f);
}

/* ---- graphs ---- */

static void print(const Comp *c, char letter, const char *what, const Graph *g)
{
	Text t = {0};
	if (!c->opt->letters || !strchr(c->opt->letters, letter))
		return;
	graph_print(g, &t);
	fprintf(stderr, "---- after %s\n%s", what, t.s);
	text_free(&t);
}

static void print_fn(const Comp *c, const Fn *fn)
{
	Text t = {0};
	if (!c->opt->letters || !strchr(c->opt->letters, 'F'))
		return;
	fn_print(fn, &c->kernels, &t);
	fprintf(stderr, "---- after fuse\n%s", t.s);
	text_free(&t);
}

/* What the graph says of its weights. */
static WeightDecl *graph_weights(Arena *a, const Graph *g, uint32_t *n)
{
	*n = 0;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i].op == OP_weight && (uint32_t)g->nodes.v[i].i[0] >= *n)
			*n = (uint32_t)g->nodes.v[i].i[0] + 1;
	WeightDecl *w = ARENA_ARRAY(a, WeightDecl, *n + 1);
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *node = &g->nodes.v[i];
		if (node->op != OP_weight)
			continue;
		const ValInfo *info = graph_val(g, node->out[0]);
		const char *name = info->name ? info->name : arena_printf(a, "w%lld", (long long)node->i[0]);
		w[node->i[0]] = (WeightDecl){.name = name, .type = info->type, .stacked = strstr(name, "{e}") != NULL,
		                             .span = node->span};
	}
	return w;
}

static void check_graph(Comp *c, Graph *g)
{
	FnOptions o = {.ep = 1, .seq_max = c->mesh.seq_max};
	uint32_t n = 0;
	WeightDecl *w = graph_weights(c->arena, g, &n);
	print(c, 'L', "lower", g);
	g = simplify_graph(c->arena, g, c->mesh.seq_max);
	print(c, 'Y', "simplify", g);
	if (!autodiff_possible(g)) {
		print_fn(c, fn_build(c->arena, &c->kernels, c->diag, g, w, n, &o));
		return;
	}
	Joint j = autodiff(c->arena, g, w, n);
	print(c, 'A', "autodiff", j.g);
	j = take_addends(c->arena, &j);
	print(c, 'U', "addend", j.g);
	Split s = split_recompute(c->arena, &j, SPLIT_NORMAL);
	Graph *half[] = {simplify_graph(c->arena, s.f, 0), simplify_graph(c->arena, s.b, 0)};
	for (uint32_t i = 0; i < LEN(half); i++) {
		print(c, 'R', "recompute", half[i]);
		print_fn(c, fn_build(c->arena, &c->kernels, c->diag, half[i], w, n, &o));
	}
}

static void check_graphs(Comp *c)
{
	c->kernels = (KernelSet){.arena = c->arena, .index = map_new(c->arena)};
	for (uint32_t i = 0; i < c->opt->operands.n; i++) {
		const char *path = c->opt->operands.v[i];
		size_t n = 0, at = 0;
		char *text = diag_read(c->diag, c->arena, (Span){0}, "", path, &n);
		if (!text)
			continue;
		uint32_t source = diag_add_source(c->diag, path, text, (uint32_t)n), count = 0;
		for (Graph *g; (g = graph_read_next(c->arena, c->diag, source, &at)); count++)
			check_graph(c, g);
		if (!count && !diag_errors(c->diag))
			diag_error(c->diag, (Span){0}, "%s: there is no graph", path);
	}
}

/* ---- the command ---- */

int command_check_text(Comp *c)
{
	bool rp = strcmp(c->opt->from, "rp") == 0;
	if ((!rp && strcmp(c->opt->from, "gir") != 0) || !c->opt->operands.n) {
		fprintf(stderr, "glmc: `check --from=rp|gir` takes the files to read\n"
		                "help: `glmc --help` lists commands and options\n");
		return ST_USAGE;
	}
	driver_default_mesh(c);
	(rp ? check_programs : check_graphs)(c);
	if (diag_errors(c->diag))
		return ST_INPUT;
	if (!c->opt->quiet)
		printf("%s: no errors\n", c->opt->operands.v[0]);
	return ST_OK;
}
