/* test_passes.c - simplification and products that take addends keep results; F and then B, or F, I and W, give what
 * the joint graph gives, under every policy. On random graphs and on the classes of models. */
#include <string.h>

#include "classes.h"
#include "compiler/pass/addend.h"
#include "compiler/pass/simplify.h"
#include "compiler/pass/split.h"
#include "random_graph.h"
#include "same.h"

static const double tolerance = 1e-11;

static const Graph *checked(Arena *a, const Graph *g)
{
	const char *wrong = graph_verify(a, g);
	CHECK(!wrong, "%s: %s", g->name, wrong);
	return g;
}

static void check_simplify(Arena *a, const Sample *s, int64_t seq_max)
{
	const char *name = "";
	const Graph *small = checked(a, simplify_graph(a, s->g, seq_max));
	double far = far_apart(graph_eval(a, small, &s->env), graph_eval(a, s->g, &s->env), &name);
	CHECK(far <= tolerance, "%s simplified for %lld: %s is off by %.1e", s->g->name, (long long)seq_max, name,
	      far);
	CHECK(small->outputs.n == s->g->outputs.n, "%s loses results", s->g->name);
}

/* Operands of the sample, and what functions saved. */
typedef struct Inputs {
	EvalInput v[256];
	EvalEnv env;
} Inputs;

static Inputs *inputs_of(Arena *a, const Sample *s)
{
	Inputs *in = ARENA_NEW(a, Inputs);
	memcpy(in->v, s->in, sizeof s->in);
	in->env = s->env;
	in->env.inputs = in->v;
	return in;
}

static void add_saved(Inputs *in, const Eval *e)
{
	for (uint32_t i = 0; i < e->g->outputs.n; i++) {
		const Port *p = &e->g->outputs.v[i];
		CHECK(in->env.ninputs < LEN(in->v), "%s saves too much for this test", e->g->name);
		if (p->kind == PORT_SAVED && in->env.ninputs < LEN(in->v))
			in->v[in->env.ninputs++] = (EvalInput){p->name, eval_val(e, p->val)->v};
	}
}

static void check_same(const Eval *got, const Eval *want, const char *policy)
{
	const char *name = "";
	double far = far_apart(got, want, &name);
	CHECK(far <= tolerance, "%s, %s: %s is off by %.1e", got->g->name, policy, name, far);
}

static uint32_t count_gradients(const Graph *g)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].kind == PORT_WGRAD || strncmp(g->outputs.v[i].name, "grad.", 5) == 0;
	return n;
}

/* I and W give the gradients of B, each in one of them. */
static void check_cut(Arena *a, Split *cut, Inputs *in, const Eval *b, const char *policy)
{
	split_weights(a, cut->f->name, cut);
	const Graph *gi = checked(a, simplify_graph(a, cut->i, 0)), *gw = checked(a, simplify_graph(a, cut->w, 0));
	const Eval *i = graph_eval(a, gi, &in->env);
	add_saved(in, i);
	check_same(i, b, policy);
	check_same(graph_eval(a, gw, &in->env), b, policy);
	CHECK(count_gradients(gi) + count_gradients(gw) == count_gradients(b->g), "%s, %s: I and W have other gradients",
	      b->g->name, policy);
}

static uint32_t addends;

static void count_addends(const Graph *g)
{
	for (uint32_t i = 0; i < g->nodes.n; i++)
		addends += g->nodes.v[i].op == OP_matmul && g->nodes.v[i].nin == 3;
}

static void check_split(Arena *a, const Sample *s, const WeightDecl *weights, uint32_t nweights)
{
	static const char *const names[] = {"normal", "checkpoint", "exit"};
	Joint j = autodiff(a, simplify_graph(a, s->g, 0), weights, nweights);
	const Eval *want = graph_eval(a, checked(a, j.g), &s->env);
	j = take_addends(a, &j);
	check_same(graph_eval(a, checked(a, j.g), &s->env), want, "with addends");
	count_addends(j.g);
	for (int policy = SPLIT_NORMAL; policy <= SPLIT_EXIT; policy++) {
		Split cut = split_recompute(a, &j, (SplitPolicy)policy);
		cut.f = simplify_graph(a, cut.f, 0);
		cut.b = simplify_graph(a, cut.b, 0);
		Inputs *in = inputs_of(a, s);
		const Eval *f = graph_eval(a, checked(a, cut.f), &in->env);
		add_saved(in, f);
		const Eval *b = graph_eval(a, checked(a, cut.b), &in->env);
		check_same(f, want, names[policy]);
		check_same(b, want, names[policy]);
		CHECK(count_gradients(cut.b) == count_gradients(j.g), "%s, %s has other gradients", cut.b->name,
		      names[policy]);
		check_cut(a, &cut, in, b, names[policy]);
	}
}

/* Nothing with routed rows outlives a function. */
static void check_saved(Arena *a, const Graph *g, const WeightDecl *weights, uint32_t nweights)
{
	Joint j = autodiff(a, simplify_graph(a, g, 0), weights, nweights);
	for (int policy = SPLIT_NORMAL; policy <= SPLIT_EXIT; policy++) {
		Split cut = split_recompute(a, &j, (SplitPolicy)policy);
		for (uint32_t i = 0; i < cut.f->outputs.n; i++) {
			const Type *t = graph_type(cut.f, cut.f->outputs.v[i].val);
			CHECK(!t->rank || t->dim[0].kind != DIM_R, "%s saves routed rows", g->name);
		}
	}
}

static void check_classes(const char *path)
{
	Arena *a = arena_new();
	const Model *m = load_model(a, path, SAMPLE_TOKENS, NULL, 0);
	for (uint32_t i = 0; i < m->nclasses; i++) {
		const LayerClass *c = &m->classes[i];
		const Sample *s = sample_new(a, c->fwd, i + 1);
		check_simplify(a, s, 0);
		check_simplify(a, s, SAMPLE_TOKENS);
		check_split(a, s, c->weights, c->nweights);
		check_saved(a, c->fwd, c->weights, c->nweights);
	}
	arena_free(a);
}

int main(void)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		Arena *a = arena_new();
		const Sample *s = sample_new(a, random_graph(a, seed, 24), seed);
		check_simplify(a, s, 0);
		check_split(a, s, s->decls, s->nweights);
		check_saved(a, s->g, s->decls, s->nweights);
		arena_free(a);
	}
	printf("%u products of random graphs have an addend\n", addends);
	CHECK(addends >= 100, "%u products have an addend", addends);
	check_classes("models/glm5_tiny.glm");
	check_classes("tests/models/two_routed.glm");
	check_classes("tests/models/carried.glm");
	return failures != 0;
}
