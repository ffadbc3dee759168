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

/* Constant dimensions of a type. */
static int const_dims(const Type *t, int64_t d[MAX_RANK])
{
	int first = type_has_rows(t) ? 1 : 0;
	for (int k = first; k < t->rank; k++)
		d[k - first] = t->dim[k].n;
	return t->rank - first;
}

static Val reshape(GradCall *c, Val v, int n, const int64_t *d)
{
	int64_t have[MAX_RANK];
	int m = const_dims(graph_type(c->g, v), have);
	bool same = n == m;
	for (int k = 0; same && k < n; k++)
		same = have[k] == d[k];
	return same ? v : graph_reshape(c->g, c->n.span, v, n, d);
}

static int64_t product_of(const int64_t *d, int from, int to)
{
	int64_t n = 1;
	for (int k = from; k < to; k++)
		n *= d[k];
	return n;
}

/* Sums v over its constant dimensions first .. last, which become 1. */
static Val sum_dims(GradCall *c, Val v, int first, int last)
{
	int64_t d[MAX_RANK], flat[MAX_RANK];
	int n = const_dims(graph_type(c->g, v), d), m = 0;
	int64_t outer = product_of(d, 0, first), inner = product_of(d, last + 1, n);
	if (outer > 1)
		flat[m++] = outer;
	flat[m++] = product_of(d, first, last + 1);
	if (inner > 1)
		flat[m++] = inner;
	v = op1(c, inner > 1 ? OP_sum_heads : OP_sum, reshape(c, v, m, flat));
	for (int k = first; k <= last; k++)
		d[k] = 1;
	return reshape(c, v, n, d);
}

/* Sums d over what the broadcast repeated: dimensions from the last to the first, then rows. */
static void grad_broadcast(GradCall *c)
{
	Type to = *graph_type(c->g, in(c, 0));
	Val d = c->d[0];
	int64_t want[MAX_RANK], have[MAX_RANK];
	int m = const_dims(&to, want), n = const_dims(graph_type(c->g, d), have);
	for (int last = n - 1; last >= 0; last--) {
		int first = last;
		while (first >= 0 && have[first] != 1 && (first < n - m || want[first - (n - m)] == 1))
			first--;
		if (first == last)
			continue;
		d = sum_dims(c, d, first + 1, last);
		last = first + 1;
	}
	if (type_has_rows(graph_type(c->g, d)) && !type_has_rows(&to))
		d = op1(c, OP_sum_rows, d);
	give(c, 0, reshape(c, d, m, want));
}

static void grad_reshape(GradCall *c)
{
	int64_t d[MAX_RANK];
	int n = const_dims(graph_type(c->g, in(c, 0)), d);
	give(c, 0, reshape(c, c->d[0], n, d));
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
	uint32_t g = graph_add(c->g, OP_cross_entropy_grad, c->n.span, c->n.in, 2, c->n.i, c->n.f);
	give(c, 0, c->g->nodes.v[g].out[1]);
}

/* ---- rules that others share, and operators without a gradient ---- */

#define SAME_RULE(name, rule) \
	static void grad_##name(GradCall *c) \
	{ \
		rule(c); \
	}

SAME_RULE(sum, grad_repeat)
SAME_RULE(sum_heads, grad_repeat)
SAME_RULE(sum_rows, grad_repeat)
SAME_RULE(matmul, grad_product)
SAME_RULE(head_matmul, grad_product)

#define NO_GRADIENT(name) \
	static void grad_##name(GradCall *c) \
	{ \
		(void)c; \
	}

NO_GRADIENT(input)
NO_GRADIENT(weight)
NO_GRADIENT(const)
NO_GRADIENT(step)
NO_GRADIENT(detach)
NO_GRADIENT(attention_grad)
NO_GRADIENT(select_keys)
NO_GRADIENT(every_key)
NO_GRADIENT(top_k)
NO_GRADIENT(balanced_ids)
NO_GRADIENT(embedding_grad)
NO_GRADIENT(cross_entropy_grad)
NO_GRADIENT(linear_cross_entropy_grad)

typedef void GradRule(GradCall *c);

static GradRule *const rules[] = {
#define OP(name, nin, nout, cls, flags, doc) grad_##name,
#include "ops.def"
#undef OP
};

void op_grad(GradCall *c)
{
	rules[c->n.op](c);
}
