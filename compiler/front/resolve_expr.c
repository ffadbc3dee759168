/* resolve_expr.c - names and arity in expressions. See resolve.h. */
#include <string.h>

#include "resolve_int.h"
#include "template.h"

enum { MAX_CANDIDATES = 512 };

static void suggest(Resolve *r, const char *name, const char *const *c, uint32_t n)
{
	const char *near = closest(name, c, n);
	if (near)
		diag_help(r->diag, "did you mean `%s`?", near);
}

static void unknown_name(Resolve *r, Span at, const char *name)
{
	const char *c[MAX_CANDIDATES], *once = arena_printf(r->arena, "%u %s", at.file, name);
	uint32_t n = 0;
	const ModelDef *m = r->prog->model;
	if (map_get(&r->unknown, once, NULL))
		return;
	map_set(&r->unknown, once, 1);
	diag_error(r->diag, at, "`%s` is not defined", name);
	for (uint32_t i = 0; i < r->locals.n && n < MAX_CANDIDATES; i++)
		c[n++] = r->locals.v[i].name;
	for (uint32_t i = 0; i < r->sizes && n < MAX_CANDIDATES; i++)
		c[n++] = m->sizes.v[i].name.s;
	if (closest(name, c, n))
		suggest(r, name, c, n);
	else if (at.file != r->prog->main_file)
		diag_help(r->diag, "blocks use the sizes of the model: give `%s` in model `%s`", name,
		          m->name.s);
}

static void check_name(Resolve *r, Span at, const char *name)
{
	const Local *l = resolve_local(r, name);
	if (l && l->partial) {
		diag_error(r->diag, at, "`%s` has a value in one branch of an `if` only", name);
		diag_note(r->diag, l->span, "it is assigned here");
		diag_help(r->diag, "assign it in the other branch too, or before the `if`");
		return;
	}
	if (l || resolve_size(r, name))
		return;
	if (strcmp(name, "T") == 0) {
		diag_error(r->diag, at, "`T`, the number of tokens, is known at run time only");
		return;
	}
	if (resolve_block(r, name) || fn_find(name)) {
		diag_error(r->diag, at, "`%s` is a %s: call it", name,
		           fn_find(name) ? "function" : "block");
		return;
	}
	const ModelDef *m = r->prog->model;
	for (uint32_t i = r->sizes; i < m->sizes.n; i++) {
		if (strcmp(m->sizes.v[i].name.s, name) != 0)
			continue;
		diag_error(r->diag, at, "the size `%s` is used before it is given", name);
		diag_note(r->diag, m->sizes.v[i].name.span, "it is given here");
		return;
	}
	unknown_name(r, at, name);
}

/* `label` is the index of stacked tensors: it must occur, and is no variable. */
static void check_template(Resolve *r, Span at, const char *s, const char *label, Span label_at)
{
	size_t pos = 0;
	bool bad, labelled = false;
	TemplatePart part;
	while (template_next(r->arena, s, &pos, &part, &bad)) {
		if (bad) {
			diag_error(r->diag, at, "braces in a name hold one variable, as in \"layers.{i}\"");
			return;
		}
		if (part.is_name && label && strcmp(part.text, label) == 0)
			labelled = true;
		else if (part.is_name)
			check_name(r, at, part.text);
	}
	if (label && !labelled) {
		diag_error(r->diag, label_at, "the name of the weight does not contain `{%s}`", label);
		diag_help(r->diag, "a stacked weight is one checkpoint tensor per `%s`: put `{%s}` where "
		                   "its number stands", label, label);
	}
}

static void check_weight(Resolve *r, const Expr *e)
{
	if (r->in_size) {
		diag_error(r->diag, e->span, "a size is a number, a text or a list");
		return;
	}
	if (e->s[0] == '\0')
		diag_error(r->diag, e->op_span, "a weight needs a name");
	check_template(r, e->op_span, e->s, e->label, e->label_span);
	for (uint32_t i = 0; i < e->list.n; i++)
		resolve_single(r, e->list.v[i]);
	if (e->list.n > 4)
		diag_error(r->diag, e->span, "a weight has at most 4 dimensions");
}

static void unknown_function(Resolve *r, const Expr *e)
{
	const char *c[MAX_CANDIDATES];
	uint32_t n = 0;
	for (int i = 0; i < FN_COUNT; i++)
		c[n++] = fn_get((FnId)i)->name;
	for (uint32_t i = 0; i < r->prog->blocks.n && n < MAX_CANDIDATES; i++)
		c[n++] = r->prog->blocks.v[i]->name.s;
	diag_error(r->diag, e->op_span, "there is no block or function `%s`", e->s);
	if (closest(e->s, c, n))
		suggest(r, e->s, c, n);
	else
		diag_help(r->diag, "is an import missing? the common blocks are in \"std.glm\"");
}

static const char *plural(uint32_t n)
{
	return n == 1 ? "" : "s";
}

