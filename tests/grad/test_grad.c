/* test_grad.c - every gradient rule against finite differences.
 *
 *   test_grad FOLDER      the folder of NAME.gir and NAME_variant.gir, one or more per operator
 *
 * The gradients are those of the graph as written, those of the graph after simplification, and
 * those of the graph with bfloat16 types (nothing is rounded), compared with central differences of
 * the graph as written. An operator that has a gradient and no file is a failure.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/file.h"
#include "compiler/pass/autodiff.h"
#include "compiler/pass/simplify.h"
#include "sample.h"

static const double tolerance = 1e-8;
static bool used[OP_COUNT];
static int failed;

static bool check(const char *path, const char *what, const Sample *s, const Graph *fwd, Arena *a)
{
	const char *where = "";
	Joint j = autodiff(a, fwd, s->decls, s->nweights);
	const char *broken = graph_verify(a, j.g);
	double error = broken ? 1 : sample_check(s, j.g, 1000, &where);
	if (broken)
		fprintf(stderr, "%s: %s: %s\n", path, what, broken);
	else if (!(error <= tolerance))
		fprintf(stderr, "%s: %s: the gradient of %s is off by %.1e of its maximum\n", path, what, where, error);
	return error <= tolerance;
}

static void check_file(const char *path)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	size_t n;
	char *text = file_read(a, path, &n);
	Graph *g = text ? graph_read(a, d, diag_add_source(d, path, text, (uint32_t)n)) : NULL;
	bool ok = g != NULL;
	for (uint32_t i = 0; ok && i < g->nodes.n; i++)
		used[g->nodes.v[i].op] = true;
	for (uint64_t seed = 1; ok && seed <= 3; seed++) {
		const Sample *s = sample_new(a, g, seed);
		ok = check(path, "as written", s, g, a);
		ok = check(path, "simplified", s, simplify_graph(a, g, 0), a) && ok;
		ok = check(path, "bfloat16", s, simplify_graph(a, sample_in_bf16(a, g), 0), a) && ok;
	}
	failed += !ok;
	arena_free(a);
}

static void check_all_used(void)
{
	for (int op = 0; op < OP_COUNT; op++)
		if (!used[op] && !(op_flags((Op)op) & OPF_NOGRAD)) {
			fprintf(stderr, "%s has a gradient that no file checks\n", op_name((Op)op));
			failed++;
		}
}

static int is_graph(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return n > 4 && strcmp(e->d_name + n - 4, ".gir") == 0;
}

int main(int argc, char **argv)
{
	struct dirent **files = NULL;
	int n = argc == 2 ? scandir(argv[1], &files, is_graph, alphasort) : -1;
	if (n < 0) {
		fprintf(stderr, "usage: test_grad FOLDER\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%s", argv[1], files[i]->d_name);
		check_file(path);
		free(files[i]);
	}
	free(files);
	check_all_used();
	printf("%d graphs, %d failed\n", n, failed);
	return failed != 0;
}
