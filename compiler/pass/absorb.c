/* absorb.c - see absorb.h.
 *
 * Cost: a pair of query and selected key takes 2 C + R multiplications a head (C latent, R rotary
 * width), against (H + HV) for every causal pair in the form with keys per head. Gathering keys pays
 * when a token's heads fill a vector, 16 of them; with fewer the absorbed form only masks, and always
 * costs more.
 */
#include "absorb.h"

#include <string.h>

enum { GATHER_HEADS = 16 };

/* One attention as it must look: kv = reshape(c @ W'), k = concat(kv[:dn], one rotary key for all
 * heads), v = kv[dn:]. */
typedef struct Latent {
	Val q_nope, q_rope, c, weight, k_rope, selection;
	int64_t heads, dn, dv, dr, width;
} Latent;

static const Node *def(const Graph *g, Val v, Op op)
{
	const Node *n = graph_def(g, v);
	return n->op == op ? n : NULL;
}

static int64_t last_dim(const Graph *g, Val v)
{
	const Type *t = graph_type(g, v);
	return t->dim[t->rank - 1].n;
}

/* The halves of k and v come from one product of the latent. */
static bool match_product(const Graph *g, const Node *k_nope, const Node *v, Latent *l)
{
	if (k_nope->in[0].i != v->in[0].i || k_nope->i[0] != 0 || v->i[0] != k_nope->i[1])
		return false;
	const Node *kv = def(g, v->in[0], OP_reshape);
	const Node *product = kv ? def(g, kv->in[0], OP_matmul) : NULL;
	if (!product || product->i[0] != 0 || product->nin > 2 || graph_def(g, product->in[1])->op != OP_weight)
		return false;
	l->c = product->in[0];
	l->weight = product->in[1];
	l->dn = k_nope->i[1];
	l->dv = v->i[1];
	l->width = last_dim(g, l->c);
	return last_dim(g, v->in[0]) == l->dn + l->dv;
}

static bool match(const Graph *g, const Node *n, const Val *in, Latent *l)
{
	if (n->op != OP_attention || n->nin != 4)
		return false;
	const Node *q = def(g, in[0], OP_concat), *k = def(g, in[1], OP_concat), *v = def(g, in[2], OP_slice);
	if (!q || !k || !v || q->nin != 2 || k->nin != 2)
		return false;
	const Node *k_nope = def(g, k->in[0], OP_slice), *wide = def(g, k->in[1], OP_broadcast);
	if (!k_nope || !wide || !match_product(g, k_nope, v, l))
		return false;
	const Type *one = graph_type(g, wide->in[0]);
	l->q_nope = q->in[0];
	l->q_rope = q->in[1];
	l->k_rope = wide->in[0];
	l->selection = in[3];
	l->heads = graph_type(g, in[0])->dim[1].n;
	l->dr = last_dim(g, l->q_rope);
	return one->rank == 3 && one->dim[1].n == 1 && last_dim(g, l->q_nope) == l->dn && graph_type(g, l->c)->rank == 2;
}

static bool pays(const Graph *g, const Latent *l, int64_t seq_max)
{
	const Node *s = def(g, l->selection, OP_select_keys);
	if (!s || l->heads < GATHER_HEADS)
		return false;
	double gathered = (double)s->i[0] * (double)(2 * l->width + l->dr);
	return gathered < 0.5 * (double)seq_max * (double)(l->dn + l->dr + l->dv);
}

static Val head_matmul(Graph *g, Span s, Val a, Val b, int64_t form)
{
	const int64_t i[MAX_INT] = {form};
	Val in[] = {a, b};
	return graph_add1(g, OP_head_matmul, s, in, 2, i, NULL);
}

/* q_nope padded to the width of a head's rows of W, so that W serves whole. */
static Val padded(Graph *g, Span s, const Latent *l)
{
	Type t = *graph_type(g, l->q_nope);
	t.dim[2] = dim_const(l->dv, NULL);
	Val parts[] = {l->q_nope, graph_broadcast(g, s, graph_const(g, s, 0, t.dtype), &t)};
	return graph_concat(g, s, parts, 2);
}

static Val absorbed(Graph *g, const Node *n, const Latent *l)
{
	const int64_t per_head[] = {l->heads, l->dn + l->dv, l->width}, one[] = {1, l->width};
	Span s = n->span;
	Val w = graph_reshape(g, s, l->weight, 3, per_head), c = graph_reshape(g, s, l->c, 2, one);
	Val q[] = {head_matmul(g, s, padded(g, s, l), w, 1), l->q_rope}, k[] = {c, l->k_rope};
	Val in[] = {graph_concat(g, s, q, 2), graph_concat(g, s, k, 2), c, l->selection};
	Val z = graph_add1(g, OP_attention, s, in, 4, n->i, n->f);
	return graph_slice(g, s, head_matmul(g, s, z, w, 0), l->dn, l->dv);
}

Graph *absorb_attention(Arena *a, const Graph *g, bool always, int64_t seq_max, int *found)
{
	Graph *to = graph_new(a, g->name);
	Val *map = ARENA_ARRAY(a, Val, g->vals.n + 1);
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		Val in[64];
		Latent l;
		for (uint32_t k = 0; k < n->nin; k++)
			in[k] = map[n->in[k].i - 1];
		if (!match(to, n, in, &l) || !(always || pays(to, &l, seq_max))) {
			graph_copy_node(to, g, n, map);
			continue;
		}
		map[n->out[0].i - 1] = absorbed(to, n, &l);
		++*found;
	}
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		graph_output(to, p->kind, p->name, p->index, map[p->val.i - 1]);
	}
	return to;
}
