/* random_graph.c - see random_graph.h. Every construct takes values from the pool and adds its result
 * to it; one that does not fit what it drew does nothing. */
#include "random_graph.h"

#include <math.h>

#include "sample.h"

typedef struct Pool {
	Arena *a;
	Graph *g;
	uint64_t state;
	uint32_t inputs, ids, weights;
	VEC(Val) vals;           /* floating, over the tokens */
} Pool;

static const Span nowhere;

static uint32_t below(Pool *p, uint32_t n)
{
	return sample_below(&p->state, n);
}

static void keep(Pool *p, Val v)
{
	vec_push(p->a, &p->vals, v);
}

/* One of the values, rather a late one. */
static Val draw(Pool *p)
{
	uint32_t back = below(p, p->vals.n) * below(p, 4) / 4;
	return p->vals.v[p->vals.n - 1 - back];
}

static const Type *type_of(const Pool *p, Val v)
{
	return graph_type(p->g, v);
}

static int64_t last_dim(const Pool *p, Val v)
{
	const Type *t = type_of(p, v);
	return t->dim[t->rank - 1].n;
}

static Val weight(Pool *p, int rank, const int64_t *d)
{
	Type t = {.dtype = DT_f32, .rank = rank};
	for (int k = 0; k < rank; k++)
		t.dim[k] = dim_const(d[k], NULL);
	return graph_weight(p->g, nowhere, p->weights++, &t);
}

static void add_input(Pool *p)
{
	static const int64_t widths[] = {4, 6, 8};
	Type t = {.dtype = DT_f32, .rank = 2, .dim = {dim_tokens(), dim_const(widths[below(p, 3)], "width")}};
	keep(p, graph_input(p->g, nowhere, arena_printf(p->a, "x%u", p->inputs++), &t));
}

static Val number(Pool *p, double x, Val like)
{
	return graph_broadcast(p->g, nowhere, graph_const(p->g, nowhere, x, DT_f32), type_of(p, like));
}

/* ---- constructs ---- */

static void unary(Pool *p)
{
	static const Op ops[] = {OP_neg, OP_tanh, OP_sigmoid, OP_silu, OP_erf};
	keep(p, graph_op1(p->g, ops[below(p, LEN(ops))], nowhere, draw(p)));
}

/* Functions of positive numbers, or of bounded ones. */
static void positive(Pool *p)
{
	static const Op ops[] = {OP_sqrt, OP_rsqrt, OP_neg};
	Val bounded = graph_op1(p->g, OP_tanh, nowhere, draw(p));
	keep(p, graph_op1(p->g, ops[below(p, LEN(ops))], nowhere, graph_op1(p->g, OP_exp, nowhere, bounded)));
}

static void binary(Pool *p)
{
	static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_div};
	Op op = ops[below(p, LEN(ops))];
	Val x = draw(p), y = draw(p);
	if (!type_equal(type_of(p, x), type_of(p, y)))
		y = number(p, 0.5 + 0.25 * below(p, 4), x);
	else if (op == OP_div)
		y = graph_op1(p->g, OP_exp, nowhere, graph_op1(p->g, OP_tanh, nowhere, y));
	keep(p, graph_op2(p->g, op, nowhere, x, y));
}

static void regroup(Pool *p)
{
	Val x = draw(p);
	int64_t row = type_row(type_of(p, x)), a = 1 + below(p, 4), b = 1 + below(p, 3);
	const int64_t flat[] = {row}, two[] = {a, row / a}, three[] = {b, a, row / (a * b)};
	if (row % (a * b) == 0 && below(p, 2))
		keep(p, graph_reshape(p->g, nowhere, x, 3, three));
	else if (row % a == 0 && below(p, 2))
		keep(p, graph_reshape(p->g, nowhere, x, 2, two));
	else
		keep(p, graph_reshape(p->g, nowhere, x, 1, flat));
}

static void cut(Pool *p)
{
	Val x = draw(p);
	int64_t n = last_dim(p, x), begin = below(p, (uint32_t)n);
	Val part = graph_slice(p->g, nowhere, x, begin, 1 + below(p, (uint32_t)(n - begin)));
	Val both[] = {part, x, part};
	keep(p, below(p, 2) ? part : graph_concat(p->g, nowhere, both, 2 + below(p, 2)));
}

