/* classes.c - the parts of forward as layer classes: their results by name, and the model's sizes. */
#include <string.h>

#include "lower_int.h"

static const char *class_name(Lower *l, const Parts *parts, uint32_t i, const bool *is_layer)
{
	const Part *p = parts->parts.v[i];
	uint32_t number = 0;
	if (!is_layer[i])
		return parts->instances.v[0].cls == i ? "entry" : "exit";
	for (uint32_t k = 0; k < i; k++)
		number += is_layer[k];
	if (!p->label)
		return arena_printf(l->arena, "layer.%u", number);
	bool taken = false;
	for (uint32_t k = 0; k < i; k++)
		taken |= parts->parts.v[k]->label && strcmp(parts->parts.v[k]->label, p->label) == 0;
	return taken ? arena_printf(l->arena, "layer.%s.%u", p->label, number)
	             : arena_printf(l->arena, "layer.%s", p->label);
}

static void make_class(LayerClass *c, Part *p, const char *name)
{
	p->g->name = name;
	for (uint32_t i = 0; i < p->outputs.n; i++)
		graph_output(p->g, PORT_CARRY, p->outputs.v[i].name, 0, p->outputs.v[i].v);
	*c = (LayerClass){.name = name, .fwd = p->g, .weights = p->weights.v, .nweights = p->weights.n};
}

static int64_t vocabulary(const Model *m)
{
	const Graph *g = m->classes[m->instances[0].cls].fwd;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i].op == OP_embedding)
			return graph_type(g, g->nodes.v[i].in[1])->dim[0].n;
	return 0;
}

/* A tensor that several layers name is one weight: it has one shape. */
static void check_shared(Lower *l, const Model *m)
{
	Map known = map_new(l->arena);
	for (uint32_t i = 0; i < m->ninstances; i++) {
		const LayerClass *c = &m->classes[m->instances[i].cls];
		for (uint32_t w = 0; w < c->nweights; w++) {
			const WeightDecl *d = &c->weights[w], *old;
			const char *name = arena_printf(l->arena, "%s%s", m->instances[i].prefix, d->name);
			int64_t at;
			if (!map_get(&known, name, &at)) {
				map_set(&known, name, (int64_t)i << 32 | w);
				continue;
			}
			old = &m->classes[m->instances[at >> 32].cls].weights[at & UINT32_MAX];
			bool same = type_equal(&d->type, &old->type) && d->stacked == old->stacked &&
			            d->buffer == old->buffer;
			if (!same && lower_error(l, d->span, "the weight `%s` is %s here", name,
			                         type_text(l->arena, &d->type)))
				diag_note(l->diag, old->span, "and %s here", type_text(l->arena, &old->type));
		}
	}
}

Model *model_classes(Lower *l, Parts *parts)
{
	Model *m = ARENA_NEW(l->arena, Model);
	uint32_t n = parts->instances.n;
	bool *is_layer = ARENA_ARRAY(l->arena, bool, parts->parts.n + 1);
	m->name = l->prog->model->name.s;
	m->nclasses = parts->parts.n;
	m->classes = ARENA_ARRAY(l->arena, LayerClass, m->nclasses + 1);
	m->instances = parts->instances.v;
	m->ninstances = n;
	m->instances[0].is_entry = m->instances[n - 1].is_exit = true;
	for (uint32_t i = 1; i + 1 < n; i++)
		is_layer[m->instances[i].cls] = true;
	for (uint32_t i = 0; i < m->nclasses; i++)
		make_class(&m->classes[i], parts->parts.v[i], class_name(l, parts, i, is_layer));
	check_shared(l, m);
	m->num_layers = (int)n - 2;
	m->vocab_size = vocabulary(m);
	m->nsizes = l->nsizes;
	m->sizes = ARENA_ARRAY(l->arena, ModelSize, l->nsizes + 1);
	for (uint32_t i = 0; i < l->nsizes; i++)
		m->sizes[i] = (ModelSize){l->sizes[i].name, value_json(l->arena, &l->sizes[i].value),
		                          l->sizes[i].from_config};
	return m;
}
