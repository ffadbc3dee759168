/* graph_eval.c - see graph_eval.h: walks the nodes in order; the rules are in op_eval.c. */
#include "graph_eval.h"

#include <string.h>

#include "../base/bf16.h"
#include "op_rules.h"

static EvalRule *const rules[] = {
#define OP(name, nin, nout, cls, flags, doc) eval_##name,
#include "ops.def"
#undef OP
};

static int64_t count_rows(const Eval *e, const Type *t)
{
	if (!type_has_rows(t))
		return 1;
	if (t->dim[0].kind == DIM_T)
		return e->env->tokens;
	if (!e->rows[t->dim[0].id].experts)
		ice("%s: rows R%u are read before a dispatch makes them", e->g->name, t->dim[0].id);
	return e->rows[t->dim[0].id].n;
}

double *eval_result(EvalCall *c, uint32_t k)
{
	Eval *e = c->e;
	const Type *t = graph_type(e->g, c->n->out[k]);
	EvalTensor *to = &e->vals[c->n->out[k].i - 1];
	*to = (EvalTensor){.rows = count_rows(e, t), .row = type_row(t)};
	to->v = ARENA_ARRAY(e->a, double, to->rows * to->row + 1);
	return to->v;
}

static void round_results(Eval *e, const Node *n)
{
	for (uint32_t k = 0; k < n->nout; k++) {
		const EvalTensor *t = &e->vals[n->out[k].i - 1];
		if (graph_type(e->g, n->out[k])->dtype != DT_bf16)
			continue;
		for (int64_t i = 0; i < t->rows * t->row; i++)
			t->v[i] = bf16_round(t->v[i]);
	}
}

static void find_places(Eval *e)
{
	e->place = ARENA_ARRAY(e->a, int64_t, e->env->tokens + 1);
	for (int d = 0; d < e->env->ndoc; d++)
		for (int32_t t = e->env->cu[d]; t < e->env->cu[d + 1]; t++)
			e->place[t] = t - e->env->cu[d];
}

const Eval *graph_eval(Arena *a, const Graph *g, const EvalEnv *env)
{
	Eval *e = ARENA_NEW(a, Eval);
	*e = (Eval){.a = a, .g = g, .env = env};
	e->vals = ARENA_ARRAY(a, EvalTensor, g->vals.n + 1);
	e->rows = ARENA_ARRAY(a, EvalRows, g->rows + 1);
	find_places(e);
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		EvalCall c = {.e = e, .n = &g->nodes.v[i]};
		rules[c.n->op](&c);
		if (env->bf16)
			round_results(e, c.n);
	}
	return e;
}

const EvalTensor *eval_output(const Eval *e, PortKind kind, const char *name, uint32_t index)
{
	bool by_index = kind == PORT_WGRAD || kind == PORT_BALANCE;
	for (uint32_t i = 0; i < e->g->outputs.n; i++) {
		const Port *p = &e->g->outputs.v[i];
		if (p->kind == kind && (by_index ? p->index == index : strcmp(p->name, name) == 0))
			return eval_val(e, p->val);
	}
	return NULL;
}
