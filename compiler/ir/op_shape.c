/* op_shape.c - result type of every operator: shape_<op>. Messages speak of types and dimension
 * names and are shown behind a span by the front end. */
#include "op_rules.h"

#include <string.h>

static Type scalar(DType t)
{
	return (Type){.dtype = t};
}

static Type with_dtype(const Type *t, DType d)
{
	Type out = *t;
	out.dtype = d;
	return out;
}

static const char *want_rank(ShapeCall *c, uint32_t k, int rank)
{
	if (c->in[k].rank == rank)
		return NULL;
	return arena_printf(c->a, "operand %u has %d dimension%s, not %d: `%s`", k + 1, c->in[k].rank,
	                    c->in[k].rank == 1 ? "" : "s", rank, type_text(c->a, &c->in[k]));
}

static const char *want_equal(ShapeCall *c, Dim a, Dim b, const char *what)
{
	if (dim_equal(a, b))
		return NULL;
	return arena_printf(c->a, "%s differ: `%s` and `%s`", what, type_text(c->a, &c->in[0]),
	                    type_text(c->a, &c->in[1]));
}

static const char *want_const(ShapeCall *c, uint32_t k)
{
	const Type *t = &c->in[k];
	if (t->rank && t->dim[t->rank - 1].kind == DIM_CONST)
		return NULL;
	return arena_printf(c->a, "the last dimension must be of constant size, not `%s`", type_text(c->a, t));
}

static const char *want_dtype(ShapeCall *c, uint32_t k, DType t)
{
	if (c->in[k].dtype == t)
		return NULL;
	return arena_printf(c->a, "operand %u must be %s, not `%s`", k + 1, dtype_name(t),
	                    type_text(c->a, &c->in[k]));
}

static const char *want_float(ShapeCall *c, uint32_t k)
{
	DType t = c->in[k].dtype;
	if (t == DT_f32 || t == DT_bf16 || t == DT_f64)
		return NULL;
	return arena_printf(c->a, "operand %u must be floating point numbers, not `%s`", k + 1,
	                    type_text(c->a, &c->in[k]));
}

/* Operand k has the rows of the first one. */
static const char *want_rows(ShapeCall *c, uint32_t k)
{
	const Type *t = &c->in[k];
	if (type_has_rows(t) && dim_equal(t->dim[0], c->in[0].dim[0]))
		return NULL;
	return arena_printf(c->a, "operand %u must have the rows of the first one, `%s`, not `%s`", k + 1,
	                    type_text(c->a, &c->in[0]), type_text(c->a, t));
}

/* Operand k is the same for all rows: a table, as weights are. */
static const char *want_table(ShapeCall *c, uint32_t k)
{
	if (!type_has_rows(&c->in[k]))
		return NULL;
	return arena_printf(c->a, "operand %u must be a weight, without rows, not `%s`", k + 1,
	                    type_text(c->a, &c->in[k]));
}

/* ---- sources: graph_input and graph_weight set the type ---- */

const char *shape_input(ShapeCall *c) { c->out[0] = scalar(DT_f32); return NULL; }
const char *shape_weight(ShapeCall *c) { c->out[0] = scalar(DT_f32); return NULL; }
const char *shape_const(ShapeCall *c) { c->out[0] = scalar((DType)c->i[0]); return NULL; }

/* ---- elementwise ---- */

static const char *same(ShapeCall *c)
{
	c->out[0] = c->in[0];
	for (uint32_t k = 0; k < c->nin; k++) {
		const char *wrong = want_float(c, k);
		if (wrong)
			return wrong;
	}
	if (c->nin == 2 && !type_equal(&c->in[0], &c->in[1]))
		return arena_printf(c->a, "`%s` and `%s` do not match", type_text(c->a, &c->in[0]),
		                    type_text(c->a, &c->in[1]));
	return NULL;
}

