/* carry.c - liveness of carried values over the instances, last to first.
 *
 * A result is dead when it is live behind no instance of its class. Dropping one can make an input
 * of the class dead, so the walk is repeated until nothing changes.
 */
#include "carry.h"

#include <string.h>

#include "../base/map.h"

/* Is input `name` needed by some result? */
static bool reads(Arena *a, const Graph *g, const char *name)
{
	bool *live = ARENA_ARRAY(a, bool, g->nodes.n + 1);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		live[g->vals.v[g->outputs.v[i].val.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;) {
		const Node *n = &g->nodes.v[i];
		if (!live[i])
			continue;
		if (n->op == OP_input && strcmp(graph_val(g, n->out[0])->name, name) == 0)
			return true;
		for (uint32_t k = 0; k < n->nin; k++)
			live[g->vals.v[n->in[k].i - 1].node] = true;
	}
	return false;
}

static int find_carry(const Graph *g, const char *name)
{
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind == PORT_CARRY && strcmp(g->outputs.v[i].name, name) == 0)
			return (int)i;
	return -1;
}

/* wanted[class] = `name` is live behind one of its instances */
static void find_wanted(Arena *a, const Model *m, const char *name, bool *wanted)
{
	bool *read = ARENA_ARRAY(a, bool, m->nclasses), live = false;
	for (uint32_t c = 0; c < m->nclasses; c++)
		read[c] = reads(a, m->classes[c].fwd, name);
	for (uint32_t i = m->ninstances; i-- > 0;) {
		uint32_t c = m->instances[i].cls;
		if (find_carry(m->classes[c].fwd, name) >= 0) {
			wanted[c] |= live;
			live = false;
		}
		live |= read[c];
	}
}

static bool drop_dead(Arena *a, Model *m, const char *name)
{
	bool *wanted = ARENA_ARRAY(a, bool, m->nclasses), changed = false;
	find_wanted(a, m, name, wanted);
	for (uint32_t c = 0; c < m->nclasses; c++) {
		Graph *g = m->classes[c].fwd;
		int at = find_carry(g, name);
		if (at < 0 || wanted[c])
			continue;
		memmove(&g->outputs.v[at], &g->outputs.v[at + 1],
		        (g->outputs.n - (uint32_t)at - 1) * sizeof *g->outputs.v);
		g->outputs.n--;
		changed = true;
	}
	return changed;
}

bool carry_drop_dead(Arena *a, Model *m)
{
	Map names = map_new(a);
	bool any = false;
	for (uint32_t c = 0; c < m->nclasses; c++)
		for (uint32_t i = 0; i < m->classes[c].fwd->outputs.n; i++)
			if (m->classes[c].fwd->outputs.v[i].kind == PORT_CARRY)
				map_set(&names, m->classes[c].fwd->outputs.v[i].name, 0);
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = 0; i < names.n; i++)
			changed |= drop_dead(a, m, names.entries[i].key);
		any |= changed;
	}
	return any;
}