/* x / sqrt(mean(x x) + 1) times a weight */
static void norm(Pool *p)
{
	Val x = draw(p), s = graph_op1(p->g, OP_sum, nowhere, graph_op2(p->g, OP_mul, nowhere, x, x));
	s = graph_op2(p->g, OP_add, nowhere, s, number(p, 1, s));
	s = graph_broadcast(p->g, nowhere, graph_op1(p->g, OP_rsqrt, nowhere, s), type_of(p, x));
	const int64_t d[] = {last_dim(p, x)};
	Val w = graph_broadcast(p->g, nowhere, weight(p, 1, d), type_of(p, x));
	keep(p, graph_op2(p->g, OP_mul, nowhere, graph_op2(p->g, OP_mul, nowhere, x, s), w));
}

/* Times a weight with some dimensions 1. */
static void scale(Pool *p)
{
	Val x = draw(p);
	Type t = *type_of(p, x);
	int64_t d[MAX_RANK];
	int n = t.rank - 1;
	for (int k = 0; k < n; k++)
		d[k] = below(p, 2) ? t.dim[k + 1].n : 1;
	keep(p, graph_op2(p->g, OP_mul, nowhere, x, graph_broadcast(p->g, nowhere, weight(p, n, d), &t)));
}

static void sums(Pool *p)
{
	Val x = draw(p);
	Type t = *type_of(p, x);
	if (t.rank == 3 && below(p, 2)) {
		keep(p, graph_op1(p->g, OP_sum_slots, nowhere, x));
	} else if (t.rank >= 3) {
		Val s = graph_op1(p->g, OP_sum_heads, nowhere, x);
		keep(p, graph_op2(p->g, OP_sub, nowhere, x, graph_broadcast(p->g, nowhere, s, &t)));
	}
}

static void rotate(Pool *p)
{
	Val x = draw(p);
	const int64_t i[MAX_INT] = {below(p, 2)};
	const double f[2] = {100};
	if (last_dim(p, x) % 2 == 0)
		keep(p, graph_add1(p->g, OP_rope, nowhere, &x, 1, i, f));
}

static void product(Pool *p)
{
	Val x = draw(p);
	const Type *t = type_of(p, x);
	int64_t form = below(p, 2), n = 2 + 2 * below(p, 4), k = last_dim(p, x);
	const int64_t i[MAX_INT] = {form}, flat[] = {form ? k : n, form ? n : k};
	if (t->rank == 2) {
		Val in[] = {x, weight(p, 2, flat)};
		keep(p, graph_add1(p->g, OP_matmul, nowhere, in, 2, i, NULL));
	} else if (t->rank == 3) {
		const int64_t heads[] = {t->dim[1].n, flat[0], flat[1]};
		Val in[] = {x, weight(p, 3, heads)};
		keep(p, graph_add1(p->g, OP_head_matmul, nowhere, in, 2, i, NULL));
	}
}

static Val heads_of(Pool *p, Val x, int64_t heads, int64_t width)
{
	const int64_t d[] = {heads * width, last_dim(p, x)}, split[] = {heads, width};
	Val in[] = {x, weight(p, 2, d)};
	Val y = graph_add1(p->g, OP_matmul, nowhere, in, 2, NULL, NULL);
	return graph_reshape(p->g, nowhere, y, 2, split);
}

static void attention(Pool *p)
{
	Val x = draw(p);
	if (type_of(p, x)->rank != 2)
		return;
	int64_t groups = 1 + below(p, 2), h = 2 + below(p, 3), hv = 2 + below(p, 3);
	Val in[] = {heads_of(p, x, groups * (1 + below(p, 2)), h), heads_of(p, x, groups, h),
	            heads_of(p, x, groups, hv)};
	const double f[2] = {1 / sqrt((double)h)};
	keep(p, graph_add1(p->g, OP_attention, nowhere, in, 3, NULL, f));
}

