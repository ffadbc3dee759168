/* driver.c - see driver.h. The table is passes.def; a pass returns false after an error. */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"

typedef struct Pass {
	char letter;
	const char *name;
	Level level;
	const char *doc;
	bool (*run)(Comp *c);
} Pass;

static const Pass passes[] = {
#define PASS(letter, name, level, doc) {letter, #name, LEVEL_##level, doc, pass_##name},
#include "passes.def"
#undef PASS
};

void driver_passes(void)
{
	for (size_t i = 0; i < LEN(passes); i++)
		printf("%c  %-10s %s\n", passes[i].letter, passes[i].name, passes[i].doc);
}

/* ---- where glmc's files are ---- */

static Install find_install(Arena *a)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	const char *dir = path_dir(a, n > 0 ? arena_strndup(a, exe, (size_t)n) : ".");
	const char *share = path_join(a, dir, "../share/glmc"), *lib = path_join(a, dir, "../lib/glmc");
	if (file_exists(share))
		return (Install){path_join(a, share, "models"), path_join(a, share, "templates"),
		                 path_join(a, share, "runtime"), path_join(a, lib, "libglmc_rt.a"),
		                 path_join(a, share, "templates/devices"), path_join(a, lib, "glmc_rank_cuda"),
		                 path_join(a, share, "simt")};
	return (Install){GLMC_SOURCE_DIR "/models", GLMC_SOURCE_DIR "/templates", GLMC_SOURCE_DIR "/runtime",
	                 path_join(a, dir, "libglmc_rt.a"), GLMC_SOURCE_DIR "/templates/devices",
	                 path_join(a, dir, "glmc_rank_cuda"), GLMC_SOURCE_DIR "/tests/simt"};
}

Comp *comp_new(Arena *a, const Options *o)
{
	Comp *c = ARENA_NEW(a, Comp);
	c->arena = a;
	c->diag = diag_new(a);
	c->opt = o;
	c->status = ST_INPUT;
	c->install = find_install(a);
	c->cc.link_flags = GLMC_LINK_FLAGS;
	c->storage = c->compute = DT_f32;
	return c;
}

/* ---- inputs ---- */

/* `--word` is no option of glmc: a key of the recipe, then? Exit status 2 when it cannot be one. */
static bool check_overrides(Comp *c)
{
	for (uint32_t i = 0; i < c->opt->overrides.n; i++) {
		const char *key = c->opt->overrides.v[i].key;
		bool ok = recipe_has(key) || strchr(key, '.');
		if (!ok)
			unknown_option(key);
		else if (!c->opt->recipe)
			ok = usage_error("--%s changes a recipe: give one with --recipe", key);
		if (!ok) {
			c->status = ST_USAGE;
			return false;
		}
	}
	return true;
}

static bool override(Comp *c)
{
	bool ok = true;
	for (uint32_t i = 0; i < c->opt->overrides.n; i++)
		ok &= recipe_override(c->recipe, c->opt->overrides.v[i].key, c->opt->overrides.v[i].value);
	return ok;
}

static DType named_dtype(const char *name, DType otherwise)
{
	return strcmp(name, "float32") == 0 ? DT_f32 : strcmp(name, "bfloat16") == 0 ? DT_bf16 : otherwise;
}

/* What `auto` means: the dtype of the configuration, bfloat16 when it has none. */
static bool automatic_dtype(Comp *c, DType *t)
{
	const char *given = c->config ? c->config->dtype : NULL;
	*t = DT_bf16;
	if (!given || strcmp(recipe_text(c->recipe, "model.torch_dtype"), "auto") != 0 ||
	    dtype_parse(strcmp(given, "float32") == 0 ? "f32" : strcmp(given, "bfloat16") == 0 ? "bf16" : "", t))
		return true;
	diag_error(c->diag, (Span){0}, "the dtype `%s` of %s is not supported", given, c->opt->config);
	diag_help(c->diag, "set model.torch_dtype to float32 or bfloat16");
	return false;
}

/* Compute follows storage unless given; what AutoModel can make differ from it must not. */
static bool read_dtypes(Comp *c)
{
	static const char *const follow[] = {"distributed.mp_policy.output_dtype", "distributed.pipeline.dtype"};
	DType usual;
	if (!automatic_dtype(c, &usual))
		return false;
	c->storage = named_dtype(recipe_text(c->recipe, "model.torch_dtype"), usual);
	c->compute = named_dtype(recipe_text(c->recipe, "distributed.mp_policy.param_dtype"), c->storage);
	for (size_t i = 0; i < LEN(follow); i++) {
		if (named_dtype(recipe_text(c->recipe, follow[i]), c->compute) == c->compute)
			continue;
		diag_error(c->diag, recipe_span(c->recipe, follow[i]), "`%s` is %s, but the model computes in %s", follow[i],
		           recipe_text(c->recipe, follow[i]), c->compute == DT_f32 ? "float32" : "bfloat16");
		diag_help(c->diag, "leave it out: it follows distributed.mp_policy.param_dtype");
		return false;
	}
	return true;
}

