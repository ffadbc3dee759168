/* resolve.c - blocks, statements and the shape of the model. See resolve.h.
 *
 * Blocks are checked in the order in which they are first called, each once. A circle of calls
 * is found by a depth-first walk over the bodies; it would make the expansion endless.
 */
#include "resolve.h"

#include <string.h>

#include "resolve_int.h"
#include "scan_parse.h"

enum { MAX_CALLS = 2000 };

Local *resolve_local(Resolve *r, const char *name)
{
	for (uint32_t i = r->locals.n; i > 0; i--)
		if (strcmp(r->locals.v[i - 1].name, name) == 0)
			return &r->locals.v[i - 1];
	return NULL;
}

const SizeDef *resolve_size(const Resolve *r, const char *name)
{
	const ModelDef *m = r->prog->model;
	for (uint32_t i = 0; i < r->sizes; i++)
		if (strcmp(m->sizes.v[i].name.s, name) == 0)
			return &m->sizes.v[i];
	return NULL;
}

Block *resolve_block(const Resolve *r, const char *name)
{
	for (uint32_t i = 0; i < r->prog->blocks.n; i++)
		if (strcmp(r->prog->blocks.v[i]->name.s, name) == 0)
			return r->prog->blocks.v[i];
	return NULL;
}

static void add_local(Resolve *r, Name name, LocalKind kind)
{
	if (r->locals.n >= MAX_LOCALS) {
		if (r->locals.n == MAX_LOCALS)
			diag_error(r->diag, name.span, "a block has at most %d variables", MAX_LOCALS);
		else
			return;
	}
	vec_push(r->arena, &r->locals, ((Local){name.s, name.span, kind, false}));
}

static void assign(Resolve *r, Name name)
{
	Local *l = resolve_local(r, name.s);
	const SizeDef *s = resolve_size(r, name.s);
	if (strcmp(name.s, "T") == 0) {
		diag_error(r->diag, name.span, "`T` is the number of tokens and cannot be assigned");
	} else if (l && l->kind == LOCAL_INDEX) {
		diag_error(r->diag, name.span, "`%s` counts the layers and cannot be assigned", name.s);
	} else if (l && l->kind == LOCAL_INPUT) {
		diag_error(r->diag, name.span, "`%s` is an input and cannot be assigned", name.s);
	} else if (l && !l->partial) {
		return;
	} else if (l) {
		l->partial = false;
	} else if (s) {
		diag_error(r->diag, name.span, "`%s` is a size of the model and cannot be assigned", name.s);
		diag_note(r->diag, s->name.span, "it is given here");
	} else {
		add_local(r, name, LOCAL_VAR);
	}
}

static void check_assign(Resolve *r, const Stmt *s)
{
	int n = resolve_expr(r, s->exprs.v[0]);
	uint32_t names = s->names.n;
	if (n == 0)
		diag_error(r->diag, s->exprs.v[0]->span, "this has no value to assign");
	else if (n > 0 && (uint32_t)n != names)
		diag_error(r->diag, s->span, "%d value%s for %u name%s", n, n == 1 ? "" : "s", names,
		           names == 1 ? "" : "s");
	for (uint32_t i = 0; i < names; i++) {
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(s->names.v[i].s, s->names.v[j].s) == 0)
				diag_error(r->diag, s->names.v[i].span, "`%s` is assigned twice", s->names.v[i].s);
		assign(r, s->names.v[i]);
	}
}

/* An expression as a statement: an effect, or an `if` of such. `last`: it may be a value. */
static int check_plain(Resolve *r, const Stmt *s, bool last)
{
	const Expr *e = s->exprs.v[0];
	int n = resolve_expr(r, e);
	if (n > 0 && !last) {
		diag_error(r->diag, e->span, "the value of this statement is not used");
		diag_help(r->diag, "assign it: `name = ...`");
	}
	return n;
}

static int check_stmt(Resolve *r, const Stmt *s, bool last)
{
	switch (s->kind) {
	case ST_ASSIGN:
		check_assign(r, s);
		return 0;
	case ST_EXPR:
		return check_plain(r, s, last);
	case ST_RETURN:
		r->misplaced = true;
		diag_error(r->diag, s->span, "`return` is the last statement of a block or of forward");
		return 0;
	case ST_REPEAT:
		diag_error(r->diag, s->span, "`repeat` stands in forward, not inside another block");
		return 0;
	case ST_ERROR:
		break;
	}
	return RESULTS_UNKNOWN;
}

int resolve_body(Resolve *r, const Body *b)
{
	int n = 0;
	for (uint32_t i = 0; i < b->stmts.n; i++)
		n = check_stmt(r, b->stmts.v[i], i + 1 == b->stmts.n);
	return n;
}

