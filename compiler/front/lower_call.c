/* lower_call.c - calls of blocks, and what all calls share. See lower.h.
 *
 * A block is expanded where it is called, with a frame of its own. `at "p"` puts "p." before the
 * weight names inside.
 */
#include <string.h>

#include "lower_int.h"

bool lower_int_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i, int64_t lo, int64_t *out)
{
	*out = arg[i].u.i;
	if (arg[i].kind == VK_INT && arg[i].u.i >= lo)
		return true;
	if (arg[i].kind == VK_ERROR)
		return false;
	const char *got = arg[i].kind == VK_INT ? value_json(l->arena, &arg[i])
	                                        : lower_describe(l, &arg[i]);
	if (lower_error(l, e->list.v[i]->span, "argument %u of `%s` is an integer of at least %lld, "
	                "not %s", i + 1, e->s, (long long)lo, got)) {
		lower_note_sizes(l, e->list.v[i]);
		diag_help(l->diag, "`%s`", fn_find(e->s)->sig);
	}
	return false;
}

bool lower_number_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i, double *out)
{
	*out = value_is_number(&arg[i]) ? value_number(&arg[i]) : 0;
	if (value_is_number(&arg[i]))
		return true;
	if (arg[i].kind != VK_ERROR &&
	    lower_error(l, e->list.v[i]->span, "argument %u of `%s` is a number, not %s", i + 1, e->s,
	                lower_describe(l, &arg[i])))
		diag_help(l->diag, "`%s`", fn_find(e->s)->sig);
	return false;
}

bool lower_tensor_arg(Lower *l, const Expr *e, const Value *arg, uint32_t i)
{
	if (arg[i].kind == VK_TENSOR && !arg[i].transposed)
		return true;
	if (arg[i].kind == VK_TENSOR)
		lower_error(l, e->list.v[i]->span, "a transposed weight can only stand right of `@`");
	else if (arg[i].kind != VK_ERROR &&
	         lower_error(l, e->list.v[i]->span, "argument %u of `%s` is a tensor, not %s", i + 1,
	                     e->s, lower_describe(l, &arg[i])))
		diag_help(l->diag, "`%s`", fn_find(e->s)->sig);
	return false;
}

/* Does the argument have the type of the parameter? Its dimensions are read in the new frame. */
static bool check_param(Lower *l, const Expr *e, const Param *q, const Value *v, Span at)
{
	Dim dims[MAX_RANK];
	DType dtype;
	Type want = {0};
	if (!q->type.given || v->kind == VK_ERROR)
		return true;
	if (!lower_dims(l, &q->type.dims, dims, MAX_RANK - (q->type.rows ? 1 : 0)))
		return false;
	if (v->kind != VK_TENSOR) {
		if (lower_error(l, at, "`%s` of `%s` is a tensor, not %s", q->name.s, e->s,
		                lower_describe(l, v)))
			diag_note(l->diag, q->name.span, "the parameter is declared here");
		return false;
	}
	const Type *have = lower_type(l, v);
	want.dtype = q->type.dtype.s && dtype_parse(q->type.dtype.s, &dtype) ? dtype : have->dtype;
	if (q->type.rows)
		want.dim[want.rank++] = dim_tokens();
	for (uint32_t i = 0; i < q->type.dims.n; i++)
		want.dim[want.rank++] = dims[i];
	if (type_equal(have, &want))
		return true;
	if (lower_error(l, at, "`%s` of `%s` must be `%s`, this is `%s`", q->name.s, e->s,
	                type_text(l->arena, &want), type_text(l->arena, have))) {
		diag_note(l->diag, q->name.span, "the parameter is declared here");
		lower_note_operand(l, v);
	}
	return false;
}

static bool bind_params(Lower *l, const Expr *e, const Block *b, const Value *args, Frame *f)
{
	bool ok = true;
	Frame *caller = l->frame;
	l->frame = f;
	for (uint32_t i = 0; i < b->params.n; i++) {
		const Param *q = &b->params.v[i];
		Value v = i < e->list.n ? args[i] : lower_expr(l, q->init);
		Span at = i < e->list.n ? e->list.v[i]->span : e->op_span;
		ok = v.kind != VK_ERROR && check_param(l, e, q, &v, at) && ok;
		if (!v.name || i >= e->list.n) {
			v.name = q->name.s;
			v.def = at;
		}
		vec_push(l->arena, &f->vars, ((Var){q->name.s, v}));
	}
	l->frame = caller;
	return ok;
}

static Value returned(Lower *l, const Stmt *s)
{
	Value v = {.kind = VK_TUPLE, .nlist = s->exprs.n};
	if (s->exprs.n == 1)
		return lower_expr(l, s->exprs.v[0]);
	v.list = ARENA_ARRAY(l->arena, Value, s->exprs.n);
	for (uint32_t i = 0; i < s->exprs.n; i++)
		v.list[i] = lower_expr(l, s->exprs.v[i]);
	return v;
}

static Value forget_names(Value v)
{
	if (v.kind == VK_TENSOR && !v.weight)
		v.name = NULL;
	for (uint32_t i = 0; v.kind == VK_TUPLE && i < v.nlist; i++)
		v.list[i] = forget_names(v.list[i]);
	return v;
}

static Value call_block(Lower *l, const Expr *e, const Block *b, const Value *args)
{
	Frame f = {.prefix = l->frame->prefix, .block = b->name.s, .call = e->span, .up = l->frame};
	Value v = value_error();
	if (e->at) {
		const char *at = lower_template(l, e->at_span, e->at, NULL);
		if (!at)
			return v;
		f.prefix = *at ? arena_printf(l->arena, "%s%s.", f.prefix, at) : f.prefix;
		if (strlen(f.prefix) > 1000) {
			lower_error(l, e->at_span, "the names of weights become too long");
			return v;
		}
	}
	if (!bind_params(l, e, b, args, &f))
		return v;
	l->frame = &f;
	lower_body(l, b->body);
	const Stmt *last = vec_last(&b->body->stmts);
	if (!l->stopped)
		v = forget_names(returned(l, last));
	l->frame = f.up;
	return v;
}

Value lower_call(Lower *l, const Expr *e)
{
	const Fn *fn = fn_find(e->s);
	Value *args = ARENA_ARRAY(l->arena, Value, e->list.n + 1);
	int64_t b;
	bool ok = true;
	for (uint32_t i = 0; i < e->list.n; i++) {
		args[i] = lower_expr(l, e->list.v[i]);
		ok = ok && args[i].kind != VK_ERROR;
	}
	if (l->stopped)
		return value_error();
	if (fn)
		return ok ? lower_function(l, e, (FnId)(fn - fn_get((FnId)0)), args, e->list.n)
		          : value_error();
	if (!map_get(&l->block_index, e->s, &b))
		return value_error();
	return ok ? call_block(l, e, l->prog->blocks.v[b], args) : value_error();
}
