/* lower_fn.c - the functions of the language but routing: one small function each, call_<name>,
 * found through builtin.def. The number of arguments was checked by resolve. */
#include <math.h>
#include <string.h>

#include "lower_int.h"

Value lower_function(Lower *l, const Expr *e, FnId id, Value *arg, uint32_t n)
{
	static Value (*const call[])(Lower *, const Expr *, Value *, uint32_t) = {
#define FN(name, lo, hi, kind, sig, doc) call_##name,
#include "builtin.def"
#undef FN
	};
	return call[id](l, e, arg, n);
}

static Value map1(Lower *l, const Expr *e, Value *arg, Op op)
{
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_need_float(l, e->list.v[0]->span, &arg[0], e->s))
		return value_error();
	return lower_add(l, op, e->op_span, e->s, arg, 1, NULL, NULL);
}

static Value map_or_number(Lower *l, const Expr *e, Value *arg, Op op, double (*f)(double))
{
	if (!value_is_number(&arg[0]))
		return map1(l, e, arg, op);
	double y = f(value_number(&arg[0]));
	if (isfinite(y))
		return value_float(y);
	lower_error(l, e->span, "the result of `%s` is not finite", e->s);
	return value_error();
}

static double rsqrt_number(double x)
{
	return 1 / sqrt(x);
}

#define MAP_OR_NUMBER(name, f) \
	Value call_##name(Lower *l, const Expr *e, Value *arg, uint32_t n) \
	{ \
		(void)n; \
		return map_or_number(l, e, arg, OP_##name, f); \
	}

#define MAP(name) \
	Value call_##name(Lower *l, const Expr *e, Value *arg, uint32_t n) \
	{ \
		(void)n; \
		return map1(l, e, arg, OP_##name); \
	}

MAP_OR_NUMBER(exp, exp)
MAP_OR_NUMBER(sqrt, sqrt)
MAP_OR_NUMBER(rsqrt, rsqrt_number)
MAP_OR_NUMBER(tanh, tanh)
MAP_OR_NUMBER(erf, erf)
MAP(sigmoid)
MAP(silu)
MAP(relu)
MAP(detach)
MAP(sum)

Value call_f32(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	if (arg[0].kind != VK_TENSOR) {
		(void)lower_tensor_arg(l, e, arg, 0);
		return value_error();
	}
	if (!lower_need_float(l, e->list.v[0]->span, &arg[0], "f32"))
		return value_error();
	return lower_cast(l, e->op_span, arg[0], DT_f32);
}

Value call_like(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1) ||
	    !lower_need_float(l, e->list.v[0]->span, &arg[0], "like") ||
	    !lower_need_float(l, e->list.v[1]->span, &arg[1], "like"))
		return value_error();
	return lower_cast(l, e->op_span, arg[0], lower_type(l, &arg[1])->dtype);
}

Value call_mean(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	Value s = call_sum(l, e, arg, n);
	if (s.kind == VK_ERROR)
		return s;
	const Type *t = lower_type(l, &arg[0]);
	return lower_scalar(l, OP_div, e->op_span, s, (double)t->dim[t->rank - 1].n);
}

Value call_reshape(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	Dim dims[MAX_RANK];
	ExprList sizes = e->list;
	sizes.v++;
	sizes.n--;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_dims(l, &sizes, dims, MAX_RANK - 1))
		return value_error();
	return lower_reshape(l, e->op_span, arg[0], dims, (int)n - 1);
}

static Value slice_at(Lower *l, const Expr *e, Value x, int64_t begin, int64_t size, const Expr *by)
{
	int64_t ints[MAX_INT] = {begin, size};
	Value v = lower_add(l, OP_slice, e->op_span, e->s, &x, 1, ints, NULL);
	if (v.kind == VK_TENSOR && by && by->kind == EX_NAME) {
		Type *t = &l->part->g->vals.v[v.v.i - 1].type;
		t->dim[t->rank - 1].name = by->s;
	}
	return v;
}

