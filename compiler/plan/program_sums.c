/* program_sums.c - gradients: when they are reduced, and buffers for those that are kept sharded.
 *
 * A unit is reduced behind the last action that adds to it, while others are computed. One that is sharded adds up
 * in a buffer that lives in each run of the schedule from the first backward action that adds to it to the last:
 * it is cleared first, and reduced to the shard at the end. */
#include "program_int.h"

#include <string.h>

void prog_mark_sums(const Writer *w, RtActKind kind, int stage, bool *mark)
{
	const PlanStage *s = &w->in->stages[stage];
	memset(mark, 0, w->layout.units.n * sizeof *mark);
	for (uint32_t i = s->first; i <= s->last; i++) {
		const Fn *fn = w->in->fn[kind][w->in->model->instances[i].cls];
		for (uint32_t k = 0; k < fn->bufs.n; k++) {
			const FnBuf *f = &fn->bufs.v[k];
			int unit = f->role == BUF_WGRAD && f->first >= 0 ? w->layout.place[i][f->index].unit : -1;
			if (unit >= 0)
				mark[unit] = true;
		}
	}
}

/* Counts the actions of a run that add to every unit, of the sharded ones or of the others. */
static void count_sums(Writer *w, int run, bool sharded)
{
	bool *mark = ARENA_ARRAY(w->a, bool, w->layout.units.n + 1);
	int mbs = w->in->microbatches / w->in->runs;
	for (uint32_t i = 0; i < w->in->nacts[w->pp_rank]; i++) {
		const PlanAct *act = &w->in->acts[w->pp_rank][i];
		if (act->kind < PLAN_B || act->kind > PLAN_W || act->mb / mbs != run)
			continue;
		prog_mark_sums(w, (RtActKind)act->kind, act->stage, mark);
		for (uint32_t u = 0; u < w->layout.units.n; u++)
			w->sums[u].left += mark[u] && w->layout.units.v[u].sharded == sharded;
	}
}

void prog_init_sums(Writer *w)
{
	w->sums = ARENA_ARRAY(w->a, Sums, w->layout.units.n + 1);
	for (uint32_t u = 0; u < w->layout.units.n; u++)
		w->sums[u].buf = NO_BUF;
	for (int run = 0; run < w->in->runs; run++)
		count_sums(w, run, false);
}

static void emit_sums(Writer *w, RtOp op, uint32_t unit)
{
	const RtUnit *u = &w->layout.units.v[unit];
	RtInstr i = rt_instr(op);
	i.unit = (int)unit;
	i.acc = op == RT_ZERO && w->sums[unit].reduced;
	i.bytes = op == RT_ZERO ? (uint64_t)u->elems * 4 : 0;
	if (u->sharded) {
		uint64_t arg = prog_reference(w->sums[unit].buf, 0);
		prog_touch(w, w->sums[unit].buf);
		prog_set_args(w, &i, &arg, 1);
	}
	i.note = arena_printf(w->a, "gradients of %s", u->name);
	prog_emit(w, i);
}

static void reduce(Writer *w, uint32_t unit)
{
	emit_sums(w, RT_REDUCE, unit);
	w->sums[unit].buf = NO_BUF;
	w->sums[unit].reduced = true;
}

/* Buffers for what the action is the first of the run to add to. */
void prog_open_sums(Writer *w, const PlanAct *act, const bool *mark)
{
	int run = act->mb / (w->in->microbatches / w->in->runs);
	while (w->run < run)
		count_sums(w, ++w->run, true);
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		if (!mark[u] || !w->layout.units.v[u].sharded || w->sums[u].buf != NO_BUF)
			continue;
		char *name = arena_printf(w->a, "sums@%s%d", w->layout.units.v[u].name, run);
		w->sums[u].buf = prog_new_buf(w, (uint64_t)w->layout.units.v[u].elems * 4, RT_BUF_GRADIENT, name);
		emit_sums(w, RT_ZERO, u);
	}
}

void prog_close_sums(Writer *w, const bool *mark)
{
	for (uint32_t u = 0; u < w->layout.units.n; u++)
		if (mark[u] && --w->sums[u].left == 0)
			reduce(w, u);
}

void prog_end_sums(Writer *w)
{
	for (uint32_t u = 0; u < w->layout.units.n; u++)
		if (w->layout.units.v[u].trained && !w->layout.units.v[u].sharded && !w->sums[u].reduced)
			reduce(w, u);
}
