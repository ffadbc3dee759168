/* test_steps.c - every step of a model's functions on the cuda target, on the CPU, against the
 * interpreter.
 *
 *   test_steps FOLDER check MODEL.glm --recipe R.yaml [--config C.json] [--a.b.c=value ...]
 *
 * FOLDER is for kernels.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compiler/driver.h"
#include "kernels.h"
#include "steps.h"
#include "tests/grad/sample.h"

enum { TOKENS = 45 };

static const int32_t cu[] = {0, 1, 20, TOKENS};
static const SampleSize size = {TOKENS, 3, cu};

typedef struct Test {
	Comp *c;
	SimtKernel **run;
	bool bf16;
	StepsResult sum;
} Test;

static void check(Test *t, Arena *a, const Fn *fn, const EvalEnv *env)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		StepsInput in = {.fn = fn, .kernels = &t->c->kernels, .run = t->run, .seq_max = t->c->mesh.seq_max, .seed = seed,
		                 .want = graph_eval(a, fn->graph, env)};
		StepsResult r = steps_check(a, &in);
		t->sum.steps += r.steps;
		t->sum.passed_over += r.passed_over;
		t->sum.failed += r.failed;
	}
}

/* Weights of products as of a trained model: their results have the size of the operand. */
static void scale_weights(Sample *s)
{
	for (uint32_t w = 0; w < s->nweights; w++) {
		const Type *t = &s->decls[w].type;
		double scale = t->rank > 1 ? sqrt(3.0 / (double)t->dim[t->rank - 1].n) : 1;
		for (int64_t i = 0; s->weights[w] && i < type_row(t); i++)
			s->weights[w][i] *= scale;
	}
}

/* The inputs of B: what F has saved, and gradients. */
static EvalEnv backward_env(Arena *a, const Sample *s, const Graph *f)
{
	const Eval *e = graph_eval(a, f, &s->env);
	EvalEnv env = s->env;
	EvalInput *in = ARENA_ARRAY(a, EvalInput, s->env.ninputs + f->outputs.n + 1);
	memcpy(in, s->in, s->env.ninputs * sizeof *in);
	env.inputs = in;
	for (uint32_t i = 0; i < f->outputs.n; i++)
		if (f->outputs.v[i].kind == PORT_SAVED)
			in[env.ninputs++] = (EvalInput){f->outputs.v[i].name, eval_val(e, f->outputs.v[i].val)->v};
	
	return env;
}

static void check_class(Test *t, uint32_t i)
{
	Arena *a = arena_new();
	const Graph *f = t->c->f[i]->graph;
	Sample *s = sample_sized(a, t->c->model->classes[i].fwd, i + 1, &size);
	s->env.bf16 = t->bf16;
	scale_weights(s);
	sample_round(s);
	check(t, a, t->c->f[i], &s->env);
	EvalEnv env = backward_env(a, s, f);
	check(t, a, t->c->b[i], &env);
	arena_free(a);
}

int main(int argc, char **argv)
{
	Options o;
	Arena *a = arena_new();
	if (argc < 4 || !options_parse(a, &o, argc - 1, argv + 1))
		return 2;
	Test t = {.c = comp_new(a, &o)};
	if (!driver_read(t.c) || !driver_run(t.c, "fuse") || t.c->kernels.problems.n)
		return 1;
	t.bf16 = t.c->compute == DT_bf16;
	t.run = ARENA_ARRAY(a, SimtKernel *, t.c->kernels.kernels.n + 1);
	if (!kernels_load(a, &t.c->kernels, argv[1], t.run))
		return 1;
	for (uint32_t i = 0; i < t.c->model->nclasses; i++)
		check_class(&t, i);
	printf("%d steps, %d failed, %d without a template\n", t.sum.steps, t.sum.failed, t.sum.passed_over);
	arena_free(a);
	return t.sum.failed || t.sum.passed_over || !t.sum.steps;
}
