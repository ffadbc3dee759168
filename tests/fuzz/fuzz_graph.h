/* fuzz_graph.h - what holds of every graph. */
#ifndef GLMC_FUZZ_GRAPH_H
#define GLMC_FUZZ_GRAPH_H

#include "compiler/ir/graph.h"
#include "fuzz.h"

/* check_graph - it is well formed, and its text reads back as the same text. */
static inline void check_graph(Arena *a, Diag *d, const Graph *g)
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

#endif
