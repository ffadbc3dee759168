/* passes_plan.c - the passes from kernels to rank programs: what changes with the layout. */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "comp.h"
#include "plan/balance.h"
#include "plan/predict.h"
#include "plan/verify.h"

static Rounding rounding(const Comp *c)
{
	const char *s = recipe_text(c->recipe, "distributed.pipeline.round_virtual_stages_to_pp_multiple");
	return strcmp(s, "up") == 0 ? ROUND_UP : strcmp(s, "down") == 0 ? ROUND_DOWN : ROUND_NONE;
}

/* Layers [first, last] with embedding and head as instances of the model. */
static PlanStage plan_stage(const Stage *s)
{
	return (PlanStage){.pp_rank = s->pp_rank, .first = (uint32_t)s->first_layer + !s->embedding,
	                   .last = (uint32_t)s->last_layer + 1 + s->head};
}

/* A weight of several layers has one gradient, so it must lie on one pipeline rank. */
static void check_weight(Comp *c, Map *owner, const Instance *inst, const WeightDecl *d, int pp_rank)
{
	const char *name = arena_printf(c->arena, "%s%s", inst->prefix, d->name);
	int64_t other;
	if (!map_get(owner, name, &other)) {
		map_set(owner, name, pp_rank);
		return;
	}
	if (other == pp_rank)
		return;
	diag_error(c->diag, d->span, "`%s` is a weight of layers on pipeline ranks %d and %d", name, (int)other,
	           pp_rank);
	diag_help(c->diag, "layers that share a weight must lie on one rank: set distributed.pp_size to 1");
}

static bool check_shared(Comp *c)
{
	Map owner = map_new(c->arena);
	for (int s = 0; s < c->stages.n; s++) {
		PlanStage p = plan_stage(&c->stages.v[s]);
		for (uint32_t i = p.first; i <= p.last; i++) {
			const Instance *inst = &c->model->instances[i];
			const LayerClass *l = &c->model->classes[inst->cls];
			for (uint32_t w = 0; w < l->nweights; w++)
				check_weight(c, &owner, inst, &l->weights[w], p.pp_rank);
		}
	}
	return !diag_errors(c->diag);
}

static double fn_cost(const Comp *c, const Fn *fn)
{
	const Mesh *m = &c->mesh;
	RtProg sizes = {.tokens_max = m->tokens_max, .seq_max = m->seq_max, .world = m->world, .pp = m->pp, .dp = m->dp,
	                .ep = m->ep, .ep_shard = m->ep_shard};
	return fn ? predict_fn(c->arena, fn, &c->kernels, &sizes, &c->device) : 0;
}

/* Microseconds of a stage's forward and backward on the device. */
static StageCost stage_cost(const Comp *c, const PlanStage *s)
{
	StageCost cost = {0, 0, 0};
	for (uint32_t i = s->first; i <= s->last; i++) {
		uint32_t cls = c->model->instances[i].cls;
		double weight = fn_cost(c, c->w[cls]);
		cost.forward += fn_cost(c, c->f[cls]);
		cost.weight += weight;
		cost.backward += fn_cost(c, c->b[cls]) + fn_cost(c, c->i[cls]) + weight;
	}
	return cost;
}

static double model_flops(const Comp *c)
{
	CostEnv env = {(double)c->mesh.tokens_max, (double)c->mesh.seq_max};
	double sum = 0;
	for (uint32_t i = 0; i < c->model->ninstances; i++)
		sum += graph_flops(c->joint[c->model->instances[i].cls].g, &env);
	return sum * c->mesh.microbatches * c->mesh.runs * c->mesh.dp;
}

/* Runs of a step and microbatches of a run: as AutoModel, or all in one run. */
static int runs(const Comp *c)
{
	return recipe_bool(c->recipe, "glmc.merge_accumulation") ? 1 : c->mesh.runs;
}

static int run_microbatches(const Comp *c)
{
	return c->mesh.microbatches * c->mesh.runs / runs(c);
}

static void print_rejection(Comp *c, const char *why)
{
	diag_error(c->diag, recipe_span(c->recipe, "distributed.pipeline.pp_schedule"), "%s", why);
}

static bool is_pipeline(const Comp *c)
{
	return c->mesh.pp > 1;
}

/* ---- stages ---- */

static int *stage_ranks(const Comp *c)
{
	int *rank = ARENA_ARRAY(c->arena, int, c->stages.n);
	for (int i = 0; i < c->stages.n; i++)
		rank[i] = c->stages.v[i].pp_rank;
	return rank;
}

/* Everything of the simulation but costs. */
static OrderInput order_input(const Comp *c, const ActList *compute)
{
	return (OrderInput){.pp = c->mesh.pp, .nstages = c->stages.n, .stage_rank = stage_ranks(c), .compute = compute,
	                    .microbatches = run_microbatches(c), .runs = runs(c), .latency = c->device.link_us};
}

static StageCost instance_cost(const Comp *c, uint32_t i)
{
	PlanStage one = {.first = i, .last = i};
	return stage_cost(c, &one);
}

