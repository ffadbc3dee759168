/* lower_arith.c - operators on tensors: dtypes, broadcasting, `@`.
 *
 * dtypes: bfloat16 meets float32 -> the bfloat16 side is cast to float32, as in torch. A
 * compile-time number takes the dtype of the tensor.
 *
 * Broadcasting: the rows (T or R) are matched with rows, the constant dimensions from the right;
 * a size 1 or a missing dimension is repeated. In the graph this is an explicit `broadcast`.
 */
#include <string.h>

#include "lower_int.h"

const Type *lower_type(const Lower *l, const Value *v)
{
	return graph_type(l->part->g, v->v);
}

static bool is_float(DType t)
{
	return t == DT_f32 || t == DT_bf16 || t == DT_f64;
}

bool lower_need_float(Lower *l, Span at, const Value *x, const char *what)
{
	if (is_float(lower_type(l, x)->dtype))
		return true;
	if (lower_error(l, at, "`%s` needs floating point numbers, this is %s", what,
	                lower_describe(l, x)))
		lower_note_operand(l, x);
	return false;
}

/* The experts of a stacked weight are spread over the ranks: only rows sent to them meet it. */
static bool refuse_stacked(Lower *l, Op op, Span at, const Value *in, uint32_t nin)
{
	for (uint32_t k = 0; k < nin && op != OP_matmul; k++)
		if (in[k].weight && l->part->weights.v[in[k].weight - 1].stacked) {
			if (lower_error(l, at, "a weight of experts can only stand right of `@`"))
				lower_note_operand(l, &in[k]);
			return true;
		}
	return false;
}

Value lower_add(Lower *l, Op op, Span at, const char *what, const Value *in, uint32_t nin,
                const int64_t *ints, const double *floats)
{
	enum { MOST = 16 };
	Type types[MOST], out[MAX_OUT];
	Val vals[MOST];
	int64_t i[MAX_INT] = {0};
	double f[2] = {0};
	uint32_t nout = 0;
	if (refuse_stacked(l, op, at, in, nin))
		return value_error();
	for (uint32_t k = 0; k < nin && k < MOST; k++) {
		types[k] = *lower_type(l, &in[k]);
		vals[k] = in[k].v;
	}
	for (int k = 0; ints && k < MAX_INT; k++)
		i[k] = ints[k];
	for (int k = 0; floats && k < 2; k++)
		f[k] = floats[k];
	const char *message = op_check(l->part->arena, op, types, nin, i, f, out, &nout);
	if (message) {
		if (lower_error(l, at, "`%s`: %s", what, message))
			lower_note_operands(l, in, nin);
		return value_error();
	}
	if (l->part->g->nodes.n >= MAX_PART_NODES) {
		if (!l->stopped)
			lower_error(l, at, "one layer has more than %d operators", MAX_PART_NODES);
		l->stopped = true;
		return value_error();
	}
	uint32_t node = graph_add(l->part->g, op, at, vals, nin, i, f);
	return (Value){.kind = VK_TENSOR, .v = l->part->g->nodes.v[node].out[0]};
}

Value lower_cast(Lower *l, Span at, Value x, DType t)
{
	int64_t ints[MAX_INT] = {t};
	if (lower_type(l, &x)->dtype == t)
		return x;
	Value y = lower_add(l, OP_cast, at, "cast", &x, 1, ints, NULL);
	y.transposed = x.transposed;
	return y;
}

static void promote(Lower *l, Span at, Value *x, Value *y)
{
	DType a = lower_type(l, x)->dtype, b = lower_type(l, y)->dtype;
	if (a == DT_bf16 && b == DT_f32)
		*x = lower_cast(l, at, *x, DT_f32);
	else if (a == DT_f32 && b == DT_bf16)
		*y = lower_cast(l, at, *y, DT_f32);
}

/* Names of dimensions are lost where an operator knows its sizes as integers: put them back. */
static Value name_dims(Lower *l, Value v, const Type *to)
{
	if (v.kind != VK_TENSOR)
		return v;
	Type *t = &l->part->g->vals.v[v.v.i - 1].type;
	for (int k = 0; k < t->rank && k < to->rank; k++)
		if (dim_equal(t->dim[k], to->dim[k]))
			t->dim[k].name = to->dim[k].name;
	return v;
}

