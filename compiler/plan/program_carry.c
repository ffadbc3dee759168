/* program_carry.c - values carried from layer to layer: where each is, and its way to another
 * pipeline rank. */
#include "program_int.h"

#include <string.h>

int prog_name_index(const Writer *w, const char *name)
{
	for (uint32_t i = 0; i < w->names.n; i++)
		if (strcmp(w->names.v[i], name) == 0)
			return (int)i;
	return NO_BUF;
}

static void find_names(Writer *w)
{
	for (uint32_t c = 0; c < w->in->model->nclasses; c++) {
		const Graph *g = w->in->model->classes[c].fwd;
		for (uint32_t i = 0; i < g->outputs.n; i++)
			if (g->outputs.v[i].kind == PORT_CARRY && prog_name_index(w, g->outputs.v[i].name) < 0)
				vec_push(w->a, &w->names, g->outputs.v[i].name);
	}
}

void prog_init_carried(Writer *w)
{
	find_names(w);
	size_t n = (size_t)w->in->nstages * (size_t)w->in->microbatches * (w->names.n + 1);
	int **tables[] = {&w->fwd_in, &w->fwd_out, &w->grad_in, &w->grad_out};
	for (uint32_t k = 0; k < LEN(tables); k++) {
		*tables[k] = ARENA_ARRAY(w->a, int, n);
		for (size_t i = 0; i < n; i++)
			(*tables[k])[i] = NO_BUF;
	}
}

static const Type *class_input(const Graph *g, const char *name)
{
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (n->op == OP_input && strcmp(graph_val(g, n->out[0])->name, name) == 0)
			return graph_type(g, n->out[0]);
	}
	return NULL;
}

static bool class_writes(const Graph *g, const char *name)
{
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i].kind == PORT_CARRY && strcmp(g->outputs.v[i].name, name) == 0)
			return true;
	return false;
}

/* The type of carried value `name` where it enters instance `at`, NULL when nobody reads it from
 * there on. */
static const Type *live_type(const Writer *w, uint32_t at, const char *name)
{
	for (uint32_t i = at; i < w->in->model->ninstances; i++) {
		const Graph *g = w->in->model->classes[w->in->model->instances[i].cls].fwd;
		const Type *t = class_input(g, name);
		if (t)
			return t;
		if (class_writes(g, name))
			return NULL;
	}
	return NULL;
}

static bool is_floating_type(const Type *t)
{
	return t->dtype == DT_f32 || t->dtype == DT_bf16;
}

static int64_t token_bytes(const Type *t)
{
	return type_row(t) * (int64_t)dtype_size(t->dtype);
}

int *prog_slot(const Writer *w, int *table, int stage, int mb, int name)
{
	return &table[((size_t)stage * (size_t)w->in->microbatches + (size_t)mb) * w->names.n + (size_t)name];
}

void prog_transfer(Writer *w, const PlanAct *act, int border, int *table, int table_stage, bool grad)
{
	bool send = act->kind == PLAN_SEND_F || act->kind == PLAN_SEND_B;
	int peer_stage = act->kind == PLAN_SEND_F || act->kind == PLAN_RECV_B ? border : border - 1;
	uint32_t at = w->in->stages[border].first;
	for (uint32_t n = 0; n < w->names.n; n++) {
		const Type *t = live_type(w, at, w->names.v[n]);
		if (!t || (grad && !is_floating_type(t)))
			continue;
		RtInstr i = rt_instr(send ? RT_SEND : RT_RECV);
		int *k = prog_slot(w, table, table_stage, act->mb, (int)n);
		i.peer = w->in->stages[peer_stage].pp_rank;
		i.mb = act->mb;
		i.stage = act->stage;
		i.row_bytes = (uint64_t)token_bytes(t);
		if (!send)
			*k = prog_new_buf(w, (uint64_t)w->in->tokens_max * i.row_bytes, RT_BUF_RECEIVED,
			                  arena_printf(w->a, "%s%s@stage%d.%d", grad ? "grad." : "", w->names.v[n], border,
			                               act->mb));
		if (*k == NO_BUF)
			ice("stage %d sends %s before it is computed", act->stage, w->names.v[n]);
		prog_touch(w, *k);
		uint64_t arg = prog_reference(*k, 0);
		prog_set_args(w, &i, &arg, 1);
		i.note = arena_printf(w->a, "%s%s %s at the input of stage %d", grad ? "gradient of " : "",
		                      w->names.v[n], dtype_name(t->dtype), border);
		prog_emit(w, i);
	}
}
