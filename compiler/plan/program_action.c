/* program_action.c - an action of the schedule: the function of every layer of the stage, with the values
 * that it takes from the layers around it and from earlier actions of its microbatch. */
#include "program_int.h"

#include <string.h>

void prog_init_actions(Writer *w)
{
	const PlanInput *in = w->in;
	for (int k = 0; k < RT_ACT_KINDS; k++) {
		w->saved[k] = ARENA_ARRAY(w->a, Saves, in->model->ninstances * (uint32_t)in->microbatches);
		w->ws[k] = ARENA_ARRAY(w->a, Workspace, in->model->nclasses);
	}
}

static uint32_t count_saved(const Graph *g)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].kind == PORT_SAVED;
	return n;
}

static int find_saved(const Saves *s, const char *name)
{
	int k = 0;
	for (uint32_t i = 0; s && i < s->of->outputs.n; i++) {
		if (s->of->outputs.v[i].kind != PORT_SAVED)
			continue;
		if (strcmp(s->of->outputs.v[i].name, name) == 0)
			return s->buf[k];
		k++;
	}
	return NO_BUF;
}

static Saves *saves(const Writer *w, RtActKind kind, uint32_t instance, int mb)
{
	return &w->saved[kind][(size_t)instance * (size_t)w->in->microbatches + (size_t)mb];
}

/* Whether a value is an input under another shape: its name. */
static bool input_value(const Graph *g, Val v, const char **name)
{
	for (;;) {
		const Node *n = graph_def(g, v);
		if (n->op == OP_input) {
			*name = graph_val(g, v)->name;
			return true;
		}
		if (n->op != OP_reshape && n->op != OP_detach)
			return false;
		v = n->in[0];
	}
}

/* "x@3.2": a value of a layer and microbatch. */
static char *value_name(const Writer *w, const Call *c, const char *name)
{
	const Instance *inst = &w->in->model->instances[c->instance];
	if (inst->layer >= 0)
		return arena_printf(w->a, "%s@%d.%d", name, inst->layer, c->mb);
	return arena_printf(w->a, "%s@%s.%d", name, inst->is_entry ? "entry" : "exit", c->mb);
}

/* Index of the function buffer that holds port `port`, NO_BUF when the value is an input. */
static int port_buf(const Fn *fn, uint32_t port)
{
	uint32_t first = port;
	for (uint32_t i = 0; i < port; i++)
		if (fn->graph->outputs.v[i].val.i == fn->graph->outputs.v[port].val.i &&
		    fn->graph->outputs.v[i].kind != PORT_BALANCE) {
			first = i;
			break;
		}
	for (uint32_t k = 0; k < fn->bufs.n; k++)
		if (fn->bufs.v[k].role == BUF_OUTPUT && fn->bufs.v[k].index == first)
			return (int)k;
	return NO_BUF;
}

/* The slot of a carried value, or of its gradient "grad.NAME". */
static int env_index(const Writer *w, const char *name)
{
	return prog_name_index(w, strncmp(name, "grad.", 5) == 0 ? name + 5 : name);
}

static int input_buf(const Writer *w, const Call *c, const int *env, const char *name)
{
	for (size_t i = 0; i < LEN(c->from); i++) {
		int saved = find_saved(c->from[i], name);
		if (saved != NO_BUF)
			return saved;
	}
	return env[env_index(w, name)];
}

/* The buffer of result `port`: a new one, or that of the input it is. */
static int result_buf(Writer *w, const Call *c, const int *env, int *bound, uint32_t port)
{
	const Port *p = &c->fn->graph->outputs.v[port];
	int k = port_buf(c->fn, port);
	const char *source;
	if (k == NO_BUF && input_value(c->fn->graph, p->val, &source))
		return input_buf(w, c, env, source);
	if (k == NO_BUF)
		ice("%s: result %s has no buffer", c->fn->name, p->name);
	if (bound[k] == NO_BUF)
		bound[k] = prog_new_buf(w, prog_rows_bytes(w, &c->fn->bufs.v[k]),
		                        c->kind == RT_ACT_F ? RT_BUF_VALUE : RT_BUF_GRADIENT, value_name(w, c, p->name));
	return bound[k];
}

