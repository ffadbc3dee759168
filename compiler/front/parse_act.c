/* parse_act.c - the actions of the grammar that are more than a constructor call.
 *
 * What is wrong with a construct as such is reported here, while its span is at hand: a model in
 * an imported file, a second forward, a tree too deep to walk. Names are checked in resolve.c.
 */
#include "parse.h"

#include <string.h>

void parse_add_import(Parse *p, Name path)
{
	vec_push(p->arena, &p->prog->imports, ((Import){path.s, path.span, p->file}));
}

static const Block *find_block(const Program *prog, const char *name)
{
	for (uint32_t i = 0; i < prog->blocks.n; i++)
		if (strcmp(prog->blocks.v[i]->name.s, name) == 0)
			return prog->blocks.v[i];
	return NULL;
}

void parse_add_block(Parse *p, Span at, Name name, ParamList params, Body *body)
{
	const Block *old = find_block(p->prog, name.s);
	if (old) {
		diag_error(p->diag, name.span, "there is already a block `%s`", name.s);
		diag_note(p->diag, old->name.span, "`%s` is declared here", name.s);
		return;
	}
	if (p->prog->blocks.n == MAX_BLOCKS) {
		diag_error(p->diag, name.span, "there are more than %d blocks", MAX_BLOCKS);
		p->stopped = true;
		return;
	}
	Block *b = ARENA_NEW(p->arena, Block);
	b->name = name;
	b->params = params;
	b->body = body;
	b->span = at;
	vec_push(p->arena, &p->prog->blocks, b);
}

void parse_begin_model(Parse *p, Name name)
{
	p->model = ARENA_NEW(p->arena, ModelDef);
	p->model->name = name;
	p->model->span = name.span;
	if (!p->main) {
		diag_error(p->diag, name.span, "an imported file holds blocks only, not a model");
	} else if (p->prog->model) {
		diag_error(p->diag, name.span, "a file holds one model");
		diag_note(p->diag, p->prog->model->name.span, "the first is `%s`",
		          p->prog->model->name.s);
	} else {
		p->prog->model = p->model;
	}
}

void parse_end_model(Parse *p, Span at)
{
	if (p->model)
		p->model->span = at;
	p->model = NULL;
}

void parse_add_size(Parse *p, Name name, Expr *value)
{
	ModelDef *m = p->model;
	for (uint32_t i = 0; m && i < m->sizes.n; i++) {
		if (strcmp(m->sizes.v[i].name.s, name.s) != 0)
			continue;
		diag_error(p->diag, name.span, "the size `%s` is given twice", name.s);
		diag_note(p->diag, m->sizes.v[i].name.span, "it is first given here");
		return;
	}
	if (m && m->sizes.n == MAX_SIZES) {
		diag_error(p->diag, name.span, "a model has at most %d sizes", MAX_SIZES);
		p->stopped = true;
	} else if (m) {
		vec_push(p->arena, &m->sizes, ((SizeDef){name, p->group, value}));
	}
}

void parse_set_forward(Parse *p, Span at, ParamList params, Body *body)
{
	ModelDef *m = p->model;
	if (!m)
		return;
	if (m->forward) {
		diag_error(p->diag, at, "a model has one forward");
		diag_note(p->diag, m->forward_span, "the first is here");
		return;
	}
	m->params = params;
	m->forward = body;
	m->forward_span = at;
}

Expr *parse_make_number(Parse *p, Span at, ExprKind kind, int64_t i, double f)
{
	Expr *e = ast_leaf(p->arena, kind, at);
	if (kind == EX_INT)
		e->u.i = i;
	else
		e->u.f = f;
	return e;
}

Expr *parse_make_call(Parse *p, Span at, Name name, ExprList args)
{
	Expr *e = ast_list(p->arena, EX_CALL, at, args);
	e->s = name.s;
	e->op_span = name.span;
	return e;
}

Expr *parse_make_weight(Parse *p, Span at, Name name, ExprList dims, Name label, bool buffer)
{
	Expr *e = ast_list(p->arena, EX_WEIGHT, at, dims);
	e->s = name.s;
	e->op_span = name.span;
	e->label = label.s;
	e->label_span = label.span;
	e->u.flag = buffer;
	return e;
}

static bool too_deep(Parse *p, uint32_t depth, Span at)
{
	if (depth <= AST_MAX_DEPTH)
		return false;
	at.end = at.begin + 1;
	diag_error(p->diag, at, "this is nested too deeply (%d levels at most)", AST_MAX_DEPTH);
	return true;
}

Expr *parse_shallow(Parse *p, Expr *e)
{
	return too_deep(p, e->depth, e->span) ? ast_leaf(p->arena, EX_ERROR, e->span) : e;
}

Stmt *parse_checked(Parse *p, Stmt *s)
{
	if (!too_deep(p, s->depth, s->span))
		return s;
	return ast_stmt(p->arena, ST_ERROR, s->span, (NameList){0}, (ExprList){0}, NULL);
}

ParamType parse_type(Parse *p, Span at, Name dtype, ExprList dims)
{
	ParamType t = {.given = true, .dtype = dtype, .span = at};
	const Expr *first = dims.v[0];
	t.rows = first->kind == EX_NAME && strcmp(first->s, "T") == 0;
	for (uint32_t i = t.rows ? 1 : 0; i < dims.n; i++)
		vec_push(p->arena, &t.dims, dims.v[i]);
	return t;
}
