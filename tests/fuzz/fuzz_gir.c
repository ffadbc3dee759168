/* fuzz_gir.c - graphs in text form, as `glmc check --from=gir` takes them.
 *
 * Holds: what is read prints to a text that reads back the same, and stays well formed through the
 * passes.
 */
#include "compiler/pass/addend.h"
#include "compiler/pass/simplify.h"
#include "compiler/pass/split.h"
#include "fuzz_graph.h"

static void check_gradients(Arena *a, Diag *d, const Graph *g)
{
	enum { WEIGHTS = 16 };
	WeightDecl w[WEIGHTS] = {0};
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (n->op == OP_weight && n->i[0] >= WEIGHTS)
			return;
		if (n->op == OP_weight)
			w[n->i[0]] = (WeightDecl){.name = "w", .type = *graph_type(g, n->out[0])};
	}
	Joint j = autodiff(a, g, w, WEIGHTS);
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
	diag_quiet(d);
	char *text = arena_strndup(a, (const char *)data, size);
	uint32_t source = diag_add_source(d, "fuzz.gir", text, (uint32_t)size);
	size_t at = 0;
	for (Graph *g; (g = graph_read_next(a, d, source, &at));) {
		check_graph(a, d, g);
		g = simplify_graph(a, g, 64);
		check_graph(a, d, g);
		if (autodiff_possible(g))
			check_gradients(a, d, g);
	}
	arena_free(a);
	return 0;
}