#define SAME(op) const char *shape_##op(ShapeCall *c) { return same(c); }
SAME(add) SAME(sub) SAME(mul) SAME(div) SAME(neg) SAME(exp) SAME(sqrt) SAME(rsqrt) SAME(tanh)
SAME(erf) SAME(sigmoid) SAME(silu) SAME(relu) SAME(step) SAME(detach)

const char *shape_cast(ShapeCall *c)
{
	c->out[0] = with_dtype(&c->in[0], (DType)c->i[0]);
	if (c->i[0] == (int64_t)c->in[0].dtype)
		return NULL;
	if (c->i[0] != DT_f32 && c->i[0] != DT_bf16 && c->i[0] != DT_f64)
		return "only floating point numbers are cast";
	return want_float(c, 0);
}

/* ---- views ---- */

/* broadcast: i0 = number of dimensions + 16 * (0 no rows, 1 T, 2 R) + 256 * id, i1.. constant
 * dimensions; see graph_broadcast. */
const char *shape_broadcast(ShapeCall *c)
{
	Type *t = &c->out[0];
	int rank = (int)(c->i[0] & 15), rows = (int)(c->i[0] >> 4 & 15), at = 1;
	if (rank > MAX_RANK || rows > 2 || (rows && !rank))
		return "the attributes describe no shape";
	*t = (Type){.dtype = c->in[0].dtype, .rank = rank};
	for (int k = 0; k < rank; k++) {
		if (k == 0 && rows)
			t->dim[k] = rows == 1 ? dim_tokens() : dim_rows((uint32_t)(c->i[0] >> 8));
		else
			t->dim[k] = dim_const(c->i[at++], NULL);
	}
	const Type *in = &c->in[0];
	int skip = type_has_rows(in) ? 1 : 0, n = in->rank - skip, m = rank - (rows != 0);
	if (skip && (!rows || !dim_equal(in->dim[0], t->dim[0])))
		return arena_printf(c->a, "cannot broadcast `%s` to `%s`", type_text(c->a, in), type_text(c->a, t));
	for (int k = 0; k < n; k++) {
		int to = rank - n + k;
		bool fits = n <= m && (in->dim[k + skip].n == 1 || dim_equal(in->dim[k + skip], t->dim[to]));
		if (!fits)
			return arena_printf(c->a, "cannot broadcast `%s` to `%s`", type_text(c->a, in),
			                    type_text(c->a, t));
		if (in->dim[k + skip].n == t->dim[to].n)
			t->dim[to].name = in->dim[k + skip].name;
	}
	return NULL;
}

const char *shape_reshape(ShapeCall *c)
{
	Type *t = &c->out[0];
	int rows = type_has_rows(&c->in[0]) ? 1 : 0;
	if (c->i[0] < 0 || c->i[0] > MAX_RANK - rows)
		return arena_printf(c->a, "at most %d dimensions", MAX_RANK);
	*t = (Type){.dtype = c->in[0].dtype, .rank = rows + (int)c->i[0]};
	if (rows)
		t->dim[0] = c->in[0].dim[0];
	for (int k = 0; k < c->i[0]; k++)
		t->dim[rows + k] = dim_const(c->i[1 + k], NULL);
	if (!type_possible(t))
		return "no value has that shape";
	if (type_row(t) == type_row(&c->in[0]))
		return NULL;
	return arena_printf(c->a, "`%s` has %lld elements a row, `%s` has %lld", type_text(c->a, &c->in[0]),
	                    (long long)type_row(&c->in[0]), type_text(c->a, t), (long long)type_row(t));
}

const char *shape_slice(ShapeCall *c)
{
	const char *wrong = want_const(c, 0);
	if (wrong)
		return wrong;
	Type *t = &c->out[0];
	*t = c->in[0];
	Dim *last = &t->dim[t->rank - 1];
	if (c->i[0] < 0 || c->i[1] < 1 || c->i[1] > last->n || c->i[0] > last->n - c->i[1])
		return arena_printf(c->a, "%lld elements from %lld on of `%s` are out of range", (long long)c->i[1],
		                    (long long)c->i[0], type_text(c->a, &c->in[0]));
	*last = dim_const(c->i[1], NULL);
	return NULL;
}

