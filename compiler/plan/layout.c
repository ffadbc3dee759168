/* layout.c - units: per instance the trained weights, the weights without gradient, the float32
 * buffers, and the local experts, each flat and padded so that the members of its group own equal
 * slices. Tensors start at multiples of 16 elements. Units follow instances, so their composition
 * does not depend on the pipeline: the gradient norm is the same for every layout.
 */
#include "layout.h"

#include <string.h>

enum { ALIGN_ELEMS = 16, ALIGN_BYTES = 256 };

typedef enum UnitKind { UNIT_TRAINED, UNIT_FROZEN, UNIT_BUFFERS, UNIT_EXPERTS, UNIT_KINDS } UnitKind;

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static bool fn_uses(const Fn *fn, BufRole role, uint32_t weight)
{
	for (uint32_t i = 0; fn && i < fn->bufs.n; i++)
		if (fn->bufs.v[i].role == role && fn->bufs.v[i].index == weight && fn->bufs.v[i].first >= 0)
			return true;
	return false;
}

static bool is_balanced(const LayerClass *c, uint32_t weight)
{
	for (uint32_t i = 0; i < c->fwd->outputs.n; i++)
		if (c->fwd->outputs.v[i].kind == PORT_BALANCE && c->fwd->outputs.v[i].index == weight)
			return true;
	return false;
}

int plan_model_order(const Model *m, uint32_t instance)
{
	uint32_t order = 0;
	for (uint32_t i = 0; i < instance; i++)
		order += m->classes[m->instances[i].cls].nweights;
	return (int)order;
}

static RtDType rt_dtype(DType t)
{
	return t == DT_bf16 ? RT_bf16 : RT_f32;
}

/* The laws of AutoModel for from_config (automodel: section 4.8). */
static void init_law(RtTensor *t, const WeightDecl *w, bool entry, bool exit_)
{
	t->init_std = 0.02;
	t->init = 'n';
	if (w->buffer) {
		t->init = '0';
	} else if (t->ndim == 1) {
		size_t n = strlen(w->name);
		t->init = n > 5 && strcmp(w->name + n - 5, ".bias") == 0 ? '0' : '1';
	} else if (entry) {
		t->init_std = 1.0;
	} else if (exit_) {
		t->init = 't';
		t->init_std = 1.0 / __builtin_sqrt((double)t->dim[t->ndim - 1]);
	} else if (!w->stacked && !strstr(w->name, "mlp.")) {
		t->init = 't';
	}
}

static RtTensor make_tensor(Arena *a, const Model *m, const Instance *inst, uint32_t w, bool grad,
                            int order)
{
	const WeightDecl *d = &m->classes[inst->cls].weights[w];
	RtTensor t = {.unit = -1, .grad = grad, .order = order, .stored = rt_dtype(d->type.dtype)};
	t.name = arena_printf(a, "%s%s", inst->prefix, d->name);
	int first = d->stacked ? 1 : 0;
	t.experts = d->stacked ? d->type.dim[0].n : 0;
	t.ndim = d->type.rank - first;
	for (int i = 0; i < t.ndim; i++)
		t.dim[i] = d->type.dim[i + first].n;
	init_law(&t, d, inst->is_entry, inst->is_exit);
	return t;
}

static UnitKind unit_kind(const WeightDecl *d, bool grad)
{
	if (d->stacked)
		return UNIT_EXPERTS;
	if (d->buffer)
		return UNIT_BUFFERS;
	return grad ? UNIT_TRAINED : UNIT_FROZEN;
}

static int64_t local_elems(const PlanInput *in, const WeightDecl *d)
{
	int64_t n = 1;
	for (int i = 0; i < d->type.rank; i++)
		n *= d->type.dim[i].n;
	return d->stacked ? n / in->ep : n;
}

