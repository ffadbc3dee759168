/* op_grad.c - the adjoint of every operator: grad_<op>. Formulas: model mathematics, section 9.
 *
 * A rule gets the gradient d of the result(s) and adds contributions to its operands. Only
 * operands that a weight or a carried value lies behind get one.
 */
#include "op_grad.h"

#include <math.h>

static Val in(const GradCall *c, uint32_t k)
{
	return c->n.in[k];
}

static bool wanted(const GradCall *c, uint32_t k)
{
	return c->adj[in(c, k).i - 1].wanted;
}

static void give(GradCall *c, uint32_t k, Val v)
{
	if (wanted(c, k))
		vec_push(c->g->arena, &c->adj[in(c, k).i - 1].parts, ((GradPart){.v = v}));
}

static Val op1(GradCall *c, Op op, Val a)
{
	return graph_op1(c->g, op, c->n.span, a);
}

static Val op2(GradCall *c, Op op, Val a, Val b)
{
	return graph_op2(c->g, op, c->n.span, a, b);
}

static Val mul(GradCall *c, Val a, Val b)
{
	return op2(c, OP_mul, a, b);
}

/* A constant in the shape of `like`. */
static Val number(GradCall *c, double x, Val like)
{
	Type t = *graph_type(c->g, like);
	return graph_broadcast(c->g, c->n.span, graph_const(c->g, c->n.span, x, t.dtype), &t);
}

static Val with_ints(GradCall *c, Op op, const Val *v, uint32_t n, int64_t i0, int64_t i1)
{
	const int64_t i[MAX_INT] = {i0, i1};
	return graph_add1(c->g, op, c->n.span, v, n, i, c->n.f);
}

/* ---- sources and what has no gradient ---- */

static void grad_none(GradCall *c)
{
	(void)c;
}

/* ---- elementwise ---- */

static void grad_add(GradCall *c)
{
	give(c, 0, c->d[0]);
	give(c, 1, c->d[0]);
}

static void grad_sub(GradCall *c)
{
	give(c, 0, c->d[0]);
	if (wanted(c, 1))
		give(c, 1, op1(c, OP_neg, c->d[0]));
}

static void grad_mul(GradCall *c)
{
	if (wanted(c, 0))
		give(c, 0, mul(c, c->d[0], in(c, 1)));
	if (wanted(c, 1))
		give(c, 1, mul(c, c->d[0], in(c, 0)));
}

/* y = a / b: da = d / b, db = -d y / b */
static void grad_div(GradCall *c)
{
	Val over = op2(c, OP_div, c->d[0], in(c, 1));
	give(c, 0, over);
	if (wanted(c, 1))
		give(c, 1, op1(c, OP_neg, mul(c, over, c->n.out[0])));
}

static void grad_neg(GradCall *c)
{
	give(c, 0, op1(c, OP_neg, c->d[0]));
}

static void grad_exp(GradCall *c)
{
	give(c, 0, mul(c, c->d[0], c->n.out[0]));
}

static void grad_sqrt(GradCall *c)
{
	Val half = mul(c, c->d[0], number(c, 0.5, c->d[0]));
	give(c, 0, op2(c, OP_div, half, c->n.out[0]));
}

/* y = a^-1/2: da = -1/2 d y^3 */
static void grad_rsqrt(GradCall *c)
{
	Val y = c->n.out[0], cube = mul(c, mul(c, y, y), y);
	give(c, 0, mul(c, mul(c, c->d[0], number(c, -0.5, y)), cube));
}

static void grad_tanh(GradCall *c)
{
	Val y = c->n.out[0], slope = op2(c, OP_sub, number(c, 1, y), mul(c, y, y));
	give(c, 0, mul(c, c->d[0], slope));
}

static void grad_erf(GradCall *c)
{
	Val a = in(c, 0), bell = op1(c, OP_exp, op1(c, OP_neg, mul(c, a, a)));
	give(c, 0, mul(c, c->d[0], mul(c, bell, number(c, 2 / sqrt(M_PI), a))));
}

static void grad_sigmoid(GradCall *c)
{
	Val y = c->n.out[0], slope = mul(c, y, op2(c, OP_sub, number(c, 1, y), y));
	give(c, 0, mul(c, c->d[0], slope));
}

/* y = a s(a): dy/da = s (1 + a (1 - s)) */
static void grad_silu(GradCall *c)
{
	Val a = in(c, 0), s = op1(c, OP_sigmoid, a), one = number(c, 1, a);
	Val slope = mul(c, s, op2(c, OP_add, one, mul(c, a, op2(c, OP_sub, one, s))));
	give(c, 0, mul(c, c->d[0], slope));
}

static void grad_relu(GradCall *c)
{
	give(c, 0, mul(c, c->d[0], op1(c, OP_step, in(c, 0))));
}

