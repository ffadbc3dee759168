/* passes_graph.c - the passes from a model file to kernels: once per layer class, knowing nothing
 * of stages. */
#include <string.h>

#include "../runtime/rt_value.h"
#include "base/file.h"
#include "comp.h"
#include "front/resolve.h"
#include "pass/absorb.h"
#include "pass/addend.h"
#include "pass/autodiff.h"
#include "pass/carry.h"
#include "pass/select.h"
#include "pass/simplify.h"

bool pass_parse(Comp *c)
{
	ModelSource src = {.path = c->opt->operands.v[0], .models_dir = c->install.models};
	c->program = program_load(c->arena, c->diag, &src, true);
	return c->program != NULL;
}

bool pass_check(Comp *c)
{
	const char *architecture = c->config ? c->config->architecture : NULL;
	if (architecture && strcmp(architecture, c->program->model->name.s) != 0)
		diag_warn(c->diag, c->program->model->name.span, "this model is `%s`, %s is of `%s`",
		          c->program->model->name.s, c->opt->config, architecture);
	return resolve_program(c->arena, c->diag, c->program);
}

/* Sizes from config.json, and the recipe's fake gate. */
static const SizeValue *given_sizes(Comp *c, uint32_t *n)
{
	VEC(SizeValue) v = {0};
	for (uint32_t i = 0; c->config && i < c->config->n; i++)
		vec_push(c->arena, &v, c->config->sizes[i]);
	if (c->recipe && recipe_bool(c->recipe, "model.backend.fake_balanced_gate"))
		vec_push(c->arena, &v, ((SizeValue){.name = "fake_balanced_gate", .kind = SIZE_BOOL, .i = 1}));
	*n = v.n;
	return v.v;
}

/* Every rank of an expert-parallel group holds as many experts as the others. */
static bool check_experts(Comp *c)
{
	for (uint32_t i = 0; i < c->model->nclasses; i++) {
		for (uint32_t k = 0; k < c->model->classes[i].nweights; k++) {
			const WeightDecl *w = &c->model->classes[i].weights[k];
			const Dim *e = &w->type.dim[0];
			if (!w->stacked || e->n % c->mesh.ep == 0)
				continue;
			diag_error(c->diag, recipe_span(c->recipe, "distributed.ep_size"),
			           "%s %lld must be divisible by expert_parallel_degree %d",
			           e->name ? e->name : "the number of experts", (long long)e->n, c->mesh.ep);
			diag_note(c->diag, w->span, "one expert is one element of these weights");
			return false;
		}
	}
	return true;
}

bool pass_lower(Comp *c)
{
	LowerOptions o = {.compute = c->compute, .storage = c->storage, .s_max = c->mesh.seq_max};
	o.sizes = given_sizes(c, &o.nsizes);
	c->model = model_lower(c->arena, c->diag, c->program, &o);
	return c->model && (!c->recipe || check_experts(c));
}

static bool attention_is(const Comp *c, const char *form)
{
	return c->recipe && strcmp(recipe_text(c->recipe, "glmc.attention"), form) == 0;
}

/* Keeps selections that hold every key where their form is asked for. */
static void simplify_classes(Comp *c)
{
	bool keep = attention_is(c, "masked") || attention_is(c, "absorbed");
	int64_t seq_max = keep ? 0 : c->mesh.seq_max;
	for (uint32_t i = 0; i < c->model->nclasses; i++)
		c->model->classes[i].fwd = simplify_graph(c->arena, c->model->classes[i].fwd, seq_max);
}

bool pass_simplify(Comp *c)
{
	simplify_classes(c);
	return true;
}

bool pass_carry(Comp *c)
{
	if (carry_settle(c->arena, c->model))
		simplify_classes(c);
	return true;
}

static bool has_selection(const Graph *g)
{
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i].op == OP_attention && g->nodes.v[i].nin == 4)
			return true;
	return false;
}

