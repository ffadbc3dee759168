/* test_passes.c - simplification keeps results; F and then B give what the joint graph gives, under every
 * policy. On random graphs and on the classes of models. */
#include <string.h>

#include "classes.h"
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

/* Evaluates F, then B on what F saved. */
static const Eval *run_split(Arena *a, const Sample *s, const Split *split, const Eval **f)
{
	EvalInput in[LEN(s->in) + 128];
	EvalEnv env = s->env;
	memcpy(in, s->in, sizeof s->in);
	env.inputs = in;
	*f = graph_eval(a, split->f, &s->env);
	for (uint32_t i = 0; i < split->f->outputs.n; i++) {
		const Port *p = &split->f->outputs.v[i];
		if (p->kind == PORT_SAVED && env.ninputs < LEN(in))
			in[env.ninputs++] = (EvalInput){p->name, eval_val(*f, p->val)->v};
	}
	return graph_eval(a, split->b, &env);
}

static uint32_t count_gradients(const Graph *g)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].kind == PORT_WGRAD || strncmp(g->outputs.v[i].name, "grad.", 5) == 0;
	return n;
}

static void check_split(Arena *a, const Sample *s, const WeightDecl *weights, uint32_t nweights)
{
	static const char *const names[] = {"normal", "checkpoint", "exit"};
	Joint j = autodiff(a, simplify_graph(a, s->g, 0), weights, nweights);
	const Eval *want = graph_eval(a, checked(a, j.g), &s->env), *f, *b;
	for (int policy = SPLIT_NORMAL; policy <= SPLIT_EXIT; policy++) {
		Split cut = split_recompute(a, &j, (SplitPolicy)policy);
		Split small = {simplify_graph(a, cut.f, 0), simplify_graph(a, cut.b, 0)};
		const char *name = "";
		checked(a, small.f);
		checked(a, small.b);
		b = run_split(a, s, &small, &f);
		double far = far_apart(f, want, &name);
		CHECK(far <= tolerance, "%s.F, %s: %s is off by %.1e", s->g->name, names[policy], name, far);
		far = far_apart(b, want, &name);
		CHECK(far <= tolerance, "%s.B, %s: %s is off by %.1e", s->g->name, names[policy], name, far);
		CHECK(count_gradients(small.b) == count_gradients(j.g), "%s.B, %s has other gradients", s->g->name,
		      names[policy]);
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
	check_classes("models/glm5_tiny.glm");
	check_classes("tests/models/two_routed.glm");
	check_classes("tests/models/carried.glm");
	return failures != 0;
}