/* --tune is not among them: what it names must be there. */
static void note_cuda_options(const Comp *c)
{
	const Options *o = c->opt;
	if ((o->lineinfo || o->arch) && !c->cuda && !o->quiet)
		diag_note(c->diag, (Span){0}, "not applicable to the host target: %s%s%s", o->lineinfo ? "--lineinfo" : "",
		          o->lineinfo && o->arch ? ", " : "", o->arch ? "--arch" : "");
}

static bool read_target(Comp *c)
{
	const char *t = c->opt->target;
	c->cuda = strcmp(recipe_text(c->recipe, "dist_env.backend"), "nccl") == 0;
	if (t)
		c->cuda = strcmp(t, "cuda") == 0;
	note_cuda_options(c);
	const char *name = c->cuda ? "h100.dev" : "host.dev";
	bool given = !recipe_null(c->recipe, "glmc.device");
	return device_load(c->arena, c->diag, recipe_span(c->recipe, "glmc.device"),
	                   given ? recipe_text(c->recipe, "glmc.device") : path_join(c->arena, c->install.devices, name),
	                   &c->device);
}

/* What the table of keys has and this version does not do is an error, never passed over. */
static bool check_done(Comp *c)
{
	static const struct { const char *key, *usual; } keys[] = {
		{"glmc.early_recompute", "false"}, {"glmc.ep_overlap", "false"},
	};
	for (size_t i = 0; i < LEN(keys); i++) {
		if (strcmp(recipe_text(c->recipe, keys[i].key), keys[i].usual) == 0)
			continue;
		diag_error(c->diag, recipe_span(c->recipe, keys[i].key), "`%s: %s` is not done yet", keys[i].key,
		           recipe_text(c->recipe, keys[i].key));
		diag_help(c->diag, "leave it out, or set it to %s", keys[i].usual);
	}
	return !diag_errors(c->diag);
}

static void add_input(Comp *c, const char *path)
{
	size_t n = 0;
	char *text = file_read(c->arena, path, &n);
	if (text)
		vec_push(c->arena, &c->inputs, ((BuildInput){path, text}));
}

void driver_default_mesh(Comp *c)
{
	c->mesh = (Mesh){.world = 1, .pp = 1, .dp = 1, .ep = 1, .ep_shard = 1, .microbatches = 1, .runs = 1,
	                 .docs = 1, .seq_max = 4096, .tokens_max = 4096};
}

bool driver_read(Comp *c)
{
	const Options *o = c->opt;
	if (!check_overrides(c))
		return false;
	add_input(c, o->operands.v[0]);
	if (o->config) {
		add_input(c, o->config);
		c->config = config_load(c->arena, c->diag, o->config);
	}
	if (!o->recipe) {
		driver_default_mesh(c);
		return !diag_errors(c->diag);
	}
	add_input(c, o->recipe);
	c->recipe = recipe_load(c->arena, c->diag, o->recipe);
	if (!c->recipe || !override(c) || diag_errors(c->diag))
		return false;
	if (!o->quiet)
		recipe_notes(c->recipe);
	return read_dtypes(c) && read_target(c) && check_done(c) && mesh_from_recipe(c->recipe, o->world, &c->mesh);
}

/* ---- text forms ---- */

static void print_split(const Split *s, Text *t)
{
	const Graph *g[] = {s->f, s->b, s->i, s->w};
	for (size_t k = 0; k < LEN(g); k++)
		if (g[k])
			graph_print(g[k], t);
}

static void print_functions(const Comp *c, uint32_t cls, Text *t)
{
	const Fn *fn[] = {c->f[cls], c->b[cls], c->i[cls], c->w[cls]};
	for (size_t k = 0; k < LEN(fn); k++)
		if (fn[k])
			fn_print(fn[k], &c->kernels, t);
}

static void print_graphs(const Comp *c, Text *t, Level level)
{
	for (uint32_t i = 0; i < c->model->nclasses; i++) {
		if (level == LEVEL_GRAPH)
			graph_print(c->model->classes[i].fwd, t);
		else if (level == LEVEL_JOINT)
			graph_print(c->joint[i].g, t);
		else if (level == LEVEL_SPLIT)
			print_split(&c->split[i], t);
		else
			print_functions(c, i, t);
	}
}

static void print_stages(const Comp *c, Text *t)
{
	for (int i = 0; i < c->stages.n; i++) {
		const Stage *s = &c->stages.v[i];
		text_add(t, "stage %d: pipeline rank %d, layers %d-%d%s%s\n", s->id, s->pp_rank, s->first_layer,
		         s->last_layer, s->embedding ? ", embedding" : "", s->head ? ", head" : "");
	}
}

static void print_order(const Comp *c, Text *t)
{
	for (int r = 0; r < c->mesh.pp; r++) {
		text_add(t, "rank %d:", r);
		for (uint32_t i = 0; i < c->order.rank[r].n; i++) {
			text_add(t, " ");
			act_print(t, &c->order.rank[r].v[i]);
		}
		text_add(t, "\n");
	}
}