static void grad_cast(GradCall *c)
{
	give(c, 0, graph_cast(c->g, c->n.span, c->d[0], graph_type(c->g, in(c, 0))->dtype));
}

/* ---- views ---- */

static int const_rank(const Type *t)
{
	return t->rank - (type_has_rows(t) ? 1 : 0);
}

static Val drop_dim(GradCall *c, Val v, int keep_last)
{
	const Type *t = graph_type(c->g, v);
	int first = type_has_rows(t) ? 1 : 0, n = 0;
	int64_t d[MAX_RANK];
	for (int k = first; k < t->rank; k++)
		if (keep_last ? k != t->rank - 2 : k != t->rank - 1)
			d[n++] = t->dim[k].n;
	return graph_reshape(c->g, c->n.span, v, n, d);
}

/* Sums d over what the broadcast repeated: last dimension, the one before, rows. */
static void grad_broadcast(GradCall *c)
{
	Type to = *graph_type(c->g, in(c, 0));
	Val d = c->d[0];
	int nt = const_rank(&to);
	const Type *t = graph_type(c->g, d);
	int nd = const_rank(t);
	if (nd && (!nt || to.dim[to.rank - 1].n == 1) && t->dim[t->rank - 1].n != 1)
		d = op1(c, OP_sum, d);
	t = graph_type(c->g, d);
	bool repeat = nd >= 2 && t->dim[t->rank - 2].n != 1 && (nt < 2 || to.dim[to.rank - 2].n == 1);
	if (repeat && t->dim[t->rank - 1].n == 1)
		d = op1(c, OP_sum, drop_dim(c, d, 0));
	else if (repeat)
		d = op1(c, OP_sum_heads, d);
	if (type_has_rows(graph_type(c->g, d)) && !type_has_rows(&to))
		d = op1(c, OP_sum_rows, d);
	int64_t dims[MAX_RANK];
	int first = type_has_rows(&to) ? 1 : 0;
	for (int k = first; k < to.rank; k++)
		dims[k - first] = to.dim[k].n;
	if (!type_equal(graph_type(c->g, d), &to))
		d = graph_reshape(c->g, c->n.span, d, nt, dims);
	give(c, 0, d);
}

static void grad_reshape(GradCall *c)
{
	const Type *t = graph_type(c->g, in(c, 0));
	int first = type_has_rows(t) ? 1 : 0;
	int64_t d[MAX_RANK];
	for (int k = first; k < t->rank; k++)
		d[k - first] = t->dim[k].n;
	give(c, 0, graph_reshape(c->g, c->n.span, c->d[0], t->rank - first, d));
}

static void grad_slice(GradCall *c)
{
	if (wanted(c, 0))
		vec_push(c->g->arena, &c->adj[in(c, 0).i - 1].parts,
		         ((GradPart){.v = c->d[0], .begin = c->n.i[0], .size = c->n.i[1]}));
}

static void grad_concat(GradCall *c)
{
	int64_t at = 0;
	for (uint32_t k = 0; k < c->n.nin; k++) {
		const Type *t = graph_type(c->g, in(c, k));
		int64_t size = t->dim[t->rank - 1].n;
		if (wanted(c, k))
			give(c, k, graph_slice(c->g, c->n.span, c->d[0], at, size));
		at += size;
	}
}

/* ---- row operators ---- */

static void grad_repeat(GradCall *c)
{
	Type t = *graph_type(c->g, in(c, 0));
	give(c, 0, graph_broadcast(c->g, c->n.span, c->d[0], &t));
}

static void grad_sum_slots(GradCall *c)
{
	Type t = *graph_type(c->g, in(c, 0));
	const int64_t d[] = {1, t.dim[2].n};
	Val one = graph_reshape(c->g, c->n.span, c->d[0], 2, d);
	give(c, 0, graph_broadcast(c->g, c->n.span, one, &t));
}

static void grad_rope(GradCall *c)
{
	give(c, 0, with_ints(c, OP_rope, &c->d[0], 1, c->n.i[0], !c->n.i[1]));
}

static void grad_gather(GradCall *c)
{
	Val v[] = {c->d[0], in(c, 1)};
	give(c, 0, with_ints(c, OP_scatter, v, 2, graph_type(c->g, in(c, 0))->dim[1].n, 0));
}

static void grad_scatter(GradCall *c)
{
	Val v[] = {c->d[0], in(c, 1)};
	give(c, 0, with_ints(c, OP_gather, v, 2, 0, 0));
}

/* ---- contractions ---- */

static Val product(GradCall *c, Op op, int form, Val a, Val b, int64_t experts)
{
	Val v[] = {a, b};
	return with_ints(c, op, v, 2, form, experts);
}