static int const_dims(const Type *t, const Dim **dims)
{
	int rows = type_has_rows(t) ? 1 : 0;
	*dims = t->dim + rows;
	return t->rank - rows;
}

Value lower_reshape(Lower *l, Span at, Value x, const Dim *dims, int n)
{
	Type to = *lower_type(l, &x);
	int64_t ints[MAX_INT] = {n};
	int rows = type_has_rows(&to) ? 1 : 0;
	to.rank = rows + n;
	for (int k = 0; k < n && k + 1 < MAX_INT && k + rows < MAX_RANK; k++) {
		ints[k + 1] = dims[k].n;
		to.dim[k + rows] = dims[k];
	}
	return name_dims(l, lower_add(l, OP_reshape, at, "reshape", &x, 1, ints, NULL), &to);
}

Value lower_broadcast(Lower *l, Span at, Value x, const Type *to)
{
	const Dim *have;
	const Dim *want;
	if (type_equal(lower_type(l, &x), to))
		return x;
	int n = const_dims(lower_type(l, &x), &have), m = const_dims(to, &want);
	if (type_has_rows(lower_type(l, &x)) && n > 0 && n < m) {
		Dim dims[MAX_RANK];
		for (int k = 0; k < m; k++)
			dims[k] = k < m - n ? dim_const(1, NULL) : have[k - (m - n)];
		x = lower_reshape(l, at, x, dims, m);
		if (x.kind == VK_ERROR || type_equal(lower_type(l, &x), to))
			return x;
	}
	Type target = *to;
	target.dtype = lower_type(l, &x)->dtype;
	Value y = {.kind = VK_TENSOR, .v = graph_broadcast(l->part->g, at, x.v, &target)};
	return name_dims(l, y, &target);
}

/* The common shape of two operands; false when there is none. */
static bool join_types(const Type *x, const Type *y, Type *out)
{
	const Dim *a, *b;
	bool ra = type_has_rows(x), rb = type_has_rows(y);
	int n = const_dims(x, &a), m = const_dims(y, &b), k = n > m ? n : m;
	*out = (Type){.dtype = x->dtype, .rank = k + (ra || rb)};
	if (out->rank > MAX_RANK || (ra && rb && !dim_equal(x->dim[0], y->dim[0])))
		return false;
	if (ra || rb)
		out->dim[0] = ra ? x->dim[0] : y->dim[0];
	for (int i = 1; i <= k; i++) {
		Dim p = i <= n ? a[n - i] : dim_const(1, NULL);
		Dim q = i <= m ? b[m - i] : dim_const(1, NULL);
		if (p.n != q.n && p.n != 1 && q.n != 1)
			return false;
		Dim *d = &out->dim[out->rank - i];
		*d = p.n == 1 ? q : p;
		if (p.n == q.n && !d->name)
			d->name = q.name;
	}
	return true;
}

static const char *symbol(Op op)
{
	return ast_op_text(op == OP_add ? AO_ADD : op == OP_sub ? AO_SUB : op == OP_mul ? AO_MUL : AO_DIV);
}

static bool refuse_transposed(Lower *l, Span at, const Value *x)
{
	if (!x->transposed)
		return false;
	if (lower_error(l, at, "a transposed weight can only stand right of `@`"))
		lower_note_operand(l, x);
	return true;
}

Value lower_arith(Lower *l, Op op, Span at, Value x, Value y)
{
	Type to;
	if (x.kind == VK_ERROR || y.kind == VK_ERROR || refuse_transposed(l, at, &x) ||
	    refuse_transposed(l, at, &y))
		return value_error();
	if (!lower_need_float(l, at, &x, symbol(op)) || !lower_need_float(l, at, &y, symbol(op)))
		return value_error();
	promote(l, at, &x, &y);
	if (!join_types(lower_type(l, &x), lower_type(l, &y), &to)) {
		if (lower_error(l, at, "`%s`: the shapes of %s and %s do not fit", symbol(op),
		                lower_describe(l, &x), lower_describe(l, &y))) {
			lower_note_operands(l, (Value[]){x, y}, 2);
			diag_help(l->diag, "dimensions must be equal or 1, from the right");
		}
		return value_error();
	}
	Value in[2] = {lower_broadcast(l, at, x, &to), lower_broadcast(l, at, y, &to)};
	if (in[0].kind == VK_ERROR || in[1].kind == VK_ERROR)
		return value_error();
	return name_dims(l, lower_add(l, op, at, symbol(op), in, 2, NULL, NULL), &to);
}

