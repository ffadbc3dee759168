/* test_row_kernels.c - generated row kernels of the cuda target, on the CPU, against the interpreter.
 *
 *   test_row_kernels WORK FOLDER...     graphs NAME.gir of the folders that have row operators only
 *
 * Every graph is run with its gradients, over float32 and over bfloat16 values, for microbatches of no
 * token, one, and several blocks of rows.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/file.h"
#include "compiler/pass/autodiff.h"
#include "compiler/pass/simplify.h"
#include "kernels.h"
#include "steps.h"
#include "tests/grad/sample.h"

static const int32_t none[] = {0}, one[] = {0, 1}, some[] = {0, 5, 6, 41};
static const SampleSize sizes[] = {{41, 3, some}, {1, 1, one}, {0, 0, none}};

typedef struct Case {
	const char *path;
	const Graph *fwd;
	const Fn *fn;
	bool bf16;
} Case;

typedef struct Test {
	Arena *a;
	Diag *d;
	KernelSet kernels;
	FnOptions options;
	VEC(Case) cases;
} Test;

static bool has_rows_only(const Graph *g)
{
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		OpClass c = op_class(g->nodes.v[i].op);
		if (c == CL_TEMPLATE || c == CL_EXCHANGE)
			return false;
	}
	return true;
}

static void add_case(Test *t, const char *path, const Graph *g, bool bf16)
{
	const Sample *s = sample_new(t->a, g, 1);
	Joint j = autodiff(t->a, g, s->decls, s->nweights);
	const Graph *joint = simplify_graph(t->a, j.g, 0);
	const Fn *fn = fn_build(t->a, &t->kernels, t->d, joint, s->decls, s->nweights, &t->options);
	vec_push(t->a, &t->cases, ((Case){path, g, fn, bf16}));
}

static void add_file(Test *t, const char *path)
{
	size_t n;
	char *text = file_read(t->a, path, &n);
	Graph *g = text ? graph_read(t->a, t->d, diag_add_source(t->d, path, text, (uint32_t)n)) : NULL;
	if (!g)
		exit(1);
	if (!has_rows_only(g))
		return;
	add_case(t, path, simplify_graph(t->a, g, 0), false);
	add_case(t, path, simplify_graph(t->a, sample_in_bf16(t->a, g), 0), true);
}

static int is_graph(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return n > 4 && strcmp(e->d_name + n - 4, ".gir") == 0;
}

static void add_folder(Test *t, const char *folder)
{
	struct dirent **files = NULL;
	int n = scandir(folder, &files, is_graph, alphasort);
	for (int i = 0; i < n; i++) {
		add_file(t, arena_printf(t->a, "%s/%s", folder, files[i]->d_name));
		free(files[i]);
	}
	free(files);
}

static int run_case(const Test *t, const Case *c, SimtKernel *const *run, const SampleSize *size, uint64_t seed)
{
	Arena *a = arena_new();
	Sample *s = sample_sized(a, c->fwd, seed, size);
	sample_round(s);
	s->env.bf16 = c->bf16;
	StepsInput in = {.fn = c->fn, .kernels = &t->kernels, .run = run, .seq_max = 64, .seed = seed,
	                 .want = graph_eval(a, c->fn->graph, &s->env)};
	StepsResult r = steps_check(a, &in);
	if (r.failed)
		fprintf(stderr, "%s, %s, %lld tokens\n", c->path, c->bf16 ? "bf16" : "f32", (long long)size->tokens);
	arena_free(a);
	return r.failed + r.passed_over;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	Arena *a = arena_new();
	Test t = {.a = a, .d = diag_new(a), .kernels = {.arena = a, .index = map_new(a)},
	          .options = {.ep = 1, .seq_max = 64, .tokens_max = 64, .cuda = true,
	                      .templates = GLMC_SOURCE_DIR "/templates/cuda"}};
	int failed = 0;
	for (int i = 2; i < argc; i++)
		add_folder(&t, argv[i]);
	SimtKernel **run = ARENA_ARRAY(a, SimtKernel *, t.kernels.kernels.n + 1);
	if (!kernels_load(a, &t.kernels, argv[1], run))
		return 1;
	for (uint32_t i = 0; i < t.cases.n; i++)
		for (size_t k = 0; k < LEN(sizes); k++)
			failed += run_case(&t, &t.cases.v[i], run, &sizes[k], i + 1);
	printf("%u graphs, %u kernels, %d failed\n", t.cases.n, t.kernels.kernels.n, failed);
	bool ok = !failed && t.cases.n >= 70;
	arena_free(a);
	return !ok;
}