static bool refuse_form(Comp *c, const char *why, const char *help)
{
	diag_error(c->diag, recipe_span(c->recipe, "glmc.attention"), "%s", why);
	diag_help(c->diag, "%s", help);
	return false;
}

/* The form of attention over a selection: masked, or absorbed where it is asked for or costs less. The
 * cuda target has no gradient of the absorbed form. */
bool pass_form(Comp *c)
{
	bool always = attention_is(c, "absorbed"), selections = false;
	int found = 0;
	for (uint32_t i = 0; i < c->model->nclasses; i++)
		selections |= has_selection(c->model->classes[i].fwd);
	if (attention_is(c, "causal") && selections)
		return refuse_form(c, "`glmc.attention: causal` would change the model: rows are longer than the selection",
		                   "set it to auto, or bound the rows by distributed.pipeline.pp_seq_len");
	if (always && c->cuda)
		return refuse_form(c, "`glmc.attention: absorbed` has no gradient on the cuda target yet",
		                   "set it to auto or masked");
	if (c->cuda || attention_is(c, "masked"))
		return true;
	for (uint32_t i = 0; i < c->model->nclasses; i++)
		c->model->classes[i].fwd =
			absorb_attention(c->arena, c->model->classes[i].fwd, always, c->mesh.seq_max, &found);
	if (always && !found)
		return refuse_form(c, "`glmc.attention: absorbed` fits no attention of this model: none works over one "
		                      "latent with a selection", "set it to auto");
	if (found)
		simplify_classes(c);
	return true;
}

bool pass_autodiff(Comp *c)
{
	c->joint = ARENA_ARRAY(c->arena, Joint, c->model->nclasses);
	for (uint32_t i = 0; i < c->model->nclasses; i++) {
		const LayerClass *l = &c->model->classes[i];
		c->joint[i] = autodiff(c->arena, l->fwd, l->weights, l->nweights);
	}
	return true;
}

bool pass_addend(Comp *c)
{
	for (uint32_t i = 0; i < c->model->nclasses; i++)
		c->joint[i] = take_addends(c->arena, &c->joint[i]);
	return true;
}

static bool is_exit(const Model *m, uint32_t cls)
{
	return m->instances[m->ninstances - 1].cls == cls;
}

/* Which backward functions the schedule of the recipe needs. */
static const ScheduleInfo *schedule_of(const Comp *c)
{
	bool pipeline = c->recipe && c->mesh.pp > 1;
	return schedule_find(pipeline ? recipe_text(c->recipe, "distributed.pipeline.pp_schedule") : "1F1B");
}

bool pass_recompute(Comp *c)
{
	bool checkpoint = c->recipe && strcmp(recipe_text(c->recipe, "distributed.activation_checkpointing"),
	                                      "false") != 0;
	c->split = ARENA_ARRAY(c->arena, Split, c->model->nclasses);
	for (uint32_t i = 0; i < c->model->nclasses; i++) {
		SplitPolicy p = is_exit(c->model, i) ? SPLIT_EXIT : checkpoint ? SPLIT_CHECKPOINT : SPLIT_NORMAL;
		Split s = split_recompute(c->arena, &c->joint[i], p), *out = &c->split[i];
		out->f = simplify_graph(c->arena, s.f, 0);
		out->b = simplify_graph(c->arena, s.b, 0);
		if (!schedule_of(c)->split)
			continue;
		split_weights(c->arena, c->model->classes[i].name, out);
		out->i = simplify_graph(c->arena, out->i, 0);
		out->w = simplify_graph(c->arena, out->w, 0);
	}
	return true;
}