static void print_programs(const Comp *c, Text *t)
{
	for (int r = 0; r < c->mesh.pp; r++) {
		size_t n = 0;
		char *text = rt_prog_print(c->plans[r].prog, &n);
		text_put(t, text, n);
		free(text);
	}
}

static void print_level(const Comp *c, Level level, Text *t)
{
	switch (level) {
	case LEVEL_AST: ast_print(c->program, true, t); break;
	case LEVEL_GRAPH:
	case LEVEL_JOINT:
	case LEVEL_SPLIT:
	case LEVEL_KERNELS: print_graphs(c, t, level); break;
	case LEVEL_STAGES: print_stages(c, t); break;
	case LEVEL_ORDER: print_order(c, t); break;
	case LEVEL_PROG: print_programs(c, t); break;
	default: break;
	}
}

static const char *level_suffix(Level level)
{
	return level == LEVEL_AST ? "glm" : level <= LEVEL_SPLIT ? "gir" : level == LEVEL_PROG ? "rp" : "txt";
}

static bool dump(Comp *c, const Pass *p)
{
	Text t = {0};
	bool ok = true;
	bool wanted = c->opt->letters && strchr(c->opt->letters, p->letter);
	if (!wanted && !c->opt->dump)
		return true;
	print_level(c, p->level, &t);
	if (wanted && t.n)
		fprintf(stderr, "---- after %s\n%s", p->name, t.s);
	if (c->opt->dump && t.n) {
		const char *path = arena_printf(c->arena, "%s/%02td-%s.%s", c->opt->dump, p - passes + 1, p->name,
		                                level_suffix(p->level));
		ok = file_make_dirs(c->opt->dump) && file_write(path, t.s, t.n, false);
		if (!ok)
			diag_error(c->diag, (Span){0}, "cannot write %s: %s", path, strerror(errno));
	}
	text_free(&t);
	return ok;
}

/* ---- the run ---- */

/* Every graph of the level holds its invariants; what does not is our fault. */
static void verify_level(const Comp *c, const Pass *p)
{
	for (uint32_t i = 0; c->model && i < c->model->nclasses; i++) {
		const Graph *g[4] = {NULL, NULL, NULL, NULL};
		if (p->level == LEVEL_GRAPH)
			g[0] = c->model->classes[i].fwd;
		else if (p->level == LEVEL_JOINT)
			g[0] = c->joint[i].g;
		else if (p->level == LEVEL_SPLIT)
			g[0] = c->split[i].f, g[1] = c->split[i].b, g[2] = c->split[i].i, g[3] = c->split[i].w;
		for (size_t k = 0; k < LEN(g); k++) {
			const char *wrong = g[k] ? graph_verify(c->arena, g[k]) : NULL;
			if (wrong)
				ice("after %s, %s: %s", p->name, g[k]->name, wrong);
		}
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const char *find_pass(Comp *c, const char *name)
{
	const char *names[LEN(passes)];
	for (size_t i = 0; i < LEN(passes); i++) {
		names[i] = passes[i].name;
		if (strcmp(names[i], name) == 0)
			return names[i];
	}
	const char *near = closest(name, names, LEN(passes));
	fprintf(stderr, "glmc: unknown pass `%s`\n", name);
	fprintf(stderr, near ? "help: did you mean `%s`?\n" : "help: `glmc --passes` lists them\n", near);
	c->status = ST_USAGE;
	return NULL;
}

static bool check_letters(Comp *c)
{
	for (const char *l = c->opt->letters ? c->opt->letters : ""; *l; l++) {
		bool known = false;
		for (size_t i = 0; i < LEN(passes); i++)
			known |= passes[i].letter == *l;
		if (known)
			continue;
		fprintf(stderr, "glmc: -d: there is no pass `%c`\nhelp: `glmc --passes` lists them\n", *l);
		c->status = ST_USAGE;
		return false;
	}
	return true;
}

bool driver_run(Comp *c, const char *last)
{
	double start = now();
	const char *stop = c->opt->stop_after ? find_pass(c, c->opt->stop_after) : last;
	if (!stop || !check_letters(c))
		return false;
	for (size_t i = 0; i < LEN(passes); i++) {
		const Pass *p = &passes[i];
		double begin = now();
		if (!p->run(c))
			return false;
		double seconds = now() - begin;
		verify_level(c, p);
		if (c->opt->time)
			fprintf(stderr, "%-10s %8.3f s\n", p->name, seconds);
		if (!dump(c, p))
			return false;
		if (strcmp(p->name, stop) == 0 || strcmp(p->name, last) == 0)
			break;
	}
	if (c->opt->time)
		fprintf(stderr, "%-10s %8.3f s\nkernels: %u compiled, %u cached\n", "total", now() - start,
		        c->cc.compiled + c->cuda_cc.compiled, c->cc.cached + c->cuda_cc.cached);
	return !diag_errors(c->diag);
}

int driver_status(const Comp *c)
{
	return c->status;
}