static void check_repeat(Resolve *r, const Stmt *s)
{
	Name index = s->names.v[0];
	uint32_t base = r->locals.n;
	resolve_single(r, s->exprs.v[0]);
	if (resolve_local(r, index.s) || resolve_size(r, index.s))
		diag_error(r->diag, index.span, "`%s` is already a name: choose another index", index.s);
	add_local(r, index, LOCAL_INDEX);
	if (s->at[0])
		resolve_expr(r, &(Expr){.kind = EX_WEIGHT, .s = s->at, .span = s->at_span, .op_span = s->at_span});
	for (uint32_t i = 0; i < s->body->stmts.n; i++)
		check_stmt(r, s->body->stmts.v[i], false);
	r->locals.n = base;
}

static void check_return(Resolve *r, const Body *b, Span at, const char *what)
{
	const Stmt *last = b->stmts.n ? vec_last(&b->stmts) : NULL;
	if (!last || last->kind != ST_RETURN) {
		if (!r->misplaced)
			diag_error(r->diag, at, "%s does not end with `return`", what);
		return;
	}
	for (uint32_t i = 0; i < last->exprs.n; i++)
		resolve_single(r, last->exprs.v[i]);
}

static void check_type(Resolve *r, const ParamType *t)
{
	static const char *const names[] = {"f32", "bf16", "i32", "u32", "f64"};
	bool known = !t->dtype.s;
	for (size_t i = 0; i < LEN(names) && !known; i++)
		known = strcmp(names[i], t->dtype.s) == 0;
	if (!known) {
		diag_error(r->diag, t->dtype.span, "there is no dtype `%s`", t->dtype.s);
		diag_help(r->diag, "f32, bf16, i32, u32, f64, or none at all");
	}
	for (uint32_t i = 0; i < t->dims.n; i++)
		resolve_single(r, t->dims.v[i]);
}

static void add_params(Resolve *r, const ParamList *params, LocalKind kind)
{
	bool defaults = false;
	for (uint32_t i = 0; i < params->n; i++) {
		const Param *q = &params->v[i];
		if (q->init)
			resolve_single(r, q->init);
		else if (defaults)
			diag_error(r->diag, q->name.span, "`%s` needs a default, as the one before it has one",
			           q->name.s);
		defaults |= q->init != NULL;
		check_type(r, &q->type);
		if (resolve_local(r, q->name.s))
			diag_error(r->diag, q->name.span, "there are two parameters `%s`", q->name.s);
		if (strcmp(q->name.s, "T") == 0)
			diag_error(r->diag, q->name.span, "`T` is the number of tokens: choose another name");
		add_local(r, q->name, kind);
	}
}

static void check_block(Resolve *r, Block *b)
{
	r->locals.n = 0;
	r->misplaced = false;
	if (fn_find(b->name.s))
		diag_error(r->diag, b->name.span, "`%s` is a function of the language: choose another name",
		           b->name.s);
	add_params(r, &b->params, LOCAL_PARAM);
	const StmtList *l = &b->body->stmts;
	const Stmt *last = l->n ? vec_last(l) : NULL;
	bool returns = last && last->kind == ST_RETURN;
	for (uint32_t i = 0; i + (returns ? 1 : 0) < l->n; i++)
		check_stmt(r, l->v[i], false);
	check_return(r, b->body, b->name.span, arena_printf(r->arena, "block `%s`", b->name.s));
	b->results = returns ? last->exprs.n : 1;
}

static bool is_tokens(const Param *q, const char *name)
{
	return strcmp(q->name.s, name) == 0 && q->type.given && q->type.rows && q->type.dims.n == 0 &&
	       q->type.dtype.s && strcmp(q->type.dtype.s, "i32") == 0;
}

static void check_forward(Resolve *r, const ModelDef *m)
{
	const ParamList *q = &m->params;
	uint32_t repeats = 0;
	if (q->n != 2 || !is_tokens(&q->v[0], "tokens") || !is_tokens(&q->v[1], "labels")) {
		diag_error(r->diag, m->forward_span, "forward takes the tokens and the labels");
		diag_help(r->diag, "write `forward(tokens: i32[T], labels: i32[T])`");
		return;
	}
	r->locals.n = 0;
	r->misplaced = false;
	add_params(r, q, LOCAL_INPUT);
	const StmtList *l = &m->forward->stmts;
	for (uint32_t i = 0; i < l->n; i++) {
		const Stmt *s = l->v[i];
		if (s->kind == ST_RETURN && i + 1 == l->n)
			continue;
		if (s->kind != ST_REPEAT) {
			check_stmt(r, s, false);
			continue;
		}
		if (repeats++ > 0)
			diag_error(r->diag, s->span, "forward has one `repeat`, this is another");
		check_repeat(r, s);
	}
	if (repeats == 0) {
		diag_error(r->diag, m->forward_span, "forward has no `repeat` over the layers");
		diag_help(r->diag, "write `repeat i < num_hidden_layers at \"model.layers.{i}\" { ... }`");
	}
	check_return(r, m->forward, m->forward_span, "forward");
	if (l->n && vec_last(l)->kind == ST_RETURN && vec_last(l)->exprs.n != 1)
		diag_error(r->diag, vec_last(l)->span, "forward returns the loss alone");
}