const char *shape_concat(ShapeCall *c)
{
	if (!c->nin)
		return "nothing to concatenate";
	Type *t = &c->out[0];
	*t = c->in[0];
	int64_t n = 0;
	for (uint32_t k = 0; k < c->nin; k++) {
		const Type *in = &c->in[k];
		const char *wrong = want_const(c, k);
		if (wrong)
			return wrong;
		bool fits = in->rank == t->rank && in->dtype == t->dtype;
		for (int d = 0; fits && d + 1 < t->rank; d++)
			fits = dim_equal(in->dim[d], t->dim[d]);
		if (!fits)
			return arena_printf(c->a, "`%s` and `%s` differ before the last dimension",
			                    type_text(c->a, &c->in[0]), type_text(c->a, in));
		n += in->dim[in->rank - 1].n;
	}
	t->dim[t->rank - 1] = dim_const(n, NULL);
	return NULL;
}

/* ---- row operators ---- */

const char *shape_sum(ShapeCall *c)
{
	const char *wrong = want_const(c, 0);
	c->out[0] = c->in[0];
	if (!wrong)
		c->out[0].dim[c->in[0].rank - 1] = dim_const(1, NULL);
	return wrong;
}

const char *shape_sum_slots(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 3);
	c->out[0] = c->in[0];
	c->out[0].rank = 2;
	c->out[0].dim[1] = c->in[0].dim[2];
	return wrong;
}

const char *shape_sum_heads(ShapeCall *c)
{
	const Type *t = &c->in[0];
	c->out[0] = *t;
	if (t->rank < 2 || t->dim[t->rank - 2].kind != DIM_CONST)
		return arena_printf(c->a, "sum_heads needs two last dimensions of constant size, not `%s`",
		                    type_text(c->a, t));
	c->out[0].dim[t->rank - 2] = dim_const(1, NULL);
	return NULL;
}

const char *shape_rope(ShapeCall *c)
{
	const char *wrong = want_const(c, 0);
	c->out[0] = c->in[0];
	if (!wrong && c->in[0].dim[c->in[0].rank - 1].n % 2)
		return arena_printf(c->a, "the last dimension must be even, not `%s`", type_text(c->a, &c->in[0]));
	return wrong;
}

static const char *want_ids(ShapeCall *c, uint32_t k)
{
	if (c->in[k].dtype == DT_i32 && c->in[k].rank == 2)
		return NULL;
	return arena_printf(c->a, "operand %u must be ids `i32[T,K]`, not `%s`", k + 1,
	                    type_text(c->a, &c->in[k]));
}

const char *shape_gather(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	c->out[0] = with_dtype(&c->in[1], c->in[0].dtype);
	wrong = wrong ? wrong : want_ids(c, 1);
	return wrong ? wrong : want_rows(c, 1);
}

const char *shape_scatter(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	c->out[0] = c->in[0];
	c->out[0].dim[1] = dim_const(c->i[0], NULL);
	wrong = wrong ? wrong : want_ids(c, 1);
	return wrong ? wrong : want_rows(c, 1);
}

const char *shape_sum_rows(ShapeCall *c)
{
	const Type *in = &c->in[0];
	if (!type_has_rows(in))
		return arena_printf(c->a, "sum_rows needs rows, not `%s`", type_text(c->a, in));
	Type *t = &c->out[0];
	*t = (Type){.dtype = DT_f32, .rank = in->rank - 1};
	for (int k = 0; k < t->rank; k++)
		t->dim[k] = in->dim[k + 1];
	return NULL;
}

/* ---- contractions ---- */

