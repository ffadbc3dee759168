/* fuzz_model.c - a model file through parse, check, lower, simplify and autodiff.
 *
 * Holds: a program prints to a file that parses to the same text; the graphs of its classes are well
 * formed after each pass, and read back from their text form.
 */
#include "compiler/front/lower.h"
#include "compiler/front/resolve.h"
#include "compiler/pass/addend.h"
#include "compiler/pass/carry.h"
#include "compiler/pass/simplify.h"
#include "compiler/pass/split.h"
#include "fuzz_graph.h"

enum { SEQ_MAX = 64, STEPS = 20000 };

static Program *parse(Arena *a, Diag *d, const char *text, size_t n)
{
	ModelSource src = {.path = "fuzz.glm", .text = text, .len = n, .no_files = true};
	return program_load(a, d, &src, true);
}

static void check_print(Arena *a, Diag *d, const Program *p)
{
	Text once = {0}, twice = {0};
	ast_print(p, true, &once);
	Program *again = parse(a, d, once.s, once.n);
	HOLDS(again);
	ast_print(again, true, &twice);
	HOLDS(once.n == twice.n && memcmp(once.s, twice.s, once.n) == 0);
	text_free(&once);
	text_free(&twice);
}

static void check_class(Arena *a, Diag *d, LayerClass *c)
{
	check_graph(a, d, c->fwd);
	Joint j = autodiff(a, c->fwd, c->weights, c->nweights);
	check_graph(a, d, j.g);
	j = take_addends(a, &j);
	check_graph(a, d, j.g);
	Split s = split_recompute(a, &j, SPLIT_NORMAL);
	check_graph(a, d, simplify_graph(a, s.f, 0));
	check_graph(a, d, simplify_graph(a, s.b, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	LowerOptions o = {.compute = DT_f32, .storage = DT_bf16, .s_max = SEQ_MAX, .steps_max = STEPS};
	diag_quiet(d);
	Program *p = parse(a, d, (const char *)data, size);
	if (p)
		check_print(a, d, p);
	Model *m = p && resolve_program(a, d, p) ? model_lower(a, d, p, &o) : NULL;
	for (uint32_t i = 0; m && i < m->nclasses; i++)
		m->classes[i].fwd = simplify_graph(a, m->classes[i].fwd, SEQ_MAX);
	if (m)
		carry_settle(a, m);
	for (uint32_t i = 0; m && i < m->nclasses; i++)
		check_class(a, d, &m->classes[i]);
	arena_free(a);
	return 0;
}
