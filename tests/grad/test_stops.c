/* test_stops.c - where gradients end: detach, buffers, the padding row of an embedding. Finite differences
 * see through all three, so the gradients are checked by formula. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compiler/pass/autodiff.h"
#include "sample.h"

/* y = x detach(x) b, b a buffer; z = embedding with padding row 2 */
static const char text[] =
	"graph stops\n"
	"%0 = input x : f32[T,4]\n"
	"%1 = detach %0 : f32[T,4]\n"
	"%2 = mul %0 %1 : f32[T,4]\n"
	"%3 = weight 0 : f32[4] @buffer\n"
	"%4 = broadcast %3 {18 4} : f32[T,4]\n"
	"%5 = mul %2 %4 : f32[T,4]\n"
	"%6 = input tokens : i32[T]\n"
	"%7 = weight 1 : f32[3,4]\n"
	"%8 = embedding %6 %7 {2} : f32[T,4]\n"
	"carry y 0 %5\n"
	"carry z 0 %8\n"
	"end\n";

static int failed;

static void check(bool ok, const char *what)
{
	if (!ok)
		fprintf(stderr, "%s\n", what);
	failed += !ok;
}

static const double *input(const Sample *s, const char *name)
{
	for (uint32_t i = 0; i < s->env.ninputs; i++)
		if (strcmp(s->in[i].name, name) == 0)
			return s->in[i].v;
	return NULL;
}

static void check_detach(const Sample *s, const Eval *e)
{
	const double *x = input(s, "x"), *seed = input(s, "grad.y"), *b = s->weights[0];
	const EvalTensor *dx = eval_output(e, PORT_CARRY, "grad.x", 0);
	double worst = 0;
	for (int64_t i = 0; dx && i < dx->rows * dx->row; i++)
		worst = fmax(worst, fabs(dx->v[i] - seed[i] * x[i] * b[i % 4]));
	check(dx && worst < 1e-15, "the gradient of x detach(x) b is seed x b");
	check(!eval_output(e, PORT_WGRAD, NULL, 0), "a buffer has a gradient");
}

/* Row r is the sum of the seeds of its tokens; row 2 is zero. */
static void check_padding(const Sample *s, const Eval *e)
{
	const double *tokens = input(s, "tokens"), *seed = input(s, "grad.z");
	const EvalTensor *dw = eval_output(e, PORT_WGRAD, NULL, 1);
	double want[12] = {0}, worst = 0;
	bool seen = false;
	for (int t = 0; t < SAMPLE_TOKENS; t++) {
		seen |= (int)tokens[t] == 2;
		for (int i = 0; i < 4 && (int)tokens[t] != 2; i++)
			want[(int)tokens[t] * 4 + i] += seed[t * 4 + i];
	}
	for (int i = 0; dw && i < 12; i++)
		worst = fmax(worst, fabs(dw->v[i] - want[i]));
	check(seen, "the padding token is not among the tokens: choose another seed");
	check(dw && worst < 1e-15, "the gradient of an embedding leaves out its padding row alone");
}

int main(void)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	const Graph *g = graph_read(a, d, diag_add_source(d, "stops.gir", text, sizeof text - 1));
	if (!g)
		return 1;
	const Sample *s = sample_new(a, g, 3);
	Joint j = autodiff(a, g, s->decls, s->nweights);
	const Eval *e = graph_eval(a, j.g, &s->env);
	check_detach(s, e);
	check_padding(s, e);
	arena_free(a);
	return failed != 0;
}