/* form 0, y = a b': da = d b, db = d' a; form 1, y = a b: da = d b', db = a' d */
static void grad_product(GradCall *c)
{
	int form = (int)c->n.i[0];
	Val a = in(c, 0), b = in(c, 1), d = c->d[0];
	const Type *tb = graph_type(c->g, b);
	int64_t experts = c->n.op == OP_matmul && tb->rank == 3 ? tb->dim[0].n : 0;
	if (form == 2)
		ice("the gradient of a weight gradient is not supported");
	if (wanted(c, 0))
		give(c, 0, product(c, c->n.op, 1 - form, d, b, 0));
	if (wanted(c, 1))
		give(c, 1, product(c, c->n.op, 2, form ? a : d, form ? d : a, experts));
}

static void grad_attention(GradCall *c)
{
	Val v[7] = {in(c, 0), in(c, 1), in(c, 2), c->n.out[0], c->n.out[1], c->d[0]};
	if (c->n.nin == 4)
		v[6] = in(c, 3);
	uint32_t g = graph_add(c->g, OP_attention_grad, c->n.span, v, c->n.nin + 3, c->n.i, c->n.f);
	for (uint32_t k = 0; k < 3; k++)
		give(c, k, c->g->nodes.v[g].out[k]);
}

/* ---- routing ---- */

static void grad_dispatch(GradCall *c)
{
	Val v[] = {c->d[0], in(c, 1)};
	if (wanted(c, 0))
		give(c, 0, op1(c, OP_sum_slots, with_ints(c, OP_collect, v, 2, c->n.i[0], 0)));
}

static void grad_dispatch_slots(GradCall *c)
{
	Val v[] = {c->d[0], in(c, 1)};
	if (wanted(c, 0))
		give(c, 0, with_ints(c, OP_collect, v, 2, c->n.i[0], 0));
}

static void grad_collect(GradCall *c)
{
	Val v[] = {c->d[0], in(c, 1)};
	int64_t rows = graph_type(c->g, in(c, 0))->dim[0].id;
	give(c, 0, with_ints(c, OP_dispatch_slots, v, 2, c->n.i[0], rows));
}

/* ---- ends ---- */

static void grad_embedding(GradCall *c)
{
	Val v[] = {in(c, 0), c->d[0]};
	give(c, 1, with_ints(c, OP_embedding_grad, v, 2, c->n.i[0], graph_type(c->g, in(c, 1))->dim[0].n));
}

static void grad_linear_cross_entropy(GradCall *c)
{
	uint32_t g = graph_add(c->g, OP_linear_cross_entropy_grad, c->n.span, c->n.in, 3, c->n.i, c->n.f);
	give(c, 0, c->g->nodes.v[g].out[1]);
	give(c, 1, c->g->nodes.v[g].out[2]);
}

static void grad_cross_entropy(GradCall *c)
{
	(void)c;
	ice("cross_entropy is differentiated together with its projection only");
}

typedef void GradRule(GradCall *c);

static GradRule *const rules[OP_COUNT] = {
	[OP_add] = grad_add, [OP_sub] = grad_sub, [OP_mul] = grad_mul, [OP_div] = grad_div,
	[OP_neg] = grad_neg, [OP_exp] = grad_exp, [OP_sqrt] = grad_sqrt, [OP_rsqrt] = grad_rsqrt,
	[OP_tanh] = grad_tanh, [OP_erf] = grad_erf, [OP_sigmoid] = grad_sigmoid,
	[OP_silu] = grad_silu, [OP_relu] = grad_relu, [OP_cast] = grad_cast,
	[OP_broadcast] = grad_broadcast, [OP_reshape] = grad_reshape, [OP_slice] = grad_slice,
	[OP_concat] = grad_concat, [OP_sum] = grad_repeat, [OP_sum_heads] = grad_repeat,
	[OP_sum_rows] = grad_repeat, [OP_sum_slots] = grad_sum_slots, [OP_rope] = grad_rope,
	[OP_gather] = grad_gather, [OP_scatter] = grad_scatter, [OP_matmul] = grad_product,
	[OP_head_matmul] = grad_product, [OP_attention] = grad_attention,
	[OP_dispatch] = grad_dispatch, [OP_dispatch_slots] = grad_dispatch_slots,
	[OP_collect] = grad_collect, [OP_embedding] = grad_embedding,
	[OP_cross_entropy] = grad_cross_entropy,
	[OP_linear_cross_entropy] = grad_linear_cross_entropy,
};

void op_grad(GradCall *c)
{
	GradRule *rule = rules[c->n.op];
	if (rule)
		rule(c);
	else if (!(op_flags(c->n.op) & OPF_NOGRAD))
		ice("operator %s has no gradient rule", op_name(c->n.op));
	else
		grad_none(c);
}
