/* lower_expr.c - evaluates expressions and statements. See lower.h.
 *
 * A value of kind VK_ERROR stands for something already reported; whatever is computed from it is
 * silent. Only the taken branch of an `if` is evaluated.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lower_int.h"
#include "template.h"

enum { MAX_EVAL_DEPTH = 2500 };

Var *lower_var(Frame *f, const char *name)
{
	for (uint32_t i = 0; i < f->vars.n; i++)
		if (strcmp(f->vars.v[i].name, name) == 0)
			return &f->vars.v[i];
	return NULL;
}

void lower_set_var(Lower *l, Name name, Value v)
{
	Var *var = lower_var(l->frame, name.s);
	v.name = name.s;
	v.def = name.span;
	if (var)
		var->value = v;
	else
		vec_push(l->arena, &l->frame->vars, ((Var){name.s, v}));
}

/* A value of an earlier part becomes an input of this one when it is first read. */
static Value read_carry(Lower *l, Var *var, Span at)
{
	Value *v = &var->value;
	if (!type_has_rows(&v->type) || v->type.dim[0].kind != DIM_T) {
		if (lower_error(l, at, "`%s` cannot be read here: only values with rows T go from layer to "
		                       "layer", var->name)) {
			diag_note(l->diag, v->def, "it is `%s`, made outside of this layer",
			          type_text(l->arena, &v->type));
			if (v->weight)
				diag_help(l->diag, "name the weight where it is used");
		}
		return value_error();
	}
	Part *p = l->part;
	v->kind = VK_TENSOR;
	v->v = graph_input(p->g, v->def, var->name, &v->type);
	v->carry = var->name;
	v->weight = 0;
	vec_push(p->arena, &p->inputs, ((Carry){var->name, v->v}));
	return *v;
}

static Value eval_name(Lower *l, const Expr *e)
{
	int64_t i;
	Var *var = lower_var(l->frame, e->s);
	if (var && var->value.kind == VK_CARRY)
		return read_carry(l, var, e->span);
	if (var)
		return var->value;
	if (map_get(&l->size_index, e->s, &i) && i < l->nsizes)
		return l->sizes[i].value;
	lower_error(l, e->span, "`%s` has no value here", e->s);
	return value_error();
}

static Value eval_list(Lower *l, const Expr *e)
{
	Value v = {.kind = VK_LIST, .nlist = e->list.n};
	v.list = ARENA_ARRAY(l->arena, Value, e->list.n + 1);
	for (uint32_t i = 0; i < e->list.n; i++) {
		v.list[i] = lower_expr(l, e->list.v[i]);
		if (v.list[i].kind == VK_ERROR)
			return value_error();
		if (v.list[i].kind == VK_TENSOR) {
			lower_error(l, e->list.v[i]->span, "a list holds numbers and texts, not tensors");
			return value_error();
		}
	}
	return v;
}

static bool as_condition(Lower *l, const Expr *e, bool *out)
{
	Value c = lower_expr(l, e);
	if (c.kind == VK_BOOL)
		*out = c.u.b;
	else if (c.kind != VK_ERROR &&
	         lower_error(l, e->span, "a condition is true or false at compile time, this is %s",
	                     lower_describe(l, &c)))
		if (c.kind == VK_TENSOR)
			diag_help(l->diag, "the graph is the same for all data: no branch on a tensor");
	return c.kind == VK_BOOL;
}

static Value eval_logic(Lower *l, const Expr *e)
{
	bool x, y;
	if (!as_condition(l, e->a, &x))
		return value_error();
	if (x == (e->op == AO_OR))
		return value_bool(x);
	if (!as_condition(l, e->b, &y))
		return value_error();
	return value_bool(y);
}

static Value eval_unary(Lower *l, const Expr *e)
{
	Value x = lower_expr(l, e->a), out = value_error();
	if (x.kind == VK_ERROR)
		return x;
	if (x.kind == VK_TENSOR && e->op == AO_NEG) {
		if (!lower_need_float(l, e->a->span, &x, "-"))
			return value_error();
		return lower_add(l, OP_neg, e->op_span, "-", &x, 1, NULL, NULL);
	}
	const char *message = value_unary(l->arena, e->op, &x, &out);
	if (message)
		lower_error(l, e->op_span, "%s", message);
	return message ? value_error() : out;
}

