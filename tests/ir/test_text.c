/* test_text.c - what is printed is read back as the same graph: random graphs, their joint graphs and
 * functions, and all levels of a model. */
#include <string.h>

#include "classes.h"
#include "compiler/pass/addend.h"
#include "compiler/pass/simplify.h"
#include "compiler/pass/split.h"
#include "random_graph.h"
#include "sample.h"

static void check_graph(const Graph *g)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	Text first = {0}, second = {0};
	graph_print(g, &first);
	Graph *back = graph_read(a, d, diag_add_source(d, g->name, first.s, (uint32_t)first.n));
	CHECK(back, "%s is not read back", g->name);
	if (back)
		graph_print(back, &second);
	CHECK(back && strcmp(first.s, second.s) == 0, "%s changes:\n%s\n%s", g->name, first.s, second.s);
	text_free(&first);
	text_free(&second);
	arena_free(a);
}

static void check_levels(Arena *a, const Graph *fwd, const WeightDecl *weights, uint32_t nweights)
{
	const Graph *small = simplify_graph(a, fwd, 0);
	Joint j = autodiff(a, small, weights, nweights);
	Joint sums = take_addends(a, &j);
	Split s = split_recompute(a, &sums, SPLIT_NORMAL);
	check_graph(fwd);
	check_graph(small);
	check_graph(j.g);
	check_graph(sums.g);
	check_graph(s.f);
	check_graph(s.b);
}

int main(void)
{
	Arena *a = arena_new();
	for (uint64_t seed = 1; seed <= 300; seed++) {
		Arena *own = arena_new();
		const Graph *g = random_graph(own, seed, 24);
		const Sample *s = sample_new(own, g, seed);
		check_levels(own, g, s->decls, s->nweights);
		arena_free(own);
	}
	const Model *m = load_model(a, "models/glm5_tiny.glm", 64, NULL, 0);
	CHECK(m->nclasses == 4, "%u classes", m->nclasses);
	for (uint32_t i = 0; i < m->nclasses; i++)
		check_levels(a, m->classes[i].fwd, m->classes[i].weights, m->classes[i].nweights);
	arena_free(a);
	return failures != 0;
}
