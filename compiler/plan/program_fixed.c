/* program_fixed.c - memory that lives always, behind the units of the layout: data, losses, rotary
 * tables; and the sizes of exchanges. */
#include "program_int.h"

static uint64_t reserve(Writer *w, uint64_t bytes)
{
	uint64_t at = w->fixed;
	w->fixed += round_up(bytes, ALIGN_BYTES);
	return at;
}

static bool uses_role(const Fn *fn, BufRole role)
{
	for (uint32_t i = 0; i < fn->bufs.n; i++)
		if (fn->bufs.v[i].role == role && fn->bufs.v[i].first >= 0)
			return true;
	return false;
}

uint64_t prog_rope_offset(const Writer *w, double theta, uint32_t d)
{
	for (uint32_t i = 0; i < w->nrope; i++)
		if (w->rope[i].theta == theta && w->rope[i].d == d)
			return w->rope[i].off;
	ice("rope table of width %u was not reserved", d);
}

static void reserve_rope(Writer *w, const Fn *fn)
{
	for (uint32_t i = 0; i < fn->bufs.n; i++) {
		const FnBuf *f = &fn->bufs.v[i];
		if (f->role != BUF_ROPE)
			continue;
		bool known = false;
		for (uint32_t k = 0; k < w->nrope; k++)
			known |= w->rope[k].theta == f->theta && w->rope[k].d == f->index;
		if (known)
			continue;
		if (w->nrope == LEN(w->rope))
			ice("more than %zu different rotary embeddings", LEN(w->rope));
		w->rope[w->nrope].theta = f->theta;
		w->rope[w->nrope].d = f->index;
		w->rope[w->nrope++].off = reserve(w, (uint64_t)w->in->seq_max * f->index * 4);
	}
}

static void reserve_balances(Writer *w, uint32_t i)
{
	const LayerClass *c = &w->in->model->classes[w->in->model->instances[i].cls];
	w->balance[i] = ARENA_ARRAY(w->a, int, c->nweights + 1);
	for (uint32_t o = 0; o < c->fwd->outputs.n; o++) {
		const Port *p = &c->fwd->outputs.v[o];
		if (p->kind != PORT_BALANCE)
			continue;
		vec_push(w->a, &w->balances, ((RtBalance){.tensor = w->layout.place[i][p->index].tensor,
		                                          .experts = c->weights[p->index].type.dim[0].n}));
		w->balance[i][p->index] = (int)w->balances.n;
	}
}

static void reserve_for(Writer *w, const Fn *fn)
{
	if (!fn)
		return;
	w->p->has_tokens |= uses_role(fn, BUF_TOKENS);
	w->p->has_labels |= uses_role(fn, BUF_LABELS);
	reserve_rope(w, fn);
}

void prog_reserve_fixed(Writer *w)
{
	const Model *m = w->in->model;
	uint64_t tokens = (uint64_t)w->in->microbatches * (uint64_t)w->in->tokens_max * 4;
	w->fixed = w->layout.end;
	w->balance = ARENA_ARRAY(w->a, int *, m->ninstances);
	for (uint32_t s = 0; s < w->in->nstages; s++) {
		if (w->in->stages[s].pp_rank != w->pp_rank)
			continue;
		for (uint32_t i = w->in->stages[s].first; i <= w->in->stages[s].last; i++) {
			for (int k = 0; k < RT_ACT_KINDS; k++)
				reserve_for(w, w->in->fn[k][m->instances[i].cls]);
			reserve_balances(w, i);
		}
	}
	if (w->p->has_tokens)
		w->p->tokens = reserve(w, tokens);
	if (w->p->has_labels) {
		w->p->labels = reserve(w, tokens);
		w->p->loss = reserve(w, (uint64_t)w->in->microbatches * 8);
	}
}

void prog_exchange_sizes(Writer *w)
{
	const PlanInput *in = w->in;
	RtProg *p = w->p;
	for (uint32_t c = 0; c < in->model->nclasses; c++) {
		for (int k = 0; k < RT_ACT_KINDS; k++) {
			const Fn *fn = in->fn[k][c];
			p->xchs = fn && (int)fn->xchs > p->xchs ? (int)fn->xchs : p->xchs;
			for (uint32_t i = 0; fn && i < fn->steps.n; i++) {
				const Step *s = &fn->steps.v[i];
				if (s->kind != STEP_COUNTS)
					continue;
				int64_t slots = in->tokens_max * s->topk;
				p->slots_max = slots > p->slots_max ? slots : p->slots_max;
				p->experts_max = s->experts > p->experts_max ? s->experts : p->experts_max;
			}
		}
	}
	double rows = in->capacity * (double)p->slots_max;
	int64_t all = p->slots_max * in->ep, want = (int64_t)__builtin_ceil(rows);
	p->rows_max = want > all ? all : want < 1 && all ? 1 : want;
}
