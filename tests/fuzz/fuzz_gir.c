/* fuzz_gir.c - graphs in text form, as `glmc check --from=gir` takes them.
 *
 * Holds: what is read prints to a text that reads back the same, and stays well formed through the
 * passes.
 */
#include "compiler/pass/simplify.h"
#include "fuzz.h"

static void check_text(Arena *a, Diag *d, const Graph *g)
{
	Text once = {0}, twice = {0};
	HOLDS(!graph_verify(a, g));
	graph_print(g, &once);
	Graph *again = graph_read(a, d, diag_add_source(d, "fuzz.gir", once.s, (uint32_t)once.n));
	HOLDS(again);
	graph_print(again, &twice);
	HOLDS(strcmp(once.s, twice.s) == 0);
	text_free(&once);
	text_free(&twice);
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
		check_text(a, d, g);
		check_text(a, d, simplify_graph(a, g, 64));
	}
	arena_free(a);
	return 0;
}