static int call_block(Resolve *r, const Expr *e, Block *b)
{
	uint32_t need = 0, n = e->list.n, most = b->params.n;
	while (need < most && !b->params.v[need].init)
		need++;
	if (n < need || n > most) {
		diag_error(r->diag, e->op_span, "`%s` takes %s%u argument%s, %u given", e->s,
		           need < most ? (n < need ? "at least " : "at most ") : "",
		           n < need ? need : most, plural(n < need ? need : most), n);
		diag_note(r->diag, b->name.span, "`%s` is declared here", e->s);
	}
	vec_push(r->arena, &r->todo, b);
	const Stmt *last = b->body->stmts.n ? vec_last(&b->body->stmts) : NULL;
	return last && last->kind == ST_RETURN ? (int)last->exprs.n : RESULTS_UNKNOWN;
}

static int call_function(Resolve *r, const Expr *e, const Fn *f)
{
	uint32_t n = e->list.n;
	if (n < f->lo || n > f->hi || (f == fn_get(FN_top_k) && n == 3)) {
		diag_error(r->diag, e->op_span, "wrong number of arguments for `%s`: %u given", f->name, n);
		diag_help(r->diag, "write `%s`", f->sig);
	}
	if (e->at)
		diag_error(r->diag, e->at_span, "`%s` has no weights: `at` is for blocks", f->name);
	if (r->in_size && f->kind != FN_NUMBER && f->kind != FN_BOTH)
		diag_error(r->diag, e->span, "a size is a number, a text or a list");
	if (f->kind == FN_EFFECT)
		return 0;
	return f == fn_get(FN_split) ? (int)n - 1 : 1;
}

static int check_call(Resolve *r, const Expr *e)
{
	Block *b = resolve_block(r, e->s);
	const Fn *f = fn_find(e->s);
	for (uint32_t i = 0; i < e->list.n; i++)
		resolve_single(r, e->list.v[i]);
	if (e->at)
		check_template(r, e->at_span, e->at, NULL, e->at_span);
	if (f)
		return call_function(r, e, f);
	if (b && !r->in_size)
		return call_block(r, e, b);
	if (b)
		diag_error(r->diag, e->span, "a size is a number, a text or a list");
	else
		unknown_function(r, e);
	return RESULTS_UNKNOWN;
}

int resolve_branches(Resolve *r, const Expr *e)
{
	uint32_t base = r->locals.n;
	resolve_single(r, e->a);
	int yes = resolve_expr(r, e->b);
	uint32_t mid = r->locals.n;
	VEC(Local) first = {0};
	for (uint32_t i = base; i < mid; i++)
		vec_push(r->arena, &first, r->locals.v[i]);
	r->locals.n = base;
	int no = e->c ? resolve_expr(r, e->c) : 0;
	for (uint32_t i = base; i < r->locals.n; i++)
		r->locals.v[i].partial = true;
	for (uint32_t i = 0; i < first.n; i++) {
		Local *both = resolve_local(r, first.v[i].name);
		if (both && (uint32_t)(both - r->locals.v) >= base) {
			both->partial = first.v[i].partial;
		} else {
			first.v[i].partial = true;
			vec_push(r->arena, &r->locals, first.v[i]);
		}
	}
	if (yes < 0 || no < 0)
		return RESULTS_UNKNOWN;
	if (e->c && yes > 0 && no > 0 && yes != no) {
		diag_error(r->diag, e->span, "one branch has %d value%s, the other %d", yes,
		           plural((uint32_t)yes), no);
		return RESULTS_UNKNOWN;
	}
	return yes < no ? yes : no;
}

int resolve_expr(Resolve *r, const Expr *e)
{
	switch (e->kind) {
	case EX_NAME:
		check_name(r, e->span, e->s);
		return 1;
	case EX_LIST:
		for (uint32_t i = 0; i < e->list.n; i++)
			resolve_single(r, e->list.v[i]);
		return 1;
	case EX_UNARY:
	case EX_TRANSPOSE:
		resolve_single(r, e->a);
		return 1;
	case EX_BINARY:
	case EX_INDEX:
		resolve_single(r, e->a);
		resolve_single(r, e->b);
		return 1;
	case EX_CALL:
		return check_call(r, e);
	case EX_WEIGHT:
		check_weight(r, e);
		return 1;
	case EX_IF:
		return resolve_branches(r, e);
	case EX_BLOCK:
		return resolve_body(r, e->body);
	default:
		return 1;
	}
}

void resolve_single(Resolve *r, const Expr *e)
{
	int n = resolve_expr(r, e);
	if (n == 0 && e->kind == EX_IF)
		diag_error(r->diag, e->span, "this `if` has no value in one of its branches");
	else if (n == 0)
		diag_error(r->diag, e->span, "this has no value");
	else if (n > 1)
		diag_error(r->diag, e->span, "this has %d values where one is needed", n);
	if (n > 1)
		diag_help(r->diag, "assign them to names first: `a, b = ...`");
}