static Val ids(Pool *p, int64_t k)
{
	Type t = {.dtype = DT_i32, .rank = 2, .dim = {dim_tokens(), dim_const(k, NULL)}};
	return graph_input(p->g, nowhere, arena_printf(p->a, "ids%u", p->ids++), &t);
}

static void select_scores(Pool *p)
{
	Val x = draw(p);
	if (type_of(p, x)->rank != 2 || last_dim(p, x) < 2)
		return;
	int64_t n = last_dim(p, x);
	Val in[] = {x, ids(p, 2)};
	const int64_t i[MAX_INT] = {n};
	Val y[] = {graph_add1(p->g, OP_gather, nowhere, in, 2, NULL, NULL), in[1]};
	keep(p, below(p, 2) ? y[0] : graph_add1(p->g, OP_scatter, nowhere, y, 2, i, NULL));
}

/* Experts between a dispatch and a weighted sum, as models write them. */
static void experts(Pool *p)
{
	Val x = draw(p), slot_weights = draw(p);
	int64_t e = 3 + below(p, 3), k = 2, f = 2 + below(p, 3), d = last_dim(p, x);
	if (type_of(p, x)->rank != 2 || type_of(p, slot_weights)->rank != 2 || last_dim(p, slot_weights) < k)
		return;
	const int64_t send[MAX_INT] = {e, p->g->rows}, up[] = {e, f, d}, down[] = {e, d, f}, one[] = {k, 1};
	Val in[] = {x, ids(p, k)};
	Val rows = graph_add1(p->g, OP_dispatch, nowhere, in, 2, send, NULL);
	Val first[] = {rows, weight(p, 3, up)};
	Val h = graph_op1(p->g, OP_silu, nowhere, graph_add1(p->g, OP_matmul, nowhere, first, 2, NULL, NULL));
	Val second[] = {h, weight(p, 3, down)};
	Val back[] = {graph_add1(p->g, OP_matmul, nowhere, second, 2, NULL, NULL), in[1]};
	Val y = graph_add1(p->g, OP_collect, nowhere, back, 2, send, NULL);
	Val w = graph_reshape(p->g, nowhere, graph_slice(p->g, nowhere, slot_weights, 0, k), 2, one);
	w = graph_broadcast(p->g, nowhere, w, type_of(p, y));
	keep(p, graph_op1(p->g, OP_sum_slots, nowhere, graph_op2(p->g, OP_mul, nowhere, y, w)));
}

static void (*const constructs[])(Pool *) = {
	unary, unary, positive, binary, binary, binary, regroup, regroup, cut, cut, norm, scale, scale, sums,
	rotate, product, product, attention, select_scores, experts, add_input,
};

/* ---- the graph ---- */

static void add_loss(Pool *p)
{
	Val x = draw(p);
	Type labels = {.dtype = DT_i32, .rank = 1, .dim = {dim_tokens()}};
	const int64_t d[] = {5, last_dim(p, x)};
	if (type_of(p, x)->rank != 2)
		return;
	Val in[] = {x, weight(p, 2, d)};
	Val logits[] = {graph_add1(p->g, OP_matmul, nowhere, in, 2, NULL, NULL),
	                graph_input(p->g, nowhere, "labels", &labels)};
	graph_output(p->g, PORT_LOSS, "loss", 0, graph_add1(p->g, OP_cross_entropy, nowhere, logits, 2, NULL, NULL));
}

Graph *random_graph(Arena *a, uint64_t seed, int steps)
{
	Pool p = {.a = a, .g = graph_new(a, arena_printf(a, "random.%llu", (unsigned long long)seed)), .state = seed};
	add_input(&p);
	for (int k = 0; k < steps; k++)
		constructs[below(&p, LEN(constructs))](&p);
	uint32_t outputs = 1 + below(&p, 3);
	graph_output(p.g, PORT_CARRY, "y0", 0, vec_last(&p.vals));
	for (uint32_t k = 1; k < outputs; k++)
		graph_output(p.g, PORT_CARRY, arena_printf(a, "y%u", k), 0, draw(&p));
	if (below(&p, 3) == 0)
		add_loss(&p);
	return p.g;
}
