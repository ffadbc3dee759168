/* layout.c - units: per instance the trained weights, the weights without gradient, the float32
 * buffers, and the local experts, each flat and padded so that the members of its group own equal
 * slices. Tensors start at multiples of 16 elements. Units follow instances, so their composition
 * does not depend on the pipeline: the gradient norm is the same for every layout. A tensor that
 * several instances name lies in the unit of the first; they all add to its one gradient.
 */
#include "layout.h"

#include <string.h>

#include "../base/map.h"

enum { ALIGN_ELEMS = 16 };

typedef enum UnitKind { UNIT_TRAINED, UNIT_FROZEN, UNIT_BUFFERS, UNIT_EXPERTS, UNIT_KINDS } UnitKind;

/* Any function of the class reads the weight, or adds to its gradient. */
static bool class_uses(const PlanInput *in, uint32_t cls, BufRole role, uint32_t weight)
{
	for (int k = 0; k < RT_ACT_KINDS; k++) {
		const Fn *fn = in->fn[k][cls];
		for (uint32_t i = 0; fn && i < fn->bufs.n; i++)
			if (fn->bufs.v[i].role == role && fn->bufs.v[i].index == weight && fn->bufs.v[i].first >= 0)
				return true;
	}
	return false;
}

static bool is_balanced(const LayerClass *c, uint32_t weight)
{
	for (uint32_t i = 0; i < c->fwd->outputs.n; i++)
		if (c->fwd->outputs.v[i].kind == PORT_BALANCE && c->fwd->outputs.v[i].index == weight)
			return true;
	return false;
}

/* First model-order number of an instance's weights. */
static int model_order(const Model *m, uint32_t instance)
{
	uint32_t order = 0;
	for (uint32_t i = 0; i < instance; i++)
		order += m->classes[m->instances[i].cls].nweights;
	return (int)order;
}