Value call_slice(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t begin, size;
	(void)n;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_int_arg(l, e, arg, 1, 0, &begin) ||
	    !lower_int_arg(l, e, arg, 2, 1, &size))
		return value_error();
	return slice_at(l, e, arg[0], begin, size, e->list.v[2]);
}

Value call_split(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	Value out = {.kind = VK_TUPLE, .nlist = n - 1};
	int64_t begin = 0, size, total = 0;
	if (!lower_tensor_arg(l, e, arg, 0))
		return value_error();
	for (uint32_t i = 1; i < n; i++) {
		if (!lower_int_arg(l, e, arg, i, 1, &size))
			return value_error();
		if (__builtin_add_overflow(total, size, &total))
			total = INT64_MAX;
	}
	const Type *t = lower_type(l, &arg[0]);
	int64_t have = t->rank > 0 ? t->dim[t->rank - 1].n : 0;
	if (total != have) {
		if (lower_error(l, e->op_span, "the parts sum to %lld, the last dimension of %s is %lld",
		                (long long)total, lower_describe(l, &arg[0]), (long long)have))
			lower_note_operand(l, &arg[0]);
		return value_error();
	}
	out.list = ARENA_ARRAY(l->arena, Value, n);
	for (uint32_t i = 1; i < n; i++) {
		out.list[i - 1] = slice_at(l, e, arg[0], begin, arg[i].u.i, e->list.v[i]);
		if (out.list[i - 1].kind == VK_ERROR)
			return value_error();
		begin += arg[i].u.i;
	}
	return out;
}

/* All dimensions but the last, repeated to fit each other; the last ones are laid end to end. */
Value call_concat(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	Type to = {0};
	DType dtype = DT_bf16;
	for (uint32_t i = 0; i < n; i++) {
		if (!lower_tensor_arg(l, e, arg, i))
			return value_error();
		const Type *t = lower_type(l, &arg[i]);
		dtype = i == 0 ? t->dtype : dtype == DT_bf16 && t->dtype == DT_f32 ? DT_f32 : dtype;
		if (i == 0 || t->rank > to.rank)
			to = *t;
	}
	for (uint32_t i = 0; i < n; i++) {
		const Type *t = lower_type(l, &arg[i]);
		for (int k = 0; k + 1 < to.rank && t->rank == to.rank; k++)
			if (to.dim[k].kind == DIM_CONST && to.dim[k].n == 1)
				to.dim[k] = t->dim[k];
	}
	for (uint32_t i = 0; i < n; i++) {
		const Type *t = lower_type(l, &arg[i]);
		bool repeat = t->rank == to.rank && t->rank > 0;
		Type want = to;
		if (repeat)
			want.dim[to.rank - 1] = t->dim[to.rank - 1];
		for (int k = 0; repeat && k + 1 < to.rank; k++)
			repeat = dim_equal(t->dim[k], to.dim[k]) ||
			         (t->dim[k].kind == DIM_CONST && t->dim[k].n == 1);
		if (lower_type(l, &arg[i])->dtype == DT_bf16 && dtype == DT_f32)
			arg[i] = lower_cast(l, e->op_span, arg[i], DT_f32);
		if (repeat)
			arg[i] = lower_broadcast(l, e->op_span, arg[i], &want);
	}
	return lower_add(l, OP_concat, e->op_span, e->s, arg, n, NULL, NULL);
}

Value call_rope(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0};
	double f[2] = {0};
	(void)n;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_number_arg(l, e, arg, 1, &f[0]))
		return value_error();
	if (!(f[0] > 0)) {
		lower_error(l, e->list.v[1]->span, "theta is a positive number, this is %g", f[0]);
		return value_error();
	}
	if (arg[2].kind != VK_BOOL) {
		if (lower_error(l, e->list.v[2]->span, "argument 3 of `rope` is true or false, not %s",
		                lower_describe(l, &arg[2])))
			diag_help(l->diag, "true: interleaved pairs (GLM); false: two halves (Llama)");
		return value_error();
	}
	ints[0] = arg[2].u.b;
	return lower_add(l, OP_rope, e->op_span, e->s, arg, 1, ints, f);
}

