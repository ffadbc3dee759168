/* carry.c - see carry.h. One walk over the instances, last to first, with the set of names that are
 * read behind; then the classes are rebuilt, one for every difference that the walk found. */
#include "carry.h"

#include <string.h>

#include "../base/map.h"

typedef struct Settle {
	Arena *a;
	Model *m;
	Map names;               /* of carried values */
	bool *live;              /* per name: read behind the current instance */
	bool *needed;            /* scratch, per node */
	bool changed;
	VEC(LayerClass) classes;
	Map variants;            /* class and differences -> index into classes */
} Settle;

static uint32_t name_index(const Settle *s, const char *name)
{
	int64_t i = 0;
	map_get(&s->names, name, &i);
	return (uint32_t)i;
}

static bool is_kept(const Settle *s, const Port *p)
{
	return p->kind != PORT_CARRY || s->live[name_index(s, p->name)];
}

/* Marks the nodes that the kept results need. */
static void mark_needed(Settle *s, const Graph *g)
{
	memset(s->needed, 0, g->nodes.n * sizeof *s->needed);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (is_kept(s, &g->outputs.v[i]))
			s->needed[g->vals.v[g->outputs.v[i].val.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;)
		for (uint32_t k = 0; s->needed[i] && k < g->nodes.v[i].nin; k++)
			s->needed[g->vals.v[g->nodes.v[i].in[k].i - 1].node] = true;
}

static bool makes(const Graph *g, const char *name)
{
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind == PORT_CARRY && strcmp(g->outputs.v[i].name, name) == 0)
			return true;
	return false;
}

static bool is_floating(const Type *t)
{
	return t->dtype == DT_f32 || t->dtype == DT_bf16 || t->dtype == DT_f64;
}

/* The carried name of a needed input, NULL for other nodes. */
static const char *read_name(const Settle *s, const Graph *g, uint32_t node)
{
	const Node *n = &g->nodes.v[node];
	const char *name = n->op == OP_input && s->needed[node] ? graph_val(g, n->out[0])->name : NULL;
	return name && map_get(&s->names, name, NULL) ? name : NULL;
}

/* Is the input read, left as it is, and read again later? */
static bool passes_on(const Settle *s, const Graph *g, uint32_t node)
{
	const char *name = read_name(s, g, node);
	return name && is_floating(graph_type(g, g->nodes.v[node].out[0])) && !makes(g, name) &&
	       s->live[name_index(s, name)];
}

/* The class with the results that the current instance needs. */
static Graph *with_results(const Settle *s, const Graph *from)
{
	Graph *g = arena_copy(s->a, from, sizeof *from);
	memset(&g->outputs, 0, sizeof g->outputs);
	for (uint32_t i = 0; i < from->outputs.n; i++)
		if (is_kept(s, &from->outputs.v[i]))
			vec_push(s->a, &g->outputs, from->outputs.v[i]);
	for (uint32_t i = 0; i < from->nodes.n; i++)
		if (passes_on(s, from, i))
			graph_output(g, PORT_CARRY, read_name(s, from, i), 0, from->nodes.v[i].out[0]);
	return g;
}

/* What tells variants of a class apart. */
static const char *variant_key(const Settle *s, uint32_t cls)
{
	const Graph *g = s->m->classes[cls].fwd;
	Text t = {0};
	text_add(&t, "%u", cls);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		text_add(&t, is_kept(s, &g->outputs.v[i]) ? "+" : "-");
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (passes_on(s, g, i))
			text_add(&t, " %s", read_name(s, g, i));
	const char *key = arena_strdup(s->a, t.s);
	text_free(&t);
	return key;
}

static void settle_instance(Settle *s, Instance *inst)
{
	const LayerClass *c = &s->m->classes[inst->cls];
	const Graph *g = c->fwd;
	mark_needed(s, g);
	const char *key = variant_key(s, inst->cls);
	s->changed |= strpbrk(key, "- ") != NULL;
	int64_t at;
	if (!map_get(&s->variants, key, &at)) {
		LayerClass v = *c;
		v.fwd = with_results(s, g);
		at = s->classes.n;
		vec_push(s->a, &s->classes, v);
		map_set(&s->variants, key, at);
	}
	inst->cls = (uint32_t)at;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind == PORT_CARRY)
			s->live[name_index(s, g->outputs.v[i].name)] = false;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (read_name(s, g, i))
			s->live[name_index(s, read_name(s, g, i))] = true;
}

static void find_names(Settle *s)
{
	uint32_t most = 0;
	s->names = map_new(s->a);
	s->variants = map_new(s->a);
	for (uint32_t c = 0; c < s->m->nclasses; c++) {
		const Graph *g = s->m->classes[c].fwd;
		most = g->nodes.n > most ? g->nodes.n : most;
		for (uint32_t i = 0; i < g->outputs.n; i++)
			if (g->outputs.v[i].kind == PORT_CARRY && !map_get(&s->names, g->outputs.v[i].name, NULL))
				map_set(&s->names, g->outputs.v[i].name, s->names.n);
	}
	s->live = ARENA_ARRAY(s->a, bool, s->names.n + 1);
	s->needed = ARENA_ARRAY(s->a, bool, most + 1);
}

/* Variants in the order of the instances; those of one class are numbered. */
static void order_classes(Settle *s)
{
	Model *m = s->m;
	uint32_t *place = ARENA_ARRAY(s->a, uint32_t, s->classes.n + 1), n = 0;
	Map names = map_new(s->a);
	LayerClass *to = ARENA_ARRAY(s->a, LayerClass, s->classes.n + 1);
	for (uint32_t i = 0; i < m->ninstances; i++) {
		uint32_t *p = &place[m->instances[i].cls];
		if (!*p) {
			LayerClass c = s->classes.v[m->instances[i].cls];
			int64_t count = 0;
			map_get(&names, c.name, &count);
			map_set(&names, c.name, count + 1);
			if (count)
				c.name = arena_printf(s->a, "%s.v%lld", c.name, (long long)count + 1);
			c.fwd->name = c.name;
			to[n++] = c;
			*p = n;
		}
		m->instances[i].cls = *p - 1;
	}
	m->classes = to;
	m->nclasses = n;
}

bool carry_settle(Arena *a, Model *m)
{
	Settle s = {.a = a, .m = m};
	find_names(&s);
	for (uint32_t i = m->ninstances; i-- > 0;)
		settle_instance(&s, &m->instances[i]);
	order_classes(&s);
	return s.changed;
}