static void check_sizes(Resolve *r, const ModelDef *m)
{
	r->in_size = true;
	for (r->sizes = 0; r->sizes < m->sizes.n; r->sizes++) {
		const SizeDef *s = &m->sizes.v[r->sizes];
		resolve_single(r, s->value);
		if (strcmp(s->name.s, "T") == 0)
			diag_error(r->diag, s->name.span, "`T` is the number of tokens: choose another name");
	}
	r->in_size = false;
}

/* Depth-first search for a circle of calls; the state of a block is its entry in `seen`. */
typedef struct Circle {
	Resolve *r;
	VEC(const Block *) open, done;
	uint32_t depth;          /* of the walk, over all open blocks */
	bool found;
} Circle;

static void circle_body(Circle *c, const Body *b);

static void circle_call(Circle *c, const Expr *e)
{
	const Block *b = resolve_block(c->r, e->s);
	if (!b || c->found)
		return;
	for (uint32_t i = 0; i < c->done.n; i++)
		if (c->done.v[i] == b)
			return;
	for (uint32_t i = 0; i < c->open.n; i++) {
		if (c->open.v[i] != b)
			continue;
		c->found = true;
		const Block *caller = vec_last(&c->open);
		diag_error(c->r->diag, e->op_span, "block `%s` calls itself%s%s%s", b->name.s,
		           caller == b ? "" : ", through `", caller == b ? "" : caller->name.s, caller == b ? "" : "`");
		diag_note(c->r->diag, b->name.span, "`%s` is declared here", b->name.s);
		diag_help(c->r->diag, "blocks are expanded where they are called: layers are made by `repeat`");
		return;
	}
	if (c->depth > MAX_CALLS) {
		c->found = true;
		diag_error(c->r->diag, e->op_span, "blocks call each other too deeply");
		return;
	}
	vec_push(c->r->arena, &c->open, b);
	circle_body(c, b->body);
	c->open.n--;
	vec_push(c->r->arena, &c->done, b);
}

static void circle_expr(Circle *c, const Expr *e)
{
	if (!e || c->found)
		return;
	c->depth++;
	circle_expr(c, e->a);
	circle_expr(c, e->b);
	circle_expr(c, e->c);
	for (uint32_t i = 0; i < e->list.n; i++)
		circle_expr(c, e->list.v[i]);
	if (e->kind == EX_CALL)
		circle_call(c, e);
	if (e->body)
		circle_body(c, e->body);
	c->depth--;
}

static void circle_body(Circle *c, const Body *b)
{
	for (uint32_t i = 0; i < b->stmts.n; i++) {
		const Stmt *s = b->stmts.v[i];
		for (uint32_t j = 0; j < s->exprs.n; j++)
			circle_expr(c, s->exprs.v[j]);
		if (s->body)
			circle_body(c, s->body);
	}
}

static void check_circles(Resolve *r)
{
	Circle c = {.r = r};
	circle_body(&c, r->prog->model->forward);
	for (uint32_t i = 0; i < r->prog->blocks.n; i++) {
		const Block *b = r->prog->blocks.v[i];
		if (b->span.file == r->prog->main_file)
			circle_call(&c, &(Expr){.kind = EX_CALL, .s = b->name.s, .op_span = b->name.span});
	}
}

static void check_blocks(Resolve *r)
{
	Map done = map_new(r->arena);
	for (uint32_t i = 0; i < r->prog->blocks.n; i++)
		if (r->prog->blocks.v[i]->span.file == r->prog->main_file)
			vec_push(r->arena, &r->todo, r->prog->blocks.v[i]);
	for (uint32_t i = 0; i < r->todo.n; i++) {
		Block *b = r->todo.v[i];
		if (map_get(&done, b->name.s, NULL))
			continue;
		map_set(&done, b->name.s, 1);
		check_block(r, b);
	}
}

bool resolve_program(Arena *a, Diag *d, Program *p)
{
	uint32_t before = diag_errors(d);
	ModelDef *m = p->model;
	Resolve r = {.arena = a, .diag = d, .prog = p, .unknown = map_new(a)};
	check_sizes(&r, m);
	if (m->forward) {
		check_forward(&r, m);
		check_blocks(&r);
		if (diag_errors(d) == before)
			check_circles(&r);
	} else {
		diag_error(d, m->name.span, "model `%s` has no forward", m->name.s);
	}
	return diag_errors(d) == before;
}
