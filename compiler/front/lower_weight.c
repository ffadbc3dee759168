/* lower_weight.c - `weight` and `buffer`: declarations that are used where they stand.
 *
 * The full checkpoint name of a weight is the prefix of its layer, the prefixes of the calls that
 * lead to it and its own name. Within a part a name stands for one weight: the second use with
 * the same shape is the same weight.
 */
#include <string.h>

#include "lower_int.h"

static bool same_decl(const WeightDecl *a, const WeightDecl *b)
{
	return type_equal(&a->type, &b->type) && a->stacked == b->stacked && a->buffer == b->buffer;
}

/* The index of the declaration, which is added when it is new; -1 after an error. */
static int64_t declare(Lower *l, const WeightDecl *decl, Span at)
{
	Part *p = l->part;
	int64_t i;
	if (!map_get(&p->weight_index, decl->name, &i)) {
		vec_push(p->arena, &p->weights, *decl);
		vec_push(p->arena, &p->weight_vals, NO_VAL);
		map_set(&p->weight_index, decl->name, p->weights.n - 1);
		return p->weights.n - 1;
	}
	const WeightDecl *old = &p->weights.v[i];
	if (same_decl(old, decl))
		return i;
	if (lower_error(l, at, "the weight `%s%s` is `%s` here", p->prefix, decl->name,
	                type_text(l->arena, &decl->type))) {
		diag_note(l->diag, old->span, "and %s`%s` here",
		          old->stacked != decl->stacked || old->buffer != decl->buffer
		              ? "of another kind, " : "",
		          type_text(l->arena, &old->type));
		diag_help(l->diag, "give one of them another name, or call its block with `at \"...\"`");
	}
	return -1;
}

/* A weight is used in the compute dtype: where parameters are stored in another, the runtime keeps
 * a copy. Buffers are always float32. */
static Val weight_value(Lower *l, uint32_t i, Span at)
{
	Part *p = l->part;
	const WeightDecl *w = &p->weights.v[i];
	if (!p->weight_vals.v[i].i) {
		Type used = w->type;
		used.dtype = w->buffer ? DT_f32 : l->opt->compute;
		p->weight_vals.v[i] = graph_weight(p->g, at, i, &used);
		p->g->vals.v[p->weight_vals.v[i].i - 1].name = w->name;
	}
	return p->weight_vals.v[i];
}

Value lower_weight(Lower *l, const Expr *e)
{
	WeightDecl w = {.stacked = e->label != NULL, .buffer = e->u.flag, .span = e->span};
	Dim dims[MAX_RANK];
	const char *name = lower_template(l, e->op_span, e->s, e->label);
	if (!lower_dims(l, &e->list, dims, MAX_RANK) || !name)
		return value_error();
	w.name = arena_printf(l->arena, "%s%s", l->frame->prefix, name);
	w.type.dtype = w.buffer ? DT_f32 : l->opt->storage;
	w.type.rank = (int)e->list.n;
	memcpy(w.type.dim, dims, e->list.n * sizeof(Dim));
	int64_t i = declare(l, &w, e->span);
	if (i < 0)
		return value_error();
	Value v = {.kind = VK_TENSOR, .weight = (uint32_t)i + 1, .buffer = w.buffer};
	v.v = weight_value(l, (uint32_t)i, e->span);
	v.def = e->span;
	v.name = l->part->weights.v[i].name;
	return v;
}
