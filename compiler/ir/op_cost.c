/* op_cost.c - see op_cost.h. A contraction over K of a result with N elements is 2 N K FLOPs. */
#include "op_cost.h"

/* Rows of a value: tokens, or the routed rows of its dispatch. */
static double rows(const Graph *g, const Type *t, const CostEnv *env)
{
	if (!t->rank || t->dim[0].kind == DIM_CONST)
		return 1;
	if (t->dim[0].kind == DIM_T)
		return env->tokens;
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (op_class(n->op) != CL_EXCHANGE || n->op == OP_collect)
			continue;
		if (graph_type(g, n->out[0])->dim[0].id == t->dim[0].id)
			return env->tokens * (double)type_row(graph_type(g, n->in[1]));
	}
	return env->tokens;
}

static double row(const Type *t, int from)
{
	double n = 1;
	for (int i = from; i < t->rank; i++)
		n *= (double)t->dim[i].n;
	return n;
}

/* ops.def matmul: form 0 and 1 contract the last dimension of a, form 2 the rows */
static double matmul_flops(const Graph *g, const Node *n, const CostEnv *env)
{
	const Type *a = graph_type(g, n->in[0]), *b = graph_type(g, n->in[1]), *c = graph_type(g, n->out[0]);
	double m = rows(g, a, env);
	if (n->i[0] == 2)
		return 2 * m * row(a, 1) * row(b, 1);
	return 2 * m * row(c, 1) * row(a, 1);
}

/* Half of all (query, key) pairs are causal; a selection keeps at most its width. Forward: q.k and
 * p.v; backward: q.k, do.v, and the three products for dq, dk, dv. */
static double attention_flops(const Graph *g, const Node *n, const CostEnv *env)
{
	const Type *q = graph_type(g, n->in[0]), *v = graph_type(g, n->in[2]);
	double keys = env->seq / 2, heads = (double)q->dim[1].n;
	double h = (double)q->dim[2].n, hv = (double)v->dim[2].n;
	double pairs = 2 * env->tokens * keys * heads;
	return n->op == OP_attention ? pairs * (h + hv) : pairs * (3 * h + 2 * hv);
}

double op_flops(const Graph *g, const Node *n, const CostEnv *env)
{
	const Type *a = n->nin ? graph_type(g, n->in[0]) : NULL;
	switch (n->op) {
	case OP_matmul: return matmul_flops(g, n, env);
	case OP_head_matmul:
		return 2 * env->tokens * row(a, 1) * row(graph_type(g, n->i[0] == 2 ? n->in[1] : n->out[0]), 2);
	case OP_attention:
	case OP_attention_grad: return attention_flops(g, n, env);
	case OP_select_keys: return env->tokens * env->seq * row(a, 1);
	case OP_linear_cross_entropy: return 2 * env->tokens * row(graph_type(g, n->in[1]), 0);
	case OP_linear_cross_entropy_grad: return 6 * env->tokens * row(graph_type(g, n->in[1]), 0);
	default: return 0;
	}
}

double graph_flops(const Graph *g, const CostEnv *env)
{
	double sum = 0;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		sum += op_flops(g, &g->nodes.v[i], env);
	return sum;
}
