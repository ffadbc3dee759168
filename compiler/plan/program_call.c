/* program_call.c - the instructions of one call of a function, and where its buffers are. */
#include "program_int.h"

#include <string.h>

#include "mem_plan.h"

uint64_t prog_rows_bytes(const Writer *w, const FnBuf *f)
{
	uint64_t rows = f->rows == ROWS_T ? (uint64_t)w->in->tokens_max
	                : f->rows == ROWS_R ? (uint64_t)w->p->rows_max : 1;
	if (f->blocks_of)
		rows = (rows + (uint64_t)f->blocks_of - 1) / (uint64_t)f->blocks_of;
	return rows * (uint64_t)f->row_bytes;
}

const Workspace *prog_workspace(Writer *w, Workspace *ws, const Fn *fn)
{
	if (ws->known)
		return ws;
	MemItem *items = ARENA_ARRAY(w->a, MemItem, fn->bufs.n + 1);
	uint32_t *which = ARENA_ARRAY(w->a, uint32_t, fn->bufs.n + 1), n = 0;
	ws->off = ARENA_ARRAY(w->a, uint64_t, fn->bufs.n + 1);
	for (uint32_t i = 0; i < fn->bufs.n; i++) {
		const FnBuf *f = &fn->bufs.v[i];
		if (f->role != BUF_LOCAL || f->first < 0)
			continue;
		items[n] = (MemItem){.bytes = prog_rows_bytes(w, f), .birth = f->first, .death = f->last + 1};
		which[n++] = i;
	}
	ws->bytes = mem_plan(w->a, items, n, ALIGN_BYTES, NULL);
	for (uint32_t i = 0; i < n; i++)
		ws->off[which[i]] = items[i].offset;
	ws->known = true;
	return ws;
}

/* Where a weight's gradient is added up. */
static uint64_t wgrad_address(Writer *w, const WeightPlace *pl)
{
	const RtUnit *u = &w->layout.units.v[pl->unit];
	if (!u->sharded)
		return u->grad + (uint64_t)pl->off * 4;
	int k = w->sums[pl->unit].buf;
	if (k == NO_BUF)
		ice("gradients of %s are added up outside of their life", u->name);
	prog_touch(w, k);
	return prog_reference(k, (uint64_t)pl->off * 4);
}

static uint64_t buf_address(Writer *w, const Call *c, uint32_t k)
{
	const FnBuf *f = &c->fn->bufs.v[k];
	uint64_t tokens = (uint64_t)c->mb * (uint64_t)w->in->tokens_max * 4;
	const WeightPlace *pl;
	const RtUnit *u;
	switch (f->role) {
	case BUF_LOCAL:
		prog_touch(w, c->work);
		return prog_reference(c->work, c->ws->off[k]);
	case BUF_INPUT:
	case BUF_OUTPUT:
		if (c->bound[k] == NO_BUF)
			ice("%s: value %s has no buffer", c->fn->name, f->name);
		prog_touch(w, c->bound[k]);
		return prog_reference(c->bound[k], 0);
	case BUF_WEIGHT:
	case BUF_WGRAD:
		pl = &w->layout.place[c->instance][f->index];
		u = &w->layout.units.v[pl->unit];
		if (f->role == BUF_WGRAD)
			return wgrad_address(w, pl);
		return u->param + (uint64_t)pl->off * rt_dtype_bytes(u->dtype);
	case BUF_TOKENS: return w->p->tokens + tokens;
	case BUF_LABELS: return w->p->labels + tokens;
	case BUF_LOSS: return w->p->loss + (uint64_t)c->mb * 8;
	case BUF_ROPE: return prog_rope_offset(w, f->theta, f->index);
	}
	ice("buffer without a role");
}

static char *note(Writer *w, const Call *c, Span s)
{
	uint32_t line = 0, col = 0;
	const Source *src = diag_source(w->in->diag, s.file);
	const Instance *inst = &w->in->model->instances[c->instance];
	if (src)
		diag_line_col(w->in->diag, s, &line, &col);
	const char *where = src ? arena_printf(w->a, " %s:%u", src->path, line) : "";
	if (inst->layer < 0)
		return arena_printf(w->a, "%s %s%s", c->phase, inst->is_entry ? "entry" : "exit", where);
	return arena_printf(w->a, "%s layer %d%s", c->phase, inst->layer, where);
}

static void set_gemm(RtInstr *i, const Gemm *g)
{
	i->form = g->form;
	i->rows = g->rows == ROWS_T ? RT_ROWS_T : g->rows == ROWS_R ? RT_ROWS_R : RT_ROWS_CONST;
	i->heads = g->heads;
	i->nrow = g->nrow;
	i->row0 = g->row0;
	i->ncol = g->ncol;
	i->kcol = g->kcol;
	i->adt = (int)plan_dtype(g->a);
	i->bdt = (int)plan_dtype(g->b);
	i->cdt = (int)plan_dtype(g->c);
	i->acc = g->acc;
}

RtInstr plan_step(const Step *s)
{
	static const RtOp op[] = {RT_LAUNCH, RT_COUNTS, RT_ROUNDS, RT_DISPATCH, RT_COLLECT, RT_GEMM};
	RtInstr i = rt_instr(op[s->kind]);
	i.xch = (int)s->xch;
	i.topk = s->topk;
	i.experts = (int)s->experts;
	i.body = (int)s->body;
	i.per_slot = s->per_slot;
	i.row_bytes = (uint64_t)s->row_bytes;
	i.narg = (int)s->narg;
	i.nint = s->nint;
	memcpy(i.n, s->n, sizeof i.n);
	if (s->kind == STEP_GEMM)
		set_gemm(&i, &s->gemm);
	return i;
}

static void emit_step(Writer *w, const Call *c, const Step *s)
{
	RtInstr i = plan_step(s);
	uint64_t *arg = ARENA_ARRAY(w->a, uint64_t, s->narg + 1);
	i.mb = c->mb;
	i.stage = c->stage;
	i.layer = w->in->model->instances[c->instance].layer;
	i.kernel = s->kind == STEP_LAUNCH ? (int)s->kernel : -1;
	if (s->kind == STEP_COUNTS && s->balance >= 0)
		i.bal = w->balance[c->instance][s->balance] - 1;
	for (uint32_t k = 0; k < s->narg; k++)
		arg[k] = buf_address(w, c, s->arg[k]) + (s->off ? s->off[k] : 0);
	prog_set_args(w, &i, arg, (int)s->narg);
	i.note = note(w, c, s->span);
	prog_emit(w, i);
}

/* Emits the steps; lifetimes in the function know its loops. */
void prog_emit_function(Writer *w, const Call *c)
{
	int first = (int)w->instrs.n;
	for (uint32_t i = 0; i < c->fn->steps.n; i++)
		emit_step(w, c, &c->fn->steps.v[i]);
	for (uint32_t k = 0; k < c->fn->bufs.n; k++) {
		const FnBuf *f = &c->fn->bufs.v[k];
		if (c->bound[k] == NO_BUF || f->first < 0)
			continue;
		prog_touch_at(w, c->bound[k], first + f->first);
		prog_touch_at(w, c->bound[k], first + f->last);
	}
}
