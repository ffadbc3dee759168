/* test_random.c - gradients of random graphs against finite differences.
 *
 *   test_random FIRST LAST      seeds; a failing graph is printed
 */
#include <stdio.h>
#include <stdlib.h>

#include "compiler/pass/autodiff.h"
#include "compiler/pass/simplify.h"
#include "random_graph.h"
#include "sample.h"

static const double tolerance = 1e-6;

static bool check(uint64_t seed)
{
	Arena *a = arena_new();
	const char *where = "";
	const Graph *g = random_graph(a, seed, 16);
	const Sample *s = sample_new(a, g, seed);
	Joint j = autodiff(a, simplify_graph(a, g, 0), s->decls, s->nweights);
	const char *broken = graph_verify(a, g);
	broken = broken ? broken : graph_verify(a, j.g);
	double error = broken ? 1 : sample_check(s, j.g, 8, &where);
	bool ok = error <= tolerance;
	if (!ok) {
		Text t = {0};
		graph_print(g, &t);
		fprintf(stderr, "seed %llu: %s: %.1e\n%s\n%s", (unsigned long long)seed, where, error, t.s,
		        broken ? broken : "");
		text_free(&t);
	}
	arena_free(a);
	return ok;
}

int main(int argc, char **argv)
{
	int failed = 0;
	if (argc != 3) {
		fprintf(stderr, "usage: test_random FIRST LAST\n");
		return 2;
	}
	for (uint64_t seed = strtoull(argv[1], NULL, 10); seed <= strtoull(argv[2], NULL, 10); seed++)
		failed += !check(seed);
	printf("%d failed\n", failed);
	return failed != 0;
}