static Value eval_binary(Lower *l, const Expr *e)
{
	if (e->op == AO_AND || e->op == AO_OR)
		return eval_logic(l, e);
	Value x = lower_expr(l, e->a);
	Value y = lower_expr(l, e->b);
	if (x.kind == VK_ERROR || y.kind == VK_ERROR)
		return value_error();
	return lower_binary(l, e, x, y);
}

static Value eval_index(Lower *l, const Expr *e)
{
	Value x = lower_expr(l, e->a), i = lower_expr(l, e->b);
	if (x.kind == VK_ERROR || i.kind == VK_ERROR)
		return value_error();
	if (x.kind != VK_LIST) {
		if (lower_error(l, e->span, "only lists have elements, this is %s", lower_describe(l, &x)) &&
		    x.kind == VK_TENSOR)
			diag_help(l->diag, "parts of the last dimension: slice(x, begin, size)");
		return value_error();
	}
	if (i.kind != VK_INT) {
		lower_error(l, e->b->span, "an index is an integer, this is %s", lower_describe(l, &i));
		return value_error();
	}
	if (i.u.i < 0 || i.u.i >= x.nlist) {
		if (lower_error(l, e->span, "element %lld of a list of %u", (long long)i.u.i, x.nlist) &&
		    x.name)
			diag_note(l->diag, x.def, "`%s` is given here", x.name);
		return value_error();
	}
	return x.list[i.u.i];
}

static Value eval_transpose(Lower *l, const Expr *e)
{
	Value x = lower_expr(l, e->a);
	if (x.kind == VK_ERROR)
		return x;
	if (x.kind != VK_TENSOR || type_has_rows(lower_type(l, &x))) {
		if (lower_error(l, e->op_span, "only weights are transposed, this is %s",
		                lower_describe(l, &x)))
			lower_note_operand(l, &x);
		return value_error();
	}
	x.transposed = !x.transposed;
	return x;
}

static Value eval_if(Lower *l, const Expr *e)
{
	bool c;
	if (!as_condition(l, e->a, &c))
		return value_error();
	if (c)
		return lower_expr(l, e->b);
	return e->c ? lower_expr(l, e->c) : (Value){.kind = VK_NONE};
}

static Value eval(Lower *l, const Expr *e)
{
	switch (e->kind) {
	case EX_INT:
		return value_int(e->u.i);
	case EX_FLOAT:
		return value_float(e->u.f);
	case EX_BOOL:
		return value_bool(e->u.flag);
	case EX_STRING:
		return value_string(e->s);
	case EX_NONE:
		return (Value){.kind = VK_NONE};
	case EX_NAME:
		return eval_name(l, e);
	case EX_LIST:
		return eval_list(l, e);
	case EX_UNARY:
		return eval_unary(l, e);
	case EX_BINARY:
		return eval_binary(l, e);
	case EX_TRANSPOSE:
		return eval_transpose(l, e);
	case EX_INDEX:
		return eval_index(l, e);
	case EX_CALL:
		return lower_call(l, e);
	case EX_WEIGHT:
		return lower_weight(l, e);
	case EX_IF:
		return eval_if(l, e);
	case EX_BLOCK:
		return lower_body(l, e->body);
	case EX_ERROR:
		break;
	}
	return value_error();
}

Value lower_expr(Lower *l, const Expr *e)
{
	if (!lower_step(l, e->span))
		return value_error();
	if (l->depth >= MAX_EVAL_DEPTH) {
		lower_error(l, e->span, "blocks call each other too deeply");
		l->stopped = true;
		return value_error();
	}
	l->depth++;
	Value v = eval(l, e);
	l->depth--;
	return v;
}

void lower_assign(Lower *l, const Stmt *s)
{
	Value v = lower_expr(l, s->exprs.v[0]);
	for (uint32_t i = 0; i < s->names.n; i++) {
		Value one = v;
		if (s->names.n > 1)
			one = v.kind == VK_TUPLE && i < v.nlist ? v.list[i] : value_error();
		if (one.kind == VK_TENSOR && one.v.i && !one.name)
			l->part->g->vals.v[one.v.i - 1].name = s->names.v[i].s;
		lower_set_var(l, s->names.v[i], one);
	}
}