static const char *matmul_forward(ShapeCall *c)
{
	const Type *a = &c->in[0], *b = &c->in[1];
	bool grouped = b->rank == 3;
	if (a->rank != 2 || (b->rank != 2 && !grouped))
		return arena_printf(c->a, "the left operand has 2 dimensions, the right one 2 or, stacked, 3");
	if (grouped && a->dim[0].kind != DIM_R)
		return "stacked weights need dispatched rows";
	int n = grouped ? 1 : 0;
	Dim inner = b->dim[c->i[0] == 0 ? n + 1 : n], outer = b->dim[c->i[0] == 0 ? n : n + 1];
	if (!dim_equal(a->dim[1], inner))
		return arena_printf(c->a, "inner sizes %lld and %lld differ", (long long)a->dim[1].n,
		                    (long long)inner.n);
	c->out[0] = (Type){.dtype = a->dtype, .rank = 2, .dim = {a->dim[0], outer}};
	return NULL;
}

/* What a dense product of tokens is added to. */
static const char *want_addend(ShapeCall *c)
{
	if (c->i[0] == 2 || c->in[1].rank != 2 || c->out[0].dim[0].kind != DIM_T)
		return "only a product of tokens by one matrix has an addend";
	if (type_equal(&c->in[2], &c->out[0]))
		return NULL;
	return arena_printf(c->a, "the addend is `%s`, the product `%s`", type_text(c->a, &c->in[2]),
	                    type_text(c->a, &c->out[0]));
}

static const char *matmul_over_rows(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	wrong = wrong ? wrong : want_rank(c, 1, 2);
	wrong = wrong ? wrong : want_rows(c, 1);
	if (wrong)
		return wrong;
	Type *t = &c->out[0];
	*t = (Type){.dtype = DT_f32, .rank = 0};
	if (c->i[1] > 0)
		t->dim[t->rank++] = dim_const(c->i[1], NULL);
	t->dim[t->rank++] = c->in[0].dim[1];
	t->dim[t->rank++] = c->in[1].dim[1];
	return NULL;
}

const char *shape_matmul(ShapeCall *c)
{
	if (c->nin != 2 && c->nin != 3)
		return "two factors and perhaps an addend are needed";
	if (c->in[0].dtype != c->in[1].dtype)
		return "the types differ";
	if (c->i[0] < 0 || c->i[0] > 2)
		return "a product has form 0, 1 or 2";
	const char *wrong = c->i[0] == 2 ? matmul_over_rows(c) : matmul_forward(c);
	return wrong || c->nin == 2 ? wrong : want_addend(c);
}

const char *shape_head_matmul(ShapeCall *c)
{
	const Type *a = &c->in[0], *b = &c->in[1];
	const char *wrong = want_rank(c, 0, 3);
	wrong = wrong ? wrong : want_rank(c, 1, 3);
	if (!wrong && (c->i[0] < 0 || c->i[0] > 2))
		wrong = "a product has form 0, 1 or 2";
	if (wrong)
		return wrong;
	Type *t = &c->out[0];
	if (c->i[0] == 2) {
		*t = (Type){.dtype = DT_f32, .rank = 3, .dim = {a->dim[1], a->dim[2], b->dim[2]}};
		return want_equal(c, a->dim[1], b->dim[1], "heads");
	}
	Dim inner = b->dim[c->i[0] == 0 ? 2 : 1], outer = b->dim[c->i[0] == 0 ? 1 : 2];
	*t = (Type){.dtype = a->dtype, .rank = 3, .dim = {a->dim[0], a->dim[1], outer}};
	wrong = want_equal(c, a->dim[1], b->dim[0], "heads");
	return wrong ? wrong : want_equal(c, a->dim[2], inner, "inner sizes");
}

/* ---- attention ---- */