static Value scalar(Lower *l, Span at, const Value *like, double y)
{
	Value c = {.kind = VK_TENSOR};
	c.v = graph_const(l->part->g, at, y, lower_type(l, like)->dtype);
	return c;
}

Value lower_scalar(Lower *l, Op op, Span at, Value x, double y)
{
	if (x.kind == VK_ERROR || !lower_need_float(l, at, &x, symbol(op)))
		return value_error();
	return lower_arith(l, op, at, x, scalar(l, at, &x, y));
}

/* rows @ weight, rows @ weight', routed rows @ stacked weight'. */
static Value matmul(Lower *l, Span at, Value x, Value y)
{
	const Type *b = lower_type(l, &y);
	if (type_has_rows(b)) {
		if (lower_error(l, at, "the right operand of `@` is a weight, not %s",
		                lower_describe(l, &y))) {
			lower_note_operand(l, &y);
			diag_help(l->diag, "products of two activations are inside attention(...)");
		}
		return value_error();
	}
	if (refuse_transposed(l, at, &x) || !lower_need_float(l, at, &x, "@") || !lower_need_float(l, at, &y, "@"))
		return value_error();
	Type tx = *lower_type(l, &x), ty = *lower_type(l, &y);
	bool transposed = y.transposed;
	promote(l, at, &x, &y);
	Value in[2] = {x, y};
	Type types[2] = {*lower_type(l, &x), *lower_type(l, &y)}, out[MAX_OUT];
	int64_t ints[MAX_INT] = {transposed ? 0 : 1}, flipped[MAX_INT] = {transposed ? 1 : 0};
	uint32_t nout;
	const char *why = op_check(l->part->arena, OP_matmul, types, 2, ints, NULL, out, &nout);
	if (!why)
		return lower_add(l, OP_matmul, at, "@", in, 2, ints, NULL);
	if (lower_error(l, at, "cannot multiply `%s` by `%s`%s: %s", type_text(l->arena, &tx),
	                type_text(l->arena, &ty), transposed ? " transposed" : "", why)) {
		lower_note_operands(l, in, 2);
		if (!op_check(l->part->arena, OP_matmul, types, 2, flipped, NULL, out, &nout))
			diag_help(l->diag, transposed ? "leave out the `'`" : "transpose the weight with `'`");
		else if (types[1].rank == 3 && types[0].dim[0].kind == DIM_T)
			diag_help(l->diag, "dispatch(x, ids) brings tokens to the experts of a stacked weight");
		else if (types[0].rank > 2)
			diag_help(l->diag, "reshape(x, n) joins the constant dimensions of the left operand");
	}
	return value_error();
}

static Op graph_op(AstOp op)
{
	return op == AO_ADD ? OP_add : op == AO_SUB ? OP_sub : op == AO_MUL ? OP_mul : OP_div;
}

Value lower_binary(Lower *l, const Expr *e, Value x, Value y)
{
	bool tx = x.kind == VK_TENSOR, ty = y.kind == VK_TENSOR;
	if (!tx && !ty) {
		Value out = value_error();
		const char *message = value_binary(l->arena, e->op, &x, &y, &out);
		if (message)
			lower_error(l, e->op_span, "%s", message);
		return message ? value_error() : out;
	}
	if (e->op == AO_MATMUL && tx && ty)
		return matmul(l, e->op_span, x, y);
	if (e->op > AO_DIV || (!tx && !value_is_number(&x)) || (!ty && !value_is_number(&y))) {
		if (lower_error(l, e->op_span, "`%s` is not for %s and %s", ast_op_text(e->op),
		                lower_describe(l, &x), lower_describe(l, &y)) && e->op >= AO_EQ)
			diag_help(l->diag, "tensors are not compared: their values are known at run time only");
		return value_error();
	}
	if (!tx && lower_need_float(l, e->op_span, &y, ast_op_text(e->op)))
		x = scalar(l, e->op_span, &y, value_number(&x));
	else if (!ty && lower_need_float(l, e->op_span, &x, ast_op_text(e->op)))
		y = scalar(l, e->op_span, &x, value_number(&y));
	if (x.kind != VK_TENSOR || y.kind != VK_TENSOR)
		return value_error();
	return lower_arith(l, graph_op(e->op), e->op_span, x, y);
}