static void close_unit(Layout *l, const PlanInput *in, RtUnit *u)
{
	int64_t members = u->group == RT_GROUP_EXPERT ? in->ep_shard : in->dp;
	u->elems = (int64_t)round_up((uint64_t)u->elems, (uint64_t)(ALIGN_ELEMS * members));
	uint64_t size = u->dtype == RT_bf16 ? 2 : 4, stored = u->stored == RT_bf16 ? 2 : 4;
	uint64_t elems = (uint64_t)u->elems;
	uint64_t shard = elems / (uint64_t)members;
	u->param = l->end;
	l->end += round_up(elems * size, ALIGN_BYTES);
	l->bytes.parameters += round_up(elems * size, ALIGN_BYTES);
	if (u->stored != u->dtype) {
		u->master = l->end;
		l->end += round_up(shard * stored, ALIGN_BYTES);
		l->bytes.parameters += round_up(shard * stored, ALIGN_BYTES);
	}
	if (!u->trained)
		return;
	u->grad = l->end;
	l->end += round_up(elems * 4, ALIGN_BYTES);
	l->bytes.gradients += round_up(elems * 4, ALIGN_BYTES);
	u->m = l->end;
	l->end += round_up(shard * stored, ALIGN_BYTES);
	u->v = l->end;
	l->end += round_up(shard * stored, ALIGN_BYTES);
	l->bytes.optimizer += 2 * round_up(shard * stored, ALIGN_BYTES);
}

static void layout_instance(Arena *a, Layout *l, const PlanInput *in, uint32_t i)
{
	static const char *const suffix[UNIT_KINDS] = {"", "frozen", "buffers", "experts"};
	const Instance *inst = &in->model->instances[i];
	const LayerClass *c = &in->model->classes[inst->cls];
	const Fn *f = in->f[inst->cls], *b = in->b[inst->cls];
	int unit[UNIT_KINDS] = {-1, -1, -1, -1}, order = plan_model_order(in->model, i);
	WeightPlace *place = l->place[i] = ARENA_ARRAY(a, WeightPlace, c->nweights + 1);
	const char *base = inst->is_entry ? "entry." : inst->is_exit ? "exit." : inst->prefix;
	for (uint32_t w = 0; w < c->nweights; w++) {
		const WeightDecl *d = &c->weights[w];
		bool grad = fn_uses(b, BUF_WGRAD, w);
		bool used = grad || fn_uses(f, BUF_WEIGHT, w) || fn_uses(b, BUF_WEIGHT, w) || is_balanced(c, w);
		RtTensor t = make_tensor(a, in->model, inst, w, grad, order + (int)w);
		place[w] = (WeightPlace){.unit = -1, .tensor = (int)l->tensors.n};
		if (used) {
			UnitKind k = unit_kind(d, grad);
			if (unit[k] < 0) {
				vec_push(a, &l->units,
				         ((RtUnit){.name = arena_printf(a, "%s%s", base, suffix[k]), .trained = grad,
				                   .group = k == UNIT_EXPERTS ? RT_GROUP_EXPERT : RT_GROUP_DP,
				                   .stored = rt_dtype(d->type.dtype),
				                   .dtype = d->buffer ? RT_f32 : rt_dtype(in->compute)}));
				unit[k] = (int)l->units.n - 1;
			}
			RtUnit *u = &l->units.v[unit[k]];
			t.unit = place[w].unit = unit[k];
			t.off = place[w].off = u->elems;
			u->elems = (int64_t)round_up((uint64_t)(u->elems + local_elems(in, d)), ALIGN_ELEMS);
			u->trained |= grad;
		}
		vec_push(a, &l->tensors, t);
	}
	for (int k = 0; k < UNIT_KINDS; k++)
		if (unit[k] >= 0)
			close_unit(l, in, &l->units.v[unit[k]]);
}

Layout layout_rank(Arena *a, const PlanInput *in, int pp_rank)
{
	Layout l = {0};
	l.place = ARENA_ARRAY(a, WeightPlace *, in->model->ninstances);
	for (uint32_t s = 0; s < in->nstages; s++)
		for (uint32_t i = in->stages[s].first; in->stages[s].pp_rank == pp_rank; i++) {
			layout_instance(a, &l, in, i);
			if (i == in->stages[s].last)
				break;
		}
	return l;
}
