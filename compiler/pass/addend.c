/* addend.c - see addend.h. A product that takes an addend stands where it stood, or, when the addend is made later,
 * where the sum stood: nothing else reads it. */
#include "addend.h"

#include "cluster.h"

typedef struct Taker {
	Arena *a;
	const Graph *g;
	uint32_t nfwd;           /* nodes before this index are forward */
	Val *sum;                /* per value: of a product that takes an addend, the sum that it makes */
	Val *addend;             /* per value: of such a product */
	bool *taken;             /* per node: such a sum */
} Taker;

static uint32_t node_of(const Taker *t, Val v)
{
	return graph_val(t->g, v)->node;
}

/* A product of tokens by one matrix that only the sum reads, both forward or both backward. */
static bool may_take(const Taker *t, const Node *sum, Val v)
{
	const Node *n = graph_def(t->g, v);
	if ((node_of(t, v) < t->nfwd) != (node_of(t, sum->out[0]) < t->nfwd))
		return false;
	return n->op == OP_matmul && n->nin == 2 && n->i[0] != 2 && graph_type(t->g, n->in[1])->rank == 2 &&
	       graph_type(t->g, v)->dim[0].kind == DIM_T && graph_readers(t->g, v) == 1;
}

static bool depends(const Taker *t, Val v, uint32_t node)
{
	uint32_t last = node_of(t, v);
	bool *above = ARENA_ARRAY(t->a, bool, last + 1);
	above[last] = true;
	for (uint32_t i = last; i > node; i--)
		for (uint32_t k = 0; above[i] && k < t->g->nodes.v[i].nin; k++)
			above[node_of(t, t->g->nodes.v[i].in[k])] = true;
	return node <= last && above[node];
}

/* Is `v` in memory whether or not `product` takes it? Row code that the product depends on is done before the sum. */
static bool is_stored(const Taker *t, Val v, Val product)
{
	uint32_t node = node_of(t, value_root(t->g, v));
	const Node *n = &t->g->nodes.v[node];
	OpClass c = op_class(n->op);
	if (n->op == OP_input || c == CL_TEMPLATE || c == CL_EXCHANGE || t->taken[node])
		return true;
	return c != CL_SOURCE && !is_view(n) && depends(t, product, node);
}

static bool take(Taker *t, const Node *sum, Val product, Val addend)
{
	if (!may_take(t, sum, product) || !is_stored(t, addend, product))
		return false;
	t->sum[product.i - 1] = sum->out[0];
	t->addend[product.i - 1] = addend;
	t->taken[sum - t->g->nodes.v] = true;
	return true;
}

static void find_sums(Taker *t)
{
	for (uint32_t i = 0; i < t->g->nodes.n; i++) {
		const Node *n = &t->g->nodes.v[i];
		if (n->op != OP_add)
			continue;
		int later = node_of(t, n->in[1]) > node_of(t, n->in[0]);
		if (!take(t, n, n->in[later], n->in[!later]))
			take(t, n, n->in[!later], n->in[later]);
	}
}

/* The product whose result is `v`, in place of the sum that it makes. */
static void emit(const Taker *t, Graph *to, Val v, Val *map)
{
	const Node *n = graph_def(t->g, v);
	Val sum = t->sum[v.i - 1], in[3];
	for (uint32_t k = 0; k < 3; k++)
		in[k] = map[(k < 2 ? n->in[k] : t->addend[v.i - 1]).i - 1];
	Val made = graph_add1(to, OP_matmul, n->span, in, 3, n->i, n->f);
	graph_def(to, made)->wgrad = n->wgrad;
	to->vals.v[made.i - 1].name = graph_val(t->g, sum)->name;
	map[sum.i - 1] = made;
}

static void copy(const Taker *t, Graph *to, const Node *n, Val *map)
{
	Val out = n->out[0];
	if (t->sum[out.i - 1].i) {
		if (map[t->addend[out.i - 1].i - 1].i)
			emit(t, to, out, map);
	} else if (!t->taken[n - t->g->nodes.v]) {
		graph_copy_node(to, t->g, n, map);
	} else if (!map[out.i - 1].i) {
		int second = t->sum[n->in[1].i - 1].i == out.i;
		emit(t, to, n->in[second], map);
	}
}

Joint take_addends(Arena *a, const Joint *j)
{
	const Graph *g = j->g;
	Taker t = {.a = a, .g = g, .nfwd = j->nfwd};
	Val *map = ARENA_ARRAY(a, Val, g->vals.n + 1);
	t.sum = ARENA_ARRAY(a, Val, g->vals.n + 1);
	t.addend = ARENA_ARRAY(a, Val, g->vals.n + 1);
	t.taken = ARENA_ARRAY(a, bool, g->nodes.n + 1);
	find_sums(&t);
	Joint out = {.g = graph_new(a, g->name)};
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		copy(&t, out.g, &g->nodes.v[i], map);
		if (i < j->nfwd)
			out.nfwd = out.g->nodes.n;
	}
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		graph_output(out.g, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	return out;
}