void lower_effect(Lower *l, const Expr *e)
{
	(void)lower_expr(l, e);
}

Value lower_body(Lower *l, const Body *b)
{
	Value v = {.kind = VK_NONE};
	for (uint32_t i = 0; i < b->stmts.n && !l->stopped; i++) {
		const Stmt *s = b->stmts.v[i];
		v = (Value){.kind = VK_NONE};
		if (s->kind == ST_ASSIGN)
			lower_assign(l, s);
		else if (s->kind == ST_EXPR)
			v = lower_expr(l, s->exprs.v[0]);
	}
	return v;
}

/* Names go to text files, one word each that is nothing else, and to JSON. `label`: the name may begin with it. */
static bool is_plain_name(const char *s, const char *label)
{
	if (*s && !isalnum((unsigned char)*s) && *s != '_' && !(label && strncmp(s, "{e}", 3) == 0))
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s > '~' || *s == '"' || *s == '\\')
			return false;
	return true;
}

const char *lower_template(Lower *l, Span at, const char *s, const char *label)
{
	Text t = {0};
	size_t pos = 0;
	bool bad, failed = false;
	TemplatePart part;
	text_add(&t, "%s", "");
	while (!failed && template_next(l->arena, s, &pos, &part, &bad)) {
		if (!part.is_name) {
			text_add(&t, "%s", part.text);
			continue;
		}
		if (label && strcmp(part.text, label) == 0) {
			text_add(&t, "{e}");
			continue;
		}
		Value v = eval_name(l, &(Expr){.kind = EX_NAME, .span = at, .s = part.text});
		if (v.kind == VK_INT)
			text_add(&t, "%lld", (long long)v.u.i);
		else if (v.kind == VK_STRING)
			text_add(&t, "%s", v.u.s);
		else
			failed = true;
		if (failed && v.kind != VK_ERROR)
			lower_error(l, at, "`{%s}` is an integer or a text in a name, not %s", part.text,
			            lower_describe(l, &v));
	}
	const char *out = failed ? NULL : arena_strndup(l->arena, t.s ? t.s : "", t.n);
	text_free(&t);
	if (out && !is_plain_name(out, label)) {
		lower_error(l, at, "the name of a weight begins with a letter, a digit or `_`, and has no blanks, quotes, "
		            "backslashes or characters beyond ASCII");
		return NULL;
	}
	return out;
}

static void wrong_dim(Lower *l, const Expr *e, const Value *v)
{
	int64_t i;
	bool told;
	if (v->kind == VK_INT && v->u.i > 0)
		told = lower_error(l, e->span, "this has too many elements");
	else
		told = lower_error(l, e->span, "a dimension is a positive integer, this is %s",
		                   value_is_number(v) ? value_json(l->arena, v) : lower_describe(l, v));
	if (told)
		lower_note_sizes(l, e);
	/* a size that is no dimension is wrong wherever it is used: told once */
	if (e->kind == EX_NAME && map_get(&l->size_index, e->s, &i) && i < l->nsizes)
		l->sizes[i].value = value_error();
}

/* The sizes of a weight, a reshape or a type: positive integers. */
bool lower_dims(Lower *l, const ExprList *list, Dim *dims, uint32_t most)
{
	int64_t total = 1;
	bool ok = list->n <= most;
	for (uint32_t i = 0; i < list->n && i < most; i++) {
		const Expr *e = list->v[i];
		Value v = lower_expr(l, e);
		dims[i] = dim_const(1, e->kind == EX_NAME ? e->s : NULL);
		bool good = v.kind == VK_INT && v.u.i > 0 && !__builtin_mul_overflow(total, v.u.i, &total) &&
		            total < INT64_C(1) << 48;
		if (good)
			dims[i].n = v.u.i;
		else if (v.kind != VK_ERROR)
			wrong_dim(l, e, &v);
		ok &= good;
		if (!good)
			total = 1;
	}
	return ok;
}