/* Layers to stages by predicted time. What the schedule rejects is said by pass_schedule. */
static void balance(Comp *c)
{
	int pp = c->mesh.pp, m = run_microbatches(c), layers = c->model->num_layers;
	if (schedule_reject(c->arena, c->schedule, pp, c->stages.per_rank, m))
		return;
	ActList *compute = ARENA_ARRAY(c->arena, ActList, pp);
	StageCost *layer = ARENA_ARRAY(c->arena, StageCost, layers);
	schedule_compute(c->arena, c->schedule, pp, c->stages.per_rank, m, compute);
	for (int i = 0; i < layers; i++)
		layer[i] = instance_cost(c, (uint32_t)i + 1);
	BalanceInput in = {.order = order_input(c, compute), .layer = layer, .first = instance_cost(c, 0),
	                   .last = instance_cost(c, (uint32_t)layers + 1)};
	balance_stages(c->arena, &c->stages, &in);
}

bool pass_stage(Comp *c)
{
	const char *name = recipe_text(c->recipe, "distributed.pipeline.pp_schedule");
	const char *key = "distributed.pipeline.layers_per_stage";
	int per_stage = recipe_null(c->recipe, key) ? 0 : (int)recipe_int(c->recipe, key);
	c->schedule = schedule_find(name);
	c->stages = stage_split(c->arena, c->model->num_layers, per_stage, c->mesh.pp, rounding(c), name);
	if (!c->stages.error) {
		if (is_pipeline(c) && strcmp(recipe_text(c->recipe, "glmc.stage_balance"), "cost") == 0)
			balance(c);
		return check_shared(c);
	}
	Span at = recipe_span(c->recipe, key);
	diag_error(c->diag, at.file ? at : recipe_span(c->recipe, "distributed.pipeline.pp_schedule"), "%s",
	           c->stages.error);
	return false;
}

/* ---- schedule ---- */

bool pass_schedule(Comp *c)
{
	int pp = c->mesh.pp, m = run_microbatches(c), n = c->stages.n;
	const ScheduleInfo *s = is_pipeline(c) ? c->schedule : schedule_find("1F1B");
	const char *why = schedule_reject(c->arena, s, pp, c->stages.per_rank, m);
	if (why) {
		print_rejection(c, why);
		return false;
	}
	c->actions = ARENA_ARRAY(c->arena, ActList, pp);
	schedule_compute(c->arena, s, pp, c->stages.per_rank, m, c->actions);
	c->costs = ARENA_ARRAY(c->arena, StageCost, n);
	for (int i = 0; i < n; i++) {
		PlanStage p = plan_stage(&c->stages.v[i]);
		c->costs[i] = stage_cost(c, &p);
	}
	c->model_flops = model_flops(c);
	OrderInput in = order_input(c, c->actions);
	in.cost = c->costs;
	c->order = order_actions(c->arena, &in);
	if (c->order.error) {
		print_rejection(c, c->order.error);
		return false;
	}
	return true;
}

/* ---- programs ---- */

static PlanAct plan_act(const Act *a)
{
	static const PlanActKind kind[] = {[ACT_F] = PLAN_F, [ACT_B] = PLAN_B, [ACT_I] = PLAN_I, [ACT_W] = PLAN_W,
	                                   [ACT_SEND_F] = PLAN_SEND_F, [ACT_RECV_F] = PLAN_RECV_F,
	                                   [ACT_SEND_B] = PLAN_SEND_B, [ACT_RECV_B] = PLAN_RECV_B};
	return (PlanAct){kind[a->kind], a->stage, a->mb};
}

static void fill_acts(Comp *c, PlanInput *p)
{
	p->acts = ARENA_ARRAY(c->arena, PlanAct *, c->mesh.pp);
	p->nacts = ARENA_ARRAY(c->arena, uint32_t, c->mesh.pp);
	for (int r = 0; r < c->mesh.pp; r++) {
		const ActList *l = &c->order.rank[r];
		p->acts[r] = ARENA_ARRAY(c->arena, PlanAct, l->n + 1);
		p->nacts[r] = l->n;
		for (uint32_t i = 0; i < l->n; i++)
			p->acts[r][i] = plan_act(&l->v[i]);
	}
}

static void fill_settings(Comp *c, RtProg *p)
{
	VEC(RtSetting) config = {0};
	p->settings = ARENA_ARRAY(c->arena, RtSetting, c->recipe->values.n + 1);
	p->nsetting = (int)c->recipe->values.n;
	for (uint32_t i = 0; i < c->recipe->values.n; i++)
		p->settings[i] = (RtSetting){arena_strdup(c->arena, c->recipe->values.v[i].key),
		                             arena_strdup(c->arena, c->recipe->values.v[i].text)};
	for (uint32_t i = 0; i < c->model->nsizes; i++) {
		const ModelSize *s = &c->model->sizes[i];
		bool unset = strcmp(s->value, "[]") == 0 || strcmp(s->value, "null") == 0;
		if (s->from_config || !unset)
			vec_push(c->arena, &config, ((RtSetting){arena_strdup(c->arena, s->name),
			                                         arena_strdup(c->arena, s->value)}));
	}
	p->config = config.v;
	p->nconfig = (int)config.n;
	p->flops_per_token = (int64_t)(c->model_flops / ((double)c->mesh.tokens_max * c->mesh.microbatches *
	                                                 c->mesh.runs * c->mesh.dp));
}