static uint32_t adam_kernel(Comp *c)
{
	double beta[2] = {0.9, 0.999};
	Text t = {0};
	if (c->recipe) {
		const char *decay = recipe_text(c->recipe, "optimizer.weight_decay");
		bool decoupled = strcmp(rt_value_leaf(recipe_text(c->recipe, "optimizer._target_")), "AdamW") == 0;
		rt_value_floats(recipe_text(c->recipe, "optimizer.betas"), beta, 2);
		text_add(&t, "#define EPS %.17g\n#define WEIGHT_DECAY %.17g\n#define DECOUPLED %d\n",
		         recipe_float(c->recipe, "optimizer.eps"),
		         !rt_value_null(decay) ? rt_value_float(decay) : decoupled ? 0.01 : 0.0, decoupled);
	}
	text_add(&t, "#define BETA1 %.17g\n#define BETA2 %.17g\n", beta[0], beta[1]);
	text_add(&t, "#define MASTER %d\n#define PARAM %s\n#define STORED %s\n", c->storage != c->compute,
	         c->compute == DT_bf16 ? "bf16" : "float", c->storage == DT_bf16 ? "bf16" : "float");
	uint32_t k = template_add(&c->kernels, &c->fn_options, "adam", t.s, NULL);
	text_free(&t);
	return k;
}

/* Experts of the layer that has most; 0 without exchanges. */
static int64_t most_experts(const Comp *c)
{
	int64_t most = 0;
	for (uint32_t i = 0; i < c->model->nclasses; i++)
		for (uint32_t k = 0; k < c->f[i]->steps.n; k++)
			if (c->f[i]->steps.v[k].experts > most)
				most = c->f[i]->steps.v[k].experts;
	return most;
}

/* The kernels that the runtime launches by itself: Adam with the recipe's constants, the norm, and the
 * copies of an exchange. */
static void runtime_kernels(Comp *c)
{
	RuntimeKernels *k = &c->own_kernels;
	k->adam = adam_kernel(c);
	k->sumsq = template_add(&c->kernels, &c->fn_options, "sumsq", "", NULL);
	if (!c->cuda || !most_experts(c))
		return;
	Defines experts = {0};
	vec_push(c->arena, &experts, ((Define){"EXPERTS", most_experts(c)}));
	k->slots = template_add(&c->kernels, &c->fn_options, "slots", "", &experts);
	k->pack = template_add(&c->kernels, &c->fn_options, "rows", "#define UNPACK 0\n", NULL);
	k->unpack = template_add(&c->kernels, &c->fn_options, "rows", "#define UNPACK 1\n", NULL);
}

static bool read_options(Comp *c)
{
	FnOptions *o = &c->fn_options;
	*o = (FnOptions){.ep = c->mesh.ep, .seq_max = c->mesh.seq_max, .tokens_max = c->mesh.tokens_max, .cuda = c->cuda,
	                 .templates = path_join(c->arena, c->install.templates, c->cuda ? "cuda" : "host")};
	if (c->opt->tune)
		o->tune = tune_read(c->arena, c->diag, c->opt->tune);
	return !c->opt->tune || o->tune;
}

static Fn **build_all(Comp *c, bool wanted, size_t graph)
{
	Fn **fn = ARENA_ARRAY(c->arena, Fn *, c->model->nclasses);
	for (uint32_t i = 0; wanted && i < c->model->nclasses; i++) {
		const LayerClass *l = &c->model->classes[i];
		const Graph *g = *(Graph **)(void *)((char *)&c->split[i] + graph);
		fn[i] = fn_build(c->arena, &c->kernels, c->diag, g, l->weights, l->nweights, &c->fn_options);
	}
	return fn;
}

bool pass_fuse(Comp *c)
{
	const ScheduleInfo *s = schedule_of(c);
	if (!read_options(c))
		return false;
	c->kernels = (KernelSet){.arena = c->arena, .index = map_new(c->arena)};
	c->f = build_all(c, true, offsetof(Split, f));
	c->b = build_all(c, s->whole, offsetof(Split, b));
	c->i = build_all(c, s->split, offsetof(Split, i));
	c->w = build_all(c, s->split, offsetof(Split, w));
	runtime_kernels(c);
	return !diag_errors(c->diag) && tune_check(c->fn_options.tune, c->diag);
}
