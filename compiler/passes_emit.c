/* passes_emit.c - the passes from programs to files. */
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "driver.h"

static bool not_yet(Comp *c, const char *what)
{
	diag_error(c->diag, (Span){0}, "%s", what);
	return false;
}

bool pass_compile(Comp *c)
{
	if (c->cuda) {
		not_yet(c, "the cuda target plans, but does not build yet");
		diag_help(c->diag, "use `glmc plan`, or --target host");
		return false;
	}
	if (c->storage != DT_f32 || c->compute != DT_f32) {
		not_yet(c, "the host target computes in float32 only");
		diag_help(c->diag, "set model.torch_dtype and distributed.mp_policy.param_dtype to float32");
		return false;
	}
	if (!host_cc_init(&c->cc, c->arena, c->diag, path_join(c->arena, c->install.templates, "host"),
	                  c->install.runtime, c->install.library, c->cc.link_flags)) {
		c->status = ST_ENV;
		return false;
	}
	c->cc.quiet = c->opt->quiet;
	c->objects = ARENA_ARRAY(c->arena, const char *, c->kernels.kernels.n + 1);
	return host_cc_objects(&c->cc, &c->kernels, c->objects);
}

static const char *default_dir(const Comp *c)
{
	const char *path = c->opt->operands.v[0], *base = strrchr(path, '/');
	base = base ? base + 1 : path;
	size_t n = strlen(base);
	if (n > 4 && strcmp(base + n - 4, ".glm") == 0)
		n -= 4;
	return arena_printf(c->arena, "build.%.*s", (int)n, base);
}

bool pass_write(Comp *c)
{
	BuildDir b = {.a = c->arena, .d = c->diag, .kernels = &c->kernels, .objects = c->objects, .plans = c->plans,
	              .inputs = c->inputs.v, .ninputs = c->inputs.n};
	b.dir = c->opt->out ? c->opt->out : default_dir(c);
	b.image = host_cc_image(&c->cc, &c->kernels, c->objects);
	Text plan = {0};
	plan_json(c, &plan);
	b.plan = plan.s;
	bool ok = b.image && build_dir_write(&b);
	text_free(&plan);
	return ok;
}