static const char *want_attention(ShapeCall *c)
{
	const Type *q = &c->in[0], *k = &c->in[1], *v = &c->in[2];
	for (uint32_t i = 0; i < 3; i++) {
		const char *wrong = want_rank(c, i, 3);
		wrong = wrong ? wrong : want_float(c, i);
		wrong = wrong ? wrong : want_dtype(c, i, q->dtype);
		wrong = wrong ? wrong : want_rows(c, i);
		if (wrong)
			return wrong;
	}
	if (!dim_equal(q->dim[2], k->dim[2]))
		return arena_printf(c->a, "queries `%s` and keys `%s` have different head sizes", type_text(c->a, q),
		                    type_text(c->a, k));
	if (!dim_equal(k->dim[1], v->dim[1]) || k->dim[1].n <= 0 || q->dim[1].n % k->dim[1].n)
		return arena_printf(c->a, "%lld query heads do not fit keys `%s` and values `%s`",
		                    (long long)q->dim[1].n, type_text(c->a, k), type_text(c->a, v));
	return NULL;
}

const char *shape_attention(ShapeCall *c)
{
	if (c->nin != 3 && c->nin != 4)
		return "queries, keys, values and perhaps a selection are needed";
	const char *wrong = want_attention(c);
	if (c->nin == 4) {
		wrong = wrong ? wrong : want_dtype(c, 3, DT_u32);
		wrong = wrong ? wrong : want_rank(c, 3, 2);
		wrong = wrong ? wrong : want_rows(c, 3);
	}
	c->out[0] = c->in[0];
	c->out[0].dim[2] = c->in[2].dim[2];
	c->out[1] = (Type){.dtype = DT_f32, .rank = 2, .dim = {c->in[0].dim[0], c->in[0].dim[1]}};
	return wrong;
}

const char *shape_attention_grad(ShapeCall *c)
{
	for (int k = 0; k < 3; k++)
		c->out[k] = c->in[k];
	return c->nin == 6 || c->nin == 7 ? want_attention(c) : "attention_grad takes 6 or 7 operands";
}

static Type selection_type(Dim rows, int64_t seq_max)
{
	if (seq_max < 1 || seq_max > (int64_t)1 << 40)
		seq_max = 0;         /* an empty dimension: refused by op_check */
	return (Type){.dtype = DT_u32, .rank = 2, .dim = {rows, dim_const((seq_max + 31) / 32, NULL)}};
}

const char *shape_select_keys(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 3);
	wrong = wrong ? wrong : want_rank(c, 1, 2);
	wrong = wrong ? wrong : want_rank(c, 2, 2);
	wrong = wrong ? wrong : want_rows(c, 1);
	wrong = wrong ? wrong : want_rows(c, 2);
	c->out[0] = selection_type(c->in[0].dim[0], c->i[1]);
	if (wrong)
		return wrong;
	if (!dim_equal(c->in[0].dim[2], c->in[1].dim[1]) || !dim_equal(c->in[0].dim[1], c->in[2].dim[1]))
		return arena_printf(c->a, "`%s`, `%s` and `%s` do not fit as index queries, keys and weights",
		                    type_text(c->a, &c->in[0]), type_text(c->a, &c->in[1]),
		                    type_text(c->a, &c->in[2]));
	return NULL;
}

const char *shape_every_key(ShapeCall *c)
{
	c->out[0] = selection_type(dim_tokens(), c->i[0]);
	return NULL;
}

/* ---- routing ---- */

const char *shape_top_k(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	c->out[0] = (Type){.dtype = DT_i32, .rank = 2, .dim = {c->in[0].dim[0], dim_const(c->i[0], NULL)}};
	if (wrong)
		return wrong;
	int64_t e = c->in[0].dim[1].n, groups = c->i[1] > 1 ? c->i[1] : 1;
	if (e % groups)
		return arena_printf(c->a, "%lld scores are not divided evenly in %lld groups", (long long)e,
		                    (long long)groups);
	if (groups > 1 && (c->i[2] < 1 || c->i[2] > groups))
		return arena_printf(c->a, "%lld of %lld groups cannot be kept", (long long)c->i[2], (long long)groups);
	int64_t kept = groups > 1 ? e / groups * c->i[2] : e;
	if (c->i[0] < 1 || c->i[0] > kept)
		return arena_printf(c->a, "there are %lld scores to take the %lld largest from", (long long)kept,
		                    (long long)c->i[0]);
	return NULL;
}

