/* program.c - the instruction list of one optimizer step of one pipeline rank.
 *
 *   zero gradients, all-gather parameters | the actions in the order of the plan, reduce-scatter behind the last
 *   that adds to a gradient | optimizer
 */
#include "program_int.h"

#include "../../runtime/rt_own.h"
#include "../pass/select.h"
#include "overlap.h"

void prog_emit(Writer *w, RtInstr i)
{
	vec_push(w->a, &w->instrs, i);
}

void prog_set_args(Writer *w, RtInstr *i, const uint64_t *arg, int n)
{
	i->arg = arena_copy(w->a, arg, (size_t)n * sizeof *arg);
	i->narg = n;
}

static void write_compute(Writer *w, const PlanAct *act)
{
	bool *mark = ARENA_ARRAY(w->a, bool, w->layout.units.n + 1);
	RtActKind kind = (RtActKind)act->kind;
	if (kind != RT_ACT_F) {
		prog_mark_sums(w, kind, act->stage, mark);
		prog_open_sums(w, act, mark);
	}
	uint32_t first = w->instrs.n;
	if (kind == RT_ACT_F)
		prog_forward(w, act->stage, act->mb);
	else
		prog_backward(w, kind, act->stage, act->mb);
	vec_push(w->a, &w->acts, ((RtAct){kind, act->stage, act->mb, (int)first, (int)(w->instrs.n - first)}));
	prog_close_sums(w, mark);
}

static void write_act(Writer *w, const PlanAct *act)
{
	switch (act->kind) {
	case PLAN_F:
	case PLAN_B:
	case PLAN_I:
	case PLAN_W: write_compute(w, act); break;
	case PLAN_SEND_F: prog_transfer(w, act, act->stage + 1, w->fwd_out, act->stage, false); break;
	case PLAN_RECV_F: prog_transfer(w, act, act->stage, w->fwd_in, act->stage, false); break;
	case PLAN_SEND_B: prog_transfer(w, act, act->stage, w->grad_out, act->stage, true); break;
	case PLAN_RECV_B: prog_transfer(w, act, act->stage + 1, w->grad_in, act->stage, true); break;
	}
}

static void make_rope_tables(Writer *w)
{
	for (uint32_t k = 0; k < w->nrope; k++) {
		RtInstr i = rt_instr(RT_LAUNCH);
		const char *theta = arena_printf(w->a, "#define THETA %.17g\n", w->rope[k].theta);
		Defines d = {0};
		vec_push(w->a, &d, ((Define){w->in->options->cuda ? "DIM" : "D", w->rope[k].d}));
		i.kernel = (int)template_add(w->in->kernels, w->in->options, "rope_table", theta, &d);
		w->in->kernels->kernels.v[i.kernel].launch.access = arena_printf(w->a, "w%uS", w->rope[k].d * 4);
		prog_set_args(w, &i, &w->rope[k].off, 1);
		i.nint = 1;
		i.n[0] = w->in->seq_max;
		i.note = arena_printf(w->a, "rotary table, theta %g", w->rope[k].theta);
		prog_emit(w, i);
	}
}

static void begin_step(Writer *w)
{
	make_rope_tables(w);
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		const RtUnit *unit = &w->layout.units.v[u];
		RtInstr i = rt_instr(RT_GATHER);
		i.unit = (int)u;
		i.note = arena_printf(w->a, "parameters of %s", unit->name);
		prog_emit(w, i);
		if (!unit->trained || unit->sharded)
			continue;
		i = rt_instr(RT_ZERO);
		i.bytes = (uint64_t)unit->elems * 4;
		prog_set_args(w, &i, &unit->grad, 1);
		i.note = arena_printf(w->a, "gradients of %s", unit->name);
		prog_emit(w, i);
	}
}

static void end_step(Writer *w)
{
	prog_end_sums(w);
	RtInstr i = rt_instr(RT_OPTIMIZER);
	i.note = arena_strdup(w->a, "normalise, clip, update");
	prog_emit(w, i);
}

static RtProg *new_prog(Arena *a, const PlanInput *in, int pp_rank)
{
	RtProg *p = ARENA_NEW(a, RtProg);
	p->model = arena_strdup(a, in->model->name);
	p->world = in->world;
	p->pp = in->pp;
	p->dp = in->dp;
	p->ep = in->ep;
	p->ep_shard = in->ep_shard;
	p->pp_rank = pp_rank;
	p->microbatches = in->microbatches;
	p->runs = in->runs;
	p->docs_max = in->docs_max;
	p->tokens_max = in->tokens_max;
	p->seq_max = in->seq_max;
	return p;
}

/* The runtime's own memory lies behind everything else. */
static void reserve_own(RtProg *p, RankPlan *plan)
{
	p->own = p->arena_bytes;
	plan->bytes.runtime = rt_own(p).bytes;
	p->arena_bytes += plan->bytes.runtime;
}

static void set_lists(const Writer *w)
{
	RtProg *p = w->p;
	p->units = w->layout.units.v;
	p->nunit = (int)w->layout.units.n;
	p->tensors = w->layout.tensors.v;
	p->ntensor = (int)w->layout.tensors.n;
	p->balances = w->balances.v;
	p->nbalance = (int)w->balances.n;
	p->acts = w->acts.v;
	p->nact = (int)w->acts.n;
	p->instrs = w->instrs.v;
	p->ninstr = (int)w->instrs.n;
}

RankPlan plan_rank(Arena *a, const PlanInput *in, int pp_rank)
{
	Writer w = {.a = a, .in = in, .pp_rank = pp_rank, .p = new_prog(a, in, pp_rank), .run = -1};
	RankPlan plan = {.prog = w.p, .peak_instr = -1};
	w.layout = layout_rank(a, in, pp_rank);
	prog_init_carried(&w);
	prog_init_actions(&w);
	prog_init_sums(&w);
	plan.bytes = w.layout.bytes;
	prog_exchange_sizes(&w);
	prog_reserve_fixed(&w);
	plan.bytes.data = w.fixed - w.layout.end;
	begin_step(&w);
	for (uint32_t i = 0; i < in->nacts[pp_rank]; i++)
		write_act(&w, &in->acts[pp_rank][i]);
	end_step(&w);
	prog_place_buffers(&w, &plan);
	prog_number_kernels(&w);
	set_lists(&w);
	if (in->options->cuda)
		overlap_streams(a, w.p, &plan);
	reserve_own(w.p, &plan);
	return plan;
}