RtDType plan_dtype(DType t)
{
	static const RtDType to[] = {[DT_f32] = RT_f32, [DT_bf16] = RT_bf16, [DT_f64] = RT_f64, [DT_i32] = RT_i32,
	                             [DT_u32] = RT_u32};
	return to[t];
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

static char *tensor_name(Arena *a, const Model *m, const Instance *inst, uint32_t w)
{
	return arena_printf(a, "%s%s", inst->prefix, m->classes[inst->cls].weights[w].name);
}

static RtTensor make_tensor(Arena *a, const Model *m, const Instance *inst, uint32_t w, bool grad,
                            int order)
{
	const WeightDecl *d = &m->classes[inst->cls].weights[w];
	RtTensor t = {.unit = -1, .grad = grad, .order = order, .stored = plan_dtype(d->type.dtype)};
	t.name = tensor_name(a, m, inst, w);
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
	uint64_t size = rt_dtype_bytes(u->dtype), stored = rt_dtype_bytes(u->stored);
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
	u->sharded = in->shard_gradients && members > 1;
	uint64_t sums = round_up((u->sharded ? shard : elems) * 4, ALIGN_BYTES);
	l->end += sums;
	l->bytes.gradients += sums;
	u->m = l->end;
	l->end += round_up(shard * stored, ALIGN_BYTES);
	u->v = l->end;
	l->end += round_up(shard * stored, ALIGN_BYTES);
	l->bytes.optimizer += 2 * round_up(shard * stored, ALIGN_BYTES);
}

enum { USED = 1, TRAINED = 2 };

/* One rank's layout in the making. */
typedef struct Laying {
	Arena *a;
	Layout *l;
	const PlanInput *in;
	VEC(uint32_t) instances; /* of the rank, in order */
	Map uses;                /* tensor name -> USED, TRAINED by any of them */
	Map known;               /* tensor name -> index into l->tensors */
} Laying;

static void find_uses(Laying *y, uint32_t i)
{
	const Instance *inst = &y->in->model->instances[i];
	const LayerClass *c = &y->in->model->classes[inst->cls];
	for (uint32_t w = 0; w < c->nweights; w++) {
		const char *name = tensor_name(y->a, y->in->model, inst, w);
		int64_t use = 0;
		map_get(&y->uses, name, &use);
		if (class_uses(y->in, inst->cls, BUF_WGRAD, w))
			use |= USED | TRAINED;
		if (class_uses(y->in, inst->cls, BUF_WEIGHT, w) || is_balanced(c, w))
			use |= USED;
		map_set(&y->uses, name, use);
	}
}

/* The unit for tensors of this kind in the instance, new if it is the first. */
static RtUnit *unit_for(Laying *y, const Instance *inst, const WeightDecl *d, UnitKind k, int *unit)
{
	static const char *const suffix[UNIT_KINDS] = {"", "frozen", "buffers", "experts"};
	const char *base = inst->is_entry ? "entry." : inst->is_exit ? "exit." : inst->prefix;
	if (*unit < 0) {
		vec_push(y->a, &y->l->units,
		         ((RtUnit){.name = arena_printf(y->a, "%s%s", base, suffix[k]),
		                   .group = k == UNIT_EXPERTS ? RT_GROUP_EXPERT : RT_GROUP_DP,
		                   .stored = plan_dtype(d->type.dtype),
		                   .dtype = d->buffer ? RT_f32 : plan_dtype(y->in->compute)}));
		*unit = (int)y->l->units.n - 1;
	}
	return &y->l->units.v[*unit];
}

static WeightPlace place_tensor(Laying *y, RtTensor t, const Instance *inst, const WeightDecl *d, bool used,
                                int unit[UNIT_KINDS])
{
	UnitKind k = unit_kind(d, t.grad);
	if (used) {
		RtUnit *u = unit_for(y, inst, d, k, &unit[k]);
		t.unit = unit[k];
		t.off = u->elems;
		u->elems = (int64_t)round_up((uint64_t)(u->elems + local_elems(y->in, d)), ALIGN_ELEMS);
		u->trained |= t.grad;
	}
	map_set(&y->known, t.name, y->l->tensors.n);
	vec_push(y->a, &y->l->tensors, t);
	return (WeightPlace){t.unit, t.off, (int)y->l->tensors.n - 1};
}

static void layout_instance(Laying *y, uint32_t i)
{
	const Model *m = y->in->model;
	const Instance *inst = &m->instances[i];
	const LayerClass *c = &m->classes[inst->cls];
	int unit[UNIT_KINDS] = {-1, -1, -1, -1}, order = model_order(m, i);
	WeightPlace *place = y->l->place[i] = ARENA_ARRAY(y->a, WeightPlace, c->nweights + 1);
	for (uint32_t w = 0; w < c->nweights; w++) {
		const char *name = tensor_name(y->a, m, inst, w);
		int64_t use = 0, at;
		map_get(&y->uses, name, &use);
		if (map_get(&y->known, name, &at)) {
			const RtTensor *t = &y->l->tensors.v[at];
			place[w] = (WeightPlace){t->unit, t->off, (int)at};
			continue;
		}
		RtTensor t = make_tensor(y->a, m, inst, w, (use & TRAINED) != 0, order + (int)w);
		place[w] = place_tensor(y, t, inst, &c->weights[w], (use & USED) != 0, unit);
	}
	for (int k = 0; k < UNIT_KINDS; k++)
		if (unit[k] >= 0)
			close_unit(y->l, y->in, &y->l->units.v[unit[k]]);
}

Layout layout_rank(Arena *a, const PlanInput *in, int pp_rank)
{
	Layout l = {0};
	Laying y = {.a = a, .l = &l, .in = in, .uses = map_new(a), .known = map_new(a)};
	l.place = ARENA_ARRAY(a, WeightPlace *, in->model->ninstances);
	for (uint32_t s = 0; s < in->nstages; s++)
		for (uint32_t i = in->stages[s].first; in->stages[s].pp_rank == pp_rank && i <= in->stages[s].last; i++)
			vec_push(a, &y.instances, i);
	for (uint32_t i = 0; i < y.instances.n; i++)
		find_uses(&y, y.instances.v[i]);
	for (uint32_t i = 0; i < y.instances.n; i++)
		layout_instance(&y, y.instances.v[i]);
	return l;
}