const char *shape_balanced_ids(ShapeCall *c)
{
	c->out[0] = (Type){.dtype = DT_i32, .rank = 2, .dim = {dim_tokens(), dim_const(c->i[0], NULL)}};
	return NULL;
}

const char *shape_dispatch(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	c->out[0] = c->in[0];
	c->out[0].dim[0] = dim_rows((uint32_t)c->i[1]);
	wrong = wrong ? wrong : want_ids(c, 1);
	return wrong ? wrong : want_rows(c, 1);
}

const char *shape_dispatch_slots(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 3);
	c->out[0] = (Type){.dtype = c->in[0].dtype, .rank = 2,
	                   .dim = {dim_rows((uint32_t)c->i[1]), c->in[0].dim[2]}};
	wrong = wrong ? wrong : want_ids(c, 1);
	return wrong ? wrong : want_rows(c, 1);
}

const char *shape_collect(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	wrong = wrong ? wrong : want_ids(c, 1);
	c->out[0] = (Type){.dtype = c->in[0].dtype, .rank = 3,
	                   .dim = {c->in[1].dim[0], c->in[1].dim[1], c->in[0].dim[1]}};
	return wrong;
}

/* ---- ends ---- */

const char *shape_embedding(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 1);
	wrong = wrong ? wrong : want_dtype(c, 0, DT_i32);
	wrong = wrong ? wrong : want_rank(c, 1, 2);
	wrong = wrong ? wrong : want_float(c, 1);
	wrong = wrong ? wrong : want_table(c, 1);
	c->out[0] = (Type){.dtype = c->in[1].dtype, .rank = 2, .dim = {c->in[0].dim[0], c->in[1].dim[1]}};
	return wrong;
}

const char *shape_embedding_grad(ShapeCall *c)
{
	const char *wrong = want_rank(c, 1, 2);
	wrong = wrong ? wrong : want_rank(c, 0, 1);
	wrong = wrong ? wrong : want_dtype(c, 0, DT_i32);
	wrong = wrong ? wrong : want_rows(c, 1);
	c->out[0] = (Type){.dtype = DT_f32, .rank = 2, .dim = {dim_const(c->i[1], NULL), c->in[1].dim[1]}};
	return wrong;
}

const char *shape_cross_entropy(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	wrong = wrong ? wrong : want_float(c, 0);
	wrong = wrong ? wrong : want_dtype(c, 1, DT_i32);
	wrong = wrong ? wrong : want_rank(c, 1, 1);
	c->out[0] = scalar(DT_f64);
	return wrong ? wrong : want_rows(c, 1);
}

const char *shape_cross_entropy_grad(ShapeCall *c)
{
	c->out[1] = c->in[0];
	return shape_cross_entropy(c);
}

const char *shape_linear_cross_entropy(ShapeCall *c)
{
	const char *wrong = want_rank(c, 0, 2);
	c->out[0] = scalar(DT_f64);
	wrong = wrong ? wrong : want_rank(c, 1, 2);
	wrong = wrong ? wrong : want_table(c, 1);
	wrong = wrong ? wrong : want_dtype(c, 2, DT_i32);
	wrong = wrong ? wrong : want_rows(c, 2);
	return wrong ? wrong : want_equal(c, c->in[0].dim[1], c->in[1].dim[1], "inner sizes");
}

const char *shape_linear_cross_entropy_grad(ShapeCall *c)
{
	const char *wrong = shape_linear_cross_entropy(c);
	c->out[1] = c->in[0];
	c->out[2] = with_dtype(&c->in[1], DT_f32);
	return wrong;
}