/* Runs a function: `env` holds the values by carried name on entry, results replace them;
 * gradients use names "grad.NAME" in the function and NAME's slot in env. */
static void run_function(Writer *w, Call *c, int *env, int *saved)
{
	const Fn *fn = c->fn;
	const Graph *g = fn->graph;
	int *bound = ARENA_ARRAY(w->a, int, fn->bufs.n + 1);
	int *result = arena_copy(w->a, env, (w->names.n + 1) * sizeof *env);
	int nsaved = 0;
	for (uint32_t k = 0; k < fn->bufs.n; k++)
		bound[k] = fn->bufs.v[k].role == BUF_INPUT ? input_buf(w, c, env, fn->bufs.v[k].name) : NO_BUF;
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		if (p->kind == PORT_SAVED)
			saved[nsaved++] = result_buf(w, c, env, bound, i);
		else if (p->kind == PORT_CARRY)
			result[env_index(w, p->name)] = result_buf(w, c, env, bound, i);
	}
	c->bound = bound;
	c->work = c->ws->bytes ? prog_new_buf(w, c->ws->bytes, RT_BUF_WORK, value_name(w, c, "work")) : NO_BUF;
	prog_emit_function(w, c);
	memcpy(env, result, w->names.n * sizeof *env);
}

/* One function of one instance of a stage. */
static void call_instance(Writer *w, RtActKind kind, uint32_t instance, int stage, int mb, int *env)
{
	uint32_t cls = w->in->model->instances[instance].cls;
	const Fn *fn = w->in->fn[kind][cls];
	Saves *out = saves(w, kind, instance, mb);
	Call c = {.fn = fn, .ws = prog_workspace(w, &w->ws[kind][cls], fn), .instance = instance, .mb = mb, .stage = stage,
	          .kind = kind};
	c.phase = arena_printf(w->a, "%s mb %d stage %d", rt_act_name(kind), mb, stage);
	c.from[0] = kind == RT_ACT_F ? NULL : saves(w, RT_ACT_F, instance, mb);
	c.from[1] = kind == RT_ACT_W ? saves(w, RT_ACT_I, instance, mb) : NULL;
	*out = (Saves){fn->graph, ARENA_ARRAY(w->a, int, count_saved(fn->graph) + 1)};
	run_function(w, &c, env, out->buf);
}

void prog_forward(Writer *w, int stage, int mb)
{
	const PlanStage *s = &w->in->stages[stage];
	int *env = ARENA_ARRAY(w->a, int, w->names.n + 1);
	memcpy(env, prog_slot(w, w->fwd_in, stage, mb, 0), w->names.n * sizeof *env);
	for (uint32_t i = s->first; i <= s->last; i++)
		call_instance(w, RT_ACT_F, i, stage, mb, env);
	memcpy(prog_slot(w, w->fwd_out, stage, mb, 0), env, w->names.n * sizeof *env);
	if ((uint32_t)stage + 1 < w->in->nstages && w->in->stages[stage + 1].pp_rank == w->pp_rank)
		memcpy(prog_slot(w, w->fwd_in, stage + 1, mb, 0), env, w->names.n * sizeof *env);
}

/* W has no results but gradients of weights. */
void prog_backward(Writer *w, RtActKind kind, int stage, int mb)
{
	const PlanStage *s = &w->in->stages[stage];
	int *env = ARENA_ARRAY(w->a, int, w->names.n + 1);
	memcpy(env, prog_slot(w, w->grad_in, stage, mb, 0), w->names.n * sizeof *env);
	for (uint32_t i = s->last + 1; i-- > s->first;)
		call_instance(w, kind, i, stage, mb, env);
	if (kind == RT_ACT_W)
		return;
	memcpy(prog_slot(w, w->grad_out, stage, mb, 0), env, w->names.n * sizeof *env);
	if (stage > 0 && w->in->stages[stage - 1].pp_rank == w->pp_rank)
		memcpy(prog_slot(w, w->grad_in, stage - 1, mb, 0), env, w->names.n * sizeof *env);
}