bool pass_memory(Comp *c)
{
	PlanInput *p = &c->plan;
	*p = (PlanInput){.model = c->model, .fn = {c->f, c->b, c->i, c->w}, .kernels = &c->kernels, .diag = c->diag,
	                 .world = c->mesh.world, .pp = c->mesh.pp, .dp = c->mesh.dp, .ep = c->mesh.ep,
	                 .ep_shard = c->mesh.ep_shard, .microbatches = c->mesh.microbatches * c->mesh.runs,
	                 .runs = c->mesh.runs, .docs_max = c->mesh.docs, .tokens_max = c->mesh.tokens_max,
	                 .seq_max = c->mesh.seq_max, .storage = c->storage, .compute = c->compute, .own = c->own_kernels,
	                 .options = &c->fn_options};
	p->capacity = recipe_float(c->recipe, "glmc.expert_capacity");
	p->shard_gradients = recipe_bool(c->recipe, "glmc.shard_gradients");
	p->nstages = (uint32_t)c->stages.n;
	p->stages = ARENA_ARRAY(c->arena, PlanStage, c->stages.n);
	for (int i = 0; i < c->stages.n; i++)
		p->stages[i] = plan_stage(&c->stages.v[i]);
	fill_acts(c, p);
	c->plans = ARENA_ARRAY(c->arena, RankPlan, p->pp);
	for (int r = 0; r < p->pp; r++) {
		c->plans[r] = plan_rank(c->arena, p, r);
		fill_settings(c, c->plans[r].prog);
	}
	return true;
}

/* What the recipe leaves to change of the largest part of a rank's memory. */
static const char *memory_help(const Comp *c, const PlanBytes *b)
{
	bool all_kept = strcmp(recipe_text(c->recipe, "distributed.activation_checkpointing"), "false") == 0;
	if (b->activations >= b->gradients && b->activations >= b->optimizer)
		return arena_printf(c->arena, "lower %sthe sequence length, or %s%s",
		                    c->mesh.docs > 1 ? "pp_microbatch_size or " : "",
		                    all_kept ? "set activation_checkpointing: true" : "make room with more ranks",
		                    all_kept || c->plan.shard_gradients ? "" : " or glmc.shard_gradients: true");
	if (b->gradients >= b->optimizer && !c->plan.shard_gradients)
		return "glmc.shard_gradients: true keeps only a shard of the gradients between runs";
	return arena_printf(c->arena, "raise ep_size or the number of ranks%s",
	                    c->storage == DT_bf16 ? "" : ", or keep parameters and Adam states in bfloat16");
}

static bool check_fits(Comp *c)
{
	double have = c->device.memory_bytes - c->device.reserve_bytes;
	for (int r = 0; r < c->mesh.pp; r++) {
		const RankPlan *p = &c->plans[r];
		double need = (double)p->prog->arena_bytes;
		if (need <= have)
			continue;
		diag_error(c->diag, (Span){0}, "pipeline rank %d needs %.3f GB, %s has %.3f GB beside its reserve: "
		           "parameters %.3f, gradients %.3f, optimizer %.3f, data %.3f, activations %.3f, runtime %.3f", r, need / 1e9,
		           c->device.name, have / 1e9, (double)p->bytes.parameters / 1e9,
		           (double)p->bytes.gradients / 1e9, (double)p->bytes.optimizer / 1e9,
		           (double)p->bytes.data / 1e9, (double)p->bytes.activations / 1e9,
		           (double)p->bytes.runtime / 1e9);
		if (p->peak_instr >= 0)
			diag_note(c->diag, (Span){0}, "the activations are largest in instruction %d, %s", p->peak_instr,
			          p->prog->instrs[p->peak_instr].note ? p->prog->instrs[p->peak_instr].note : "");
		diag_help(c->diag, "%s", memory_help(c, &p->bytes));
		return false;
	}
	return true;
}

/* Kernels can be looked at before the plan fits anywhere. */
static bool wants_kernels_only(const Comp *c)
{
	return c->opt->stop_after && strcmp(c->opt->stop_after, "compile") == 0;
}

bool pass_verify(Comp *c)
{
	const RtProg **p = ARENA_ARRAY(c->arena, const RtProg *, c->mesh.pp);
	for (int r = 0; r < c->mesh.pp; r++)
		p[r] = c->plans[r].prog;
	Findings f = verify_programs(c->arena, p, c->mesh.pp);
	if (f.n)
		ice("the rank programs do not hold\n%s", verify_text(c->arena, &f));
	return wants_kernels_only(c) || check_fits(c);
}