Value call_gather(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return value_error();
	const Type *t = lower_type(l, &arg[0]);
	if (t->rank == 2 && !lower_ids_below(l, e, &arg[1], t->dim[1].n, "elements of a row"))
		return value_error();
	return lower_add(l, OP_gather, e->op_span, e->s, arg, n, NULL, NULL);
}

Value call_attention(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	double f[2] = {0};
	for (uint32_t i = 0; i + 1 < n; i++)
		if (!lower_tensor_arg(l, e, arg, i))
			return value_error();
	if (!lower_number_arg(l, e, arg, n - 1, &f[0]))
		return value_error();
	return lower_add(l, OP_attention, e->op_span, e->s, arg, n - 1, NULL, f);
}

/* Scores are computed in float32 whatever the activations are. */
Value call_select_keys(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0, l->opt->s_max};
	(void)n;
	for (uint32_t i = 0; i < 3; i++) {
		if (!lower_tensor_arg(l, e, arg, i) ||
		    !lower_need_float(l, e->list.v[i]->span, &arg[i], e->s))
			return value_error();
		arg[i] = lower_cast(l, e->op_span, arg[i], DT_f32);
	}
	if (!lower_int_arg(l, e, arg, 3, 1, &ints[0]))
		return value_error();
	return lower_add(l, OP_select_keys, e->op_span, e->s, arg, 3, ints, NULL);
}

Value call_every_key(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {l->opt->s_max};
	(void)n;
	return lower_add(l, OP_every_key, e->op_span, e->s, arg, 0, ints, NULL);
}

Value call_cross_entropy(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return value_error();
	return lower_add(l, OP_cross_entropy, e->op_span, e->s, arg, n, NULL, NULL);
}

Value call_embedding(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {-1};
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return value_error();
	const Type *w = lower_type(l, &arg[1]);
	if (n == 3 && arg[2].kind != VK_NONE && !lower_int_arg(l, e, arg, 2, 0, &ints[0]))
		return value_error();
	if (w->rank > 0 && ints[0] >= w->dim[0].n) {
		lower_error(l, e->list.v[2]->span, "padding_idx %lld is not a row of %s",
		            (long long)ints[0], lower_describe(l, &arg[1]));
		return value_error();
	}
	return lower_add(l, OP_embedding, e->op_span, e->s, arg, 2, ints, NULL);
}

static Value pick(Lower *l, const Expr *e, Value *arg, bool larger)
{
	double x, y;
	if (!lower_number_arg(l, e, arg, 0, &x) || !lower_number_arg(l, e, arg, 1, &y))
		return value_error();
	return (x < y) == larger ? arg[1] : arg[0];
}

Value call_min(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	return pick(l, e, arg, false);
}

Value call_max(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	return pick(l, e, arg, true);
}

Value call_floor(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	double x;
	(void)n;
	if (!lower_number_arg(l, e, arg, 0, &x))
		return value_error();
	if (arg[0].kind == VK_INT)
		return arg[0];
	if (fabs(x) < 0x1p62)
		return value_int((int64_t)floor(x));
	lower_error(l, e->span, "the result of `floor` is too large");
	return value_error();
}

Value call_len(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	if (arg[0].kind == VK_LIST)
		return value_int(arg[0].nlist);
	lower_error(l, e->list.v[0]->span, "`len` is for lists, not %s", lower_describe(l, &arg[0]));
	return value_error();
}

Value call_label(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	if (arg[0].kind == VK_STRING && strlen(arg[0].u.s) > 0 &&
	    strspn(arg[0].u.s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(arg[0].u.s))
		l->part->label = arg[0].u.s;
	else
		lower_error(l, e->list.v[0]->span, "a label is a text of lower case letters, digits, _");
	return (Value){.kind = VK_NONE};
}

Value call_require(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	(void)n;
	if (arg[0].kind != VK_BOOL || arg[1].kind != VK_STRING)
		lower_error(l, e->span, "`require` takes a condition and a text");
	else if (!arg[0].u.b && lower_error(l, e->list.v[0]->span, "%s", arg[1].u.s))
		lower_note_sizes(l, e->list.v[0]);
	return (Value){.kind = VK_NONE};
}
