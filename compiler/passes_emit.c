/* passes_emit.c - the passes from programs to files. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "driver.h"
#include "emit/edited.h"

static bool compile_host(Comp *c)
{
	if (!host_cc_init(&c->cc, c->arena, c->diag, path_join(c->arena, c->install.templates, "host"),
	                  c->install.runtime, c->install.library, c->cc.link_flags)) {
		c->status = ST_ENV;
		return false;
	}
	c->cc.quiet = c->opt->quiet;
	c->cc.edited = c->opt->kernels;
	c->objects = ARENA_ARRAY(c->arena, const char *, c->kernels.kernels.n + 1);
	if (host_cc_objects(&c->cc, &c->kernels, c->objects))
		return true;
	c->status = c->cc.full ? ST_MEMORY : ST_ENV;
	return false;
}

/* Tensor cores multiply bfloat16; exact float32 is the host target's. */
static bool check_compute(Comp *c)
{
	const char *key = "distributed.mp_policy.param_dtype";
	Span at = recipe_span(c->recipe, key);
	if (c->compute == DT_bf16)
		return true;
	diag_error(c->diag, at.file ? at : recipe_span(c->recipe, "model.torch_dtype"),
	           "the cuda target computes in bfloat16, not in float32");
	diag_help(c->diag, "set %s: bfloat16; parameters stay float32 where model.torch_dtype says so", key);
	return false;
}

/* What the target cannot do, found when kernels were selected: once per place. */
static bool check_problems(Comp *c)
{
	for (uint32_t i = 0; i < c->kernels.problems.n; i++) {
		const Problem *p = &c->kernels.problems.v[i];
		bool told = false;
		for (uint32_t k = 0; k < i; k++)
			told |= memcmp(&c->kernels.problems.v[k].span, &p->span, sizeof p->span) == 0;
		if (!told)
			diag_error(c->diag, p->span, "%s", p->text);
	}
	if (c->kernels.problems.n)
		diag_help(c->diag, "change that in the model, its config or the file of --tune, or build with --target host");
	return c->kernels.problems.n == 0;
}

/* Every operator whose template is missing, once, with the place that needs it. */
static bool check_templates(Comp *c)
{
	Map told = map_new(c->arena);
	bool ok = true;
	for (uint32_t i = 0; i < c->kernels.kernels.n; i++) {
		const Kernel *k = &c->kernels.kernels.v[i];
		if (!k->missing || map_get(&told, k->template_, NULL))
			continue;
		map_set(&told, k->template_, 1);
		ok = false;
		diag_error(c->diag, (Span){0}, "there is no template cuda/%s yet, which kernel %s for %s needs", k->template_,
		           k->name, *k->origin ? k->origin : "the runtime");
	}
	return ok;
}

static bool compile_cuda(Comp *c)
{
	if (!check_compute(c) || !check_problems(c))
		return false;
	c->cuda_cc = (CudaCc){.a = c->arena, .d = c->diag, .templates = c->fn_options.templates,
	                      .arch = c->opt->arch ? c->opt->arch : "sm_90a", .lineinfo = c->opt->lineinfo,
	                      .edited = c->opt->kernels, .quiet = c->opt->quiet};
	if (!cuda_cc_init(&c->cuda_cc)) { /* sources and programs are written all the same */
		c->status = ST_ENV;
		return check_templates(c);
	}
	c->binaries = ARENA_ARRAY(c->arena, CudaBinary, c->kernels.kernels.n + 1);
	bool ok = cuda_cc_kernels(&c->cuda_cc, &c->kernels, c->binaries);
	return check_templates(c) && ok;
}

static const char *output_dir(const Comp *c)
{
	if (c->opt->out)
		return c->opt->out;
	const char *path = c->opt->operands.v[0], *base = strrchr(path, '/');
	base = base ? base + 1 : path;
	size_t n = strlen(base);
	if (n > 4 && strcmp(base + n - 4, ".glm") == 0)
		n -= 4;
	return arena_printf(c->arena, "build.%.*s", (int)n, base);
}

/* Leaves no folder behind: it is made when there is something to write. */
static bool can_write(Arena *a, const char *dir)
{
	const char *up = path_dir(a, dir);
	if (file_exists(dir))
		return access(path_join(a, dir, "."), W_OK | X_OK) == 0;
	if (!file_exists(up))
		return can_write(a, up);
	if (mkdir(dir, 0777) != 0)
		return errno == EEXIST;
	return rmdir(dir) == 0;
}

/* A folder that cannot be written is told before minutes of compiling. */
static bool check_output(Comp *c)
{
	const char *dir = output_dir(c);
	if (c->opt->stop_after && strcmp(c->opt->stop_after, "write") != 0)
		return true;
	if (can_write(c->arena, dir))
		return true;
	c->status = status_of_errno(errno, ST_INPUT);
	diag_error(c->diag, (Span){0}, "cannot write to %s: %s", dir, strerror(errno));
	return false;
}

bool pass_compile(Comp *c)
{
	if (!check_output(c))
		return false;
	if (c->opt->kernels && !edited_take(c->arena, c->diag, &c->kernels, c->opt->kernels, c->cuda ? ".cu" : ".c"))
		return false;
	return c->cuda ? compile_cuda(c) : compile_host(c);
}

bool pass_write(Comp *c)
{
	BuildDir b = {.a = c->arena, .d = c->diag, .kernels = &c->kernels, .objects = c->objects, .plans = c->plans,
	              .inputs = c->inputs.v, .ninputs = c->inputs.n, .status = &c->status, .cuda = c->cuda,
	              .binaries = c->binaries, .argc = c->opt->argc, .argv = c->opt->argv,
	              .folder = path_current(c->arena)};
	b.dir = output_dir(c);
	b.image = !c->cuda ? host_cc_image(&c->cc, &c->kernels, c->objects) : c->binaries ? c->install.rank_cuda : NULL;
	if (!b.image && !c->cuda)
		c->status = c->cc.full ? ST_MEMORY : ST_ENV;
	Text plan = {0};
	plan_json(c, &plan);
	b.plan = plan.s;
	bool ok = (b.image || c->cuda) && build_dir_write(&b);
	text_free(&plan);
	return ok && !diag_errors(c->diag);
}
