/* program.c - the instruction list of one optimizer step of one pipeline rank.
 *
 *   zero gradients, all-gather parameters | the actions in the order of the plan | reduce-scatter,
 *   optimizer
 *
 * Dynamic buffers (carried values, saved values, gradients between layers, workspaces) are made
 * while the instructions are written, live from their first to their last instruction, and get
 * their offsets at the end. Until then an argument is a reference, see `reference`.
 */
#include "program.h"

#include <string.h>

#include "../../runtime/rt_own.h"
#include "../pass/select.h"
#include "layout.h"
#include "mem_plan.h"
#include "overlap.h"

enum { NO_BUF = -1, ALIGN_BYTES = 256 };

typedef struct DynBuf {
	uint64_t bytes;
	int birth, death;        /* instructions, death exclusive */
	RtBufKind kind;
	char *name;
} DynBuf;

/* Workspace of a function: its local buffers side by side. */
typedef struct Workspace {
	uint64_t *off;           /* per buffer of the function */
	uint64_t bytes;
	bool known;
} Workspace;

/* Saved results of a function: buffers by number. */
typedef struct Saves {
	const Graph *of;
	int *buf;
} Saves;

/* What is added up for a sharded unit in one run: from its first backward to its last. */
typedef struct Sums {
	int buf;                 /* dynamic buffer, NO_BUF outside */
	int left;                /* actions of the run that still add to it */
	bool reduced;            /* the shard holds sums of an earlier run */
} Sums;

typedef struct Writer {
	Arena *a;
	const PlanInput *in;
	int pp_rank;
	RtProg *p;
	Layout layout;
	VEC(RtInstr) instrs;
	VEC(RtAct) acts;
	VEC(DynBuf) dyn;
	VEC(const char *) names; /* carried values of the model */
	uint32_t nnames;
	int *fwd_in;             /* [stage][mb][name]: buffer of the carried value, NO_BUF */
	int *fwd_out;
	int *grad_in;            /* gradient of the stage's output */
	int *grad_out;           /* gradient of its input */
	Saves *saved[RT_ACT_KINDS];      /* [instance][mb]: what F and I leave behind */
	Workspace *ws[RT_ACT_KINDS];     /* per class */
	Sums *sums;              /* per unit */
	struct { double theta; uint32_t d; uint64_t off; } rope[4];
	uint32_t nrope;
	int **balance;           /* per instance, per weight: index into balances + 1 */
	VEC(RtBalance) balances;
	uint64_t fixed;          /* end of the persistent part */
	int run;                 /* of the schedule, that the last backward belongs to */
} Writer;

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* A reference to byte `off` of dynamic buffer `k`: bit 63, the buffer, the offset. */
static uint64_t reference(int k, uint64_t off)
{
	return (uint64_t)1 << 63 | (uint64_t)k << 42 | off;
}

static int new_buf(Writer *w, uint64_t bytes, RtBufKind kind, char *name)
{
	vec_push(w->a, &w->dyn, ((DynBuf){round_up(bytes ? bytes : 1, ALIGN_BYTES), -1, -1, kind, name}));
	return (int)w->dyn.n - 1;
}

/* The buffer lives at instruction `at`. */
static void touch_at(Writer *w, int k, int at)
{
	DynBuf *b = &w->dyn.v[k];
	if (b->birth < 0 || at < b->birth)
		b->birth = at;
	if (at >= b->death)
		b->death = at + 1;
}

static void touch(Writer *w, int k)
{
	touch_at(w, k, (int)w->instrs.n);
}

static RtInstr new_instr(RtOp op)
{
	return (RtInstr){.op = op, .kernel = -1, .peer = -1, .unit = -1, .mb = -1, .stage = -1,
	                 .layer = -1, .bal = -1};
}

static void set_args(Writer *w, RtInstr *i, const uint64_t *arg, int n)
{
	i->arg = arena_copy(w->a, arg, (size_t)n * sizeof *arg);
	i->narg = n;
}

static void emit(Writer *w, RtInstr i)
{
	vec_push(w->a, &w->instrs, i);
}

/* ---- carried values ---- */

static int name_index(const Writer *w, const char *name)
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
			if (g->outputs.v[i].kind == PORT_CARRY && name_index(w, g->outputs.v[i].name) < 0)
				vec_push(w->a, &w->names, g->outputs.v[i].name);
	}
	w->nnames = w->names.n;
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

static int *slot(const Writer *w, int *table, int stage, int mb, int name)
{
	return &table[((size_t)stage * (size_t)w->in->microbatches + (size_t)mb) * w->nnames + (size_t)name];
}

/* ---- functions ---- */

static uint64_t rows_bytes(const Writer *w, const FnBuf *f)
{
	uint64_t rows = f->rows == ROWS_T ? (uint64_t)w->in->tokens_max
	                : f->rows == ROWS_R ? (uint64_t)w->p->rows_max : 1;
	if (f->blocks_of)
		rows = (rows + (uint64_t)f->blocks_of - 1) / (uint64_t)f->blocks_of;
	return rows * (uint64_t)f->row_bytes;
}

static const Workspace *workspace(Writer *w, Workspace *ws, const Fn *fn)
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
		items[n] = (MemItem){.bytes = rows_bytes(w, f), .birth = f->first, .death = f->last + 1};
		which[n++] = i;
	}
	ws->bytes = mem_plan(w->a, items, n, ALIGN_BYTES, NULL);
	for (uint32_t i = 0; i < n; i++)
		ws->off[which[i]] = items[i].offset;
	ws->known = true;
	return ws;
}

static uint64_t rope_offset(Writer *w, double theta, uint32_t d)
{
	for (uint32_t i = 0; i < w->nrope; i++)
		if (w->rope[i].theta == theta && w->rope[i].d == d)
			return w->rope[i].off;
	ice("rope table of width %u was not reserved", d);
}

/* One invocation of a function: where its buffers are. */
typedef struct Call {
	const Fn *fn;
	const Workspace *ws;
	uint32_t instance;
	int mb, stage;
	int work;                /* workspace buffer */
	const int *bound;        /* per buffer of the function: dynamic buffer, NO_BUF */
	RtActKind kind;
	const char *phase;
	const Saves *from[2];    /* where its saved inputs are; NULL */
} Call;

/* Where a weight's gradient is added up. */
static uint64_t wgrad_address(Writer *w, const WeightPlace *pl)
{
	const RtUnit *u = &w->layout.units.v[pl->unit];
	if (!u->sharded)
		return u->grad + (uint64_t)pl->off * 4;
	int k = w->sums[pl->unit].buf;
	if (k == NO_BUF)
		ice("gradients of %s are added up outside of their life", u->name);
	touch(w, k);
	return reference(k, (uint64_t)pl->off * 4);
}

static uint64_t buf_address(Writer *w, const Call *c, uint32_t k)
{
	const FnBuf *f = &c->fn->bufs.v[k];
	uint64_t tokens = (uint64_t)c->mb * (uint64_t)w->in->tokens_max * 4;
	const WeightPlace *pl;
	const RtUnit *u;
	switch (f->role) {
	case BUF_LOCAL:
		touch(w, c->work);
		return reference(c->work, c->ws->off[k]);
	case BUF_INPUT:
	case BUF_OUTPUT:
		if (c->bound[k] == NO_BUF)
			ice("%s: value %s has no buffer", c->fn->name, f->name);
		touch(w, c->bound[k]);
		return reference(c->bound[k], 0);
	case BUF_WEIGHT:
	case BUF_WGRAD:
		pl = &w->layout.place[c->instance][f->index];
		u = &w->layout.units.v[pl->unit];
		if (f->role == BUF_WGRAD)
			return wgrad_address(w, pl);
		return u->param + (uint64_t)pl->off * (u->dtype == RT_bf16 ? 2 : 4);
	case BUF_TOKENS: return w->p->tokens + tokens;
	case BUF_LABELS: return w->p->labels + tokens;
	case BUF_LOSS: return w->p->loss + (uint64_t)c->mb * 8;
	case BUF_ROPE: return rope_offset(w, f->theta, f->index);
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

static RtDType rt_dtype(DType t)
{
	static const RtDType to[] = {[DT_f32] = RT_f32, [DT_bf16] = RT_bf16, [DT_f64] = RT_f64, [DT_i32] = RT_i32,
	                             [DT_u32] = RT_u32};
	return to[t];
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
	i->adt = (int)rt_dtype(g->a);
	i->bdt = (int)rt_dtype(g->b);
	i->cdt = (int)rt_dtype(g->c);
	i->acc = g->acc;
}

static void emit_step(Writer *w, const Call *c, const Step *s)
{
	static const RtOp op[] = {RT_LAUNCH, RT_COUNTS, RT_ROUNDS, RT_DISPATCH, RT_COLLECT, RT_GEMM};
	RtInstr i = new_instr(op[s->kind]);
	uint64_t *arg = ARENA_ARRAY(w->a, uint64_t, s->narg + 1);
	i.mb = c->mb;
	i.stage = c->stage;
	i.layer = w->in->model->instances[c->instance].layer;
	i.xch = (int)s->xch;
	i.kernel = s->kind == STEP_LAUNCH ? (int)s->kernel : -1;
	i.topk = s->topk;
	i.experts = (int)s->experts;
	i.body = (int)s->body;
	i.per_slot = s->per_slot;
	i.row_bytes = (uint64_t)s->row_bytes;
	if (s->kind == STEP_COUNTS && s->balance >= 0)
		i.bal = w->balance[c->instance][s->balance] - 1;
	for (uint32_t k = 0; k < s->narg; k++)
		arg[k] = buf_address(w, c, s->arg[k]) + (s->off ? s->off[k] : 0);
	set_args(w, &i, arg, (int)s->narg);
	i.nint = s->nint;
	memcpy(i.n, s->n, sizeof i.n);
	if (s->kind == STEP_GEMM)
		set_gemm(&i, &s->gemm);
	i.note = note(w, c, s->span);
	emit(w, i);
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

static int input_value(const Graph *g, Val v, const char **name)
{
	for (;;) {
		const Node *n = graph_def(g, v);
		if (n->op == OP_input) {
			*name = graph_val(g, v)->name;
			return 1;
		}
		if (n->op != OP_reshape && n->op != OP_detach)
			return 0;
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
	return name_index(w, strncmp(name, "grad.", 5) == 0 ? name + 5 : name);
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
		bound[k] = new_buf(w, rows_bytes(w, &c->fn->bufs.v[k]),
		                   c->kind == RT_ACT_F ? RT_BUF_VALUE : RT_BUF_GRADIENT, value_name(w, c, p->name));
	return bound[k];
}

/* Emits the steps; lifetimes in the function know its loops. */
static void emit_function(Writer *w, const Call *c)
{
	int first = (int)w->instrs.n;
	for (uint32_t i = 0; i < c->fn->steps.n; i++)
		emit_step(w, c, &c->fn->steps.v[i]);
	for (uint32_t k = 0; k < c->fn->bufs.n; k++) {
		const FnBuf *f = &c->fn->bufs.v[k];
		if (c->bound[k] == NO_BUF || f->first < 0)
			continue;
		touch_at(w, c->bound[k], first + f->first);
		touch_at(w, c->bound[k], first + f->last);
	}
}

/* Runs a function: `env` holds the values by carried name on entry, results replace them;
 * gradients use names "grad.NAME" in the function and NAME's slot in env. */
static void run_function(Writer *w, Call *c, int *env, int *saved)
{
	const Fn *fn = c->fn;
	const Graph *g = fn->graph;
	int *bound = ARENA_ARRAY(w->a, int, fn->bufs.n + 1);
	int *result = arena_copy(w->a, env, (w->nnames + 1) * sizeof *env);
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
	c->work = c->ws->bytes ? new_buf(w, c->ws->bytes, RT_BUF_WORK, value_name(w, c, "work")) : NO_BUF;
	emit_function(w, c);
	memcpy(env, result, w->nnames * sizeof *env);
}

static uint32_t count_saved(const Graph *g)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].kind == PORT_SAVED;
	return n;
}

static Saves *saves(const Writer *w, RtActKind kind, uint32_t instance, int mb)
{
	return &w->saved[kind][(size_t)instance * (size_t)w->in->microbatches + (size_t)mb];
}

/* One function of one instance of a stage. */
static void call_instance(Writer *w, RtActKind kind, uint32_t instance, int stage, int mb, int *env)
{
	uint32_t cls = w->in->model->instances[instance].cls;
	const Fn *fn = w->in->fn[kind][cls];
	Saves *out = saves(w, kind, instance, mb);
	Call c = {.fn = fn, .ws = workspace(w, &w->ws[kind][cls], fn), .instance = instance, .mb = mb, .stage = stage,
	          .kind = kind};
	c.phase = arena_printf(w->a, "%s mb %d stage %d", rt_act_name(kind), mb, stage);
	c.from[0] = kind == RT_ACT_F ? NULL : saves(w, RT_ACT_F, instance, mb);
	c.from[1] = kind == RT_ACT_W ? saves(w, RT_ACT_I, instance, mb) : NULL;
	*out = (Saves){fn->graph, ARENA_ARRAY(w->a, int, count_saved(fn->graph) + 1)};
	run_function(w, &c, env, out->buf);
}

static void act_forward(Writer *w, int stage, int mb)
{
	const PlanStage *s = &w->in->stages[stage];
	int *env = ARENA_ARRAY(w->a, int, w->nnames + 1);
	memcpy(env, slot(w, w->fwd_in, stage, mb, 0), w->nnames * sizeof *env);
	for (uint32_t i = s->first; i <= s->last; i++)
		call_instance(w, RT_ACT_F, i, stage, mb, env);
	memcpy(slot(w, w->fwd_out, stage, mb, 0), env, w->nnames * sizeof *env);
	if ((uint32_t)stage + 1 < w->in->nstages && w->in->stages[stage + 1].pp_rank == w->pp_rank)
		memcpy(slot(w, w->fwd_in, stage + 1, mb, 0), env, w->nnames * sizeof *env);
}

/* B or I: W has no results but gradients of weights. */
static void act_backward(Writer *w, RtActKind kind, int stage, int mb)
{
	const PlanStage *s = &w->in->stages[stage];
	int *env = ARENA_ARRAY(w->a, int, w->nnames + 1);
	memcpy(env, slot(w, w->grad_in, stage, mb, 0), w->nnames * sizeof *env);
	for (uint32_t i = s->last + 1; i-- > s->first;)
		call_instance(w, kind, i, stage, mb, env);
	if (kind == RT_ACT_W)
		return;
	memcpy(slot(w, w->grad_out, stage, mb, 0), env, w->nnames * sizeof *env);
	if (stage > 0 && w->in->stages[stage - 1].pp_rank == w->pp_rank)
		memcpy(slot(w, w->grad_in, stage - 1, mb, 0), env, w->nnames * sizeof *env);
}

/* ---- transfers ---- */

/* Sends or receives every live carried value (or gradient) at the border before instance `at`. */
static void transfer(Writer *w, const PlanAct *act, int border, int *table, int table_stage, bool grad)
{
	bool send = act->kind == PLAN_SEND_F || act->kind == PLAN_SEND_B;
	int peer_stage = act->kind == PLAN_SEND_F || act->kind == PLAN_RECV_B ? border : border - 1;
	uint32_t at = w->in->stages[border].first;
	for (uint32_t n = 0; n < w->nnames; n++) {
		const Type *t = live_type(w, at, w->names.v[n]);
		if (!t || (grad && !is_floating_type(t)))
			continue;
		RtInstr i = new_instr(send ? RT_SEND : RT_RECV);
		int *k = slot(w, table, table_stage, act->mb, (int)n);
		i.peer = w->in->stages[peer_stage].pp_rank;
		i.mb = act->mb;
		i.stage = act->stage;
		i.row_bytes = (uint64_t)token_bytes(t);
		if (!send)
			*k = new_buf(w, (uint64_t)w->in->tokens_max * i.row_bytes, RT_BUF_RECEIVED,
			             arena_printf(w->a, "%s%s@stage%d.%d", grad ? "grad." : "", w->names.v[n], border,
			                          act->mb));
		if (*k == NO_BUF)
			ice("stage %d sends %s before it is computed", act->stage, w->names.v[n]);
		touch(w, *k);
		uint64_t arg = reference(*k, 0);
		set_args(w, &i, &arg, 1);
		i.note = arena_printf(w->a, "%s%s %s at the input of stage %d", grad ? "gradient of " : "",
		                      w->names.v[n], dtype_name(t->dtype), border);
		emit(w, i);
	}
}

/* ---- sharded gradients ---- */

/* Marks the sharded units that a backward action of the stage adds to. */
static void mark_sums(const Writer *w, RtActKind kind, int stage, bool *mark)
{
	const PlanStage *s = &w->in->stages[stage];
	memset(mark, 0, w->layout.units.n * sizeof *mark);
	for (uint32_t i = s->first; i <= s->last; i++) {
		const Fn *fn = w->in->fn[kind][w->in->model->instances[i].cls];
		for (uint32_t k = 0; k < fn->bufs.n; k++) {
			const FnBuf *f = &fn->bufs.v[k];
			int unit = f->role == BUF_WGRAD && f->first >= 0 ? w->layout.place[i][f->index].unit : -1;
			if (unit >= 0 && w->layout.units.v[unit].sharded)
				mark[unit] = true;
		}
	}
}

/* Counts the actions of a run that add to every unit. */
static void count_sums(Writer *w, int run)
{
	bool *mark = ARENA_ARRAY(w->a, bool, w->layout.units.n + 1);
	int mbs = w->in->microbatches / w->in->runs;
	for (uint32_t i = 0; i < w->in->nacts[w->pp_rank]; i++) {
		const PlanAct *act = &w->in->acts[w->pp_rank][i];
		if (act->kind < PLAN_B || act->kind > PLAN_W || act->mb / mbs != run)
			continue;
		mark_sums(w, (RtActKind)act->kind, act->stage, mark);
		for (uint32_t u = 0; u < w->layout.units.n; u++)
			w->sums[u].left += mark[u];
	}
}

static void emit_sums(Writer *w, RtOp op, uint32_t unit)
{
	const RtUnit *u = &w->layout.units.v[unit];
	RtInstr i = new_instr(op);
	uint64_t arg = reference(w->sums[unit].buf, 0);
	i.unit = (int)unit;
	i.acc = op == RT_ZERO && w->sums[unit].reduced;
	i.bytes = op == RT_ZERO ? (uint64_t)u->elems * 4 : 0;
	touch(w, w->sums[unit].buf);
	set_args(w, &i, &arg, 1);
	i.note = arena_printf(w->a, "gradients of %s", u->name);
	emit(w, i);
}

/* Before an action: buffers for what it is the first of the run to add to. */
static void open_sums(Writer *w, const PlanAct *act, const bool *mark)
{
	int run = act->mb / (w->in->microbatches / w->in->runs);
	while (w->run < run)
		count_sums(w, ++w->run);
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		if (!mark[u] || w->sums[u].buf != NO_BUF)
			continue;
		char *name = arena_printf(w->a, "sums@%s%d", w->layout.units.v[u].name, run);
		w->sums[u].buf = new_buf(w, (uint64_t)w->layout.units.v[u].elems * 4, RT_BUF_GRADIENT, name);
		emit_sums(w, RT_ZERO, u);
	}
}

/* After it: what nothing of the run adds to any more is reduced. */
static void close_sums(Writer *w, const bool *mark)
{
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		if (!mark[u] || --w->sums[u].left)
			continue;
		emit_sums(w, RT_REDUCE, u);
		w->sums[u].buf = NO_BUF;
		w->sums[u].reduced = true;
	}
}

static void write_compute(Writer *w, const PlanAct *act)
{
	bool *mark = ARENA_ARRAY(w->a, bool, w->layout.units.n + 1);
	if (w->in->shard_gradients && act->kind != PLAN_F) {
		mark_sums(w, (RtActKind)act->kind, act->stage, mark);
		open_sums(w, act, mark);
	}
	uint32_t first = w->instrs.n;
	RtActKind kind = (RtActKind)act->kind;
	if (kind == RT_ACT_F)
		act_forward(w, act->stage, act->mb);
	else
		act_backward(w, kind, act->stage, act->mb);
	vec_push(w->a, &w->acts, ((RtAct){kind, act->stage, act->mb, (int)first, (int)(w->instrs.n - first)}));
	close_sums(w, mark);
}

static void write_act(Writer *w, const PlanAct *act)
{
	switch (act->kind) {
	case PLAN_F:
	case PLAN_B:
	case PLAN_I:
	case PLAN_W: write_compute(w, act); break;
	case PLAN_SEND_F: transfer(w, act, act->stage + 1, w->fwd_out, act->stage, false); break;
	case PLAN_RECV_F: transfer(w, act, act->stage, w->fwd_in, act->stage, false); break;
	case PLAN_SEND_B: transfer(w, act, act->stage, w->grad_out, act->stage, true); break;
	case PLAN_RECV_B: transfer(w, act, act->stage + 1, w->grad_in, act->stage, true); break;
	}
}

/* ---- persistent memory ---- */

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

static void reserve_fixed(Writer *w)
{
	const Model *m = w->in->model;
	uint64_t tokens = (uint64_t)w->in->microbatches * (uint64_t)w->in->tokens_max * 4;
	w->fixed = w->layout.end;
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

/* ---- exchanges ---- */

static void exchange_sizes(Writer *w)
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

/* ---- the step ---- */

static void begin_step(Writer *w)
{
	for (uint32_t k = 0; k < w->nrope; k++) {
		RtInstr i = new_instr(RT_LAUNCH);
		const char *theta = arena_printf(w->a, "#define THETA %.17g\n", w->rope[k].theta);
		Defines d = {0};
		vec_push(w->a, &d, ((Define){w->in->options->cuda ? "DIM" : "D", w->rope[k].d}));
		i.kernel = (int)template_add(w->in->kernels, w->in->options, "rope_table", theta, &d);
		w->in->kernels->kernels.v[i.kernel].launch.access = arena_printf(w->a, "w%uS", w->rope[k].d * 4);
		set_args(w, &i, &w->rope[k].off, 1);
		i.nint = 1;
		i.n[0] = w->in->seq_max;
		i.note = arena_printf(w->a, "rotary table, theta %g", w->rope[k].theta);
		emit(w, i);
	}
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		const RtUnit *unit = &w->layout.units.v[u];
		RtInstr i = new_instr(RT_GATHER);
		i.unit = (int)u;
		i.note = arena_printf(w->a, "parameters of %s", unit->name);
		emit(w, i);
		if (!unit->trained || unit->sharded)
			continue;
		i = new_instr(RT_ZERO);
		i.bytes = (uint64_t)unit->elems * 4;
		set_args(w, &i, &unit->grad, 1);
		i.note = arena_printf(w->a, "gradients of %s", unit->name);
		emit(w, i);
	}
}

static void end_step(Writer *w)
{
	for (uint32_t u = 0; u < w->layout.units.n; u++) {
		if (!w->layout.units.v[u].trained || w->layout.units.v[u].sharded)
			continue;
		RtInstr i = new_instr(RT_REDUCE);
		i.unit = (int)u;
		i.note = arena_printf(w->a, "gradients of %s", w->layout.units.v[u].name);
		emit(w, i);
	}
	RtInstr i = new_instr(RT_OPTIMIZER);
	i.note = arena_strdup(w->a, "normalise, clip, update");
	emit(w, i);
}

/* ---- kernels of the program, offsets ---- */

typedef struct Numbers {
	int *of;                 /* per kernel of the set: number in the program + 1 */
	VEC(RtKernelInfo) kernels;
	VEC(RtMap) maps;
} Numbers;

static int number_kernel(Writer *w, Numbers *n, int kernel)
{
	const Kernel *k = &w->in->kernels->kernels.v[kernel];
	if (n->of[kernel])
		return n->of[kernel] - 1;
	vec_push(w->a, &n->kernels, k->launch);
	vec_last(&n->kernels).name = arena_strdup(w->a, k->name);
	n->of[kernel] = (int)n->kernels.n;
	for (uint32_t i = 0; i < k->nmaps; i++) {
		vec_push(w->a, &n->maps, k->maps[i]);
		vec_last(&n->maps).kernel = (int)n->kernels.n - 1;
	}
	return (int)n->kernels.n - 1;
}

static void number_kernels(Writer *w)
{
	const PlanInput *in = w->in;
	RtProg *p = w->p;
	Numbers n = {.of = ARENA_ARRAY(w->a, int, in->kernels->kernels.n + 1)};
	for (uint32_t i = 0; i < w->instrs.n; i++)
		if (w->instrs.v[i].kernel >= 0)
			w->instrs.v[i].kernel = number_kernel(w, &n, w->instrs.v[i].kernel);
	p->k_adam = number_kernel(w, &n, (int)in->own.adam);
	p->k_sumsq = number_kernel(w, &n, (int)in->own.sumsq);
	if (in->options->cuda && p->xchs) {
		p->k_slots = number_kernel(w, &n, (int)in->own.slots);
		p->k_pack = number_kernel(w, &n, (int)in->own.pack);
		p->k_unpack = number_kernel(w, &n, (int)in->own.unpack);
	}
	p->kernels = n.kernels.v;
	p->nkernel = (int)n.kernels.n;
	p->maps = n.maps.v;
	p->nmap = (int)n.maps.n;
}

/* The rope tables and the dynamic buffers, where they lie. */
static void list_buffers(Writer *w, const MemItem *items)
{
	VEC(RtBuf) bufs = {0};
	for (uint32_t k = 0; k < w->nrope; k++)
		vec_push(w->a, &bufs,
		         ((RtBuf){RT_BUF_TABLE, w->rope[k].off, (uint64_t)w->in->seq_max * w->rope[k].d * 4, 0,
		                  (int)w->instrs.n - 1, arena_printf(w->a, "rope%u", k)}));
	for (uint32_t i = 0; i < w->dyn.n; i++) {
		const DynBuf *d = &w->dyn.v[i];
		if (d->birth >= 0)
			vec_push(w->a, &bufs, ((RtBuf){d->kind, w->fixed + items[i].offset, d->bytes, d->birth, d->death - 1,
			                               d->name}));
	}
	w->p->bufs = bufs.v;
	w->p->nbuf = (int)bufs.n;
}

static void place_buffers(Writer *w, RankPlan *plan)
{
	MemItem *items = ARENA_ARRAY(w->a, MemItem, w->dyn.n + 1);
	for (uint32_t i = 0; i < w->dyn.n; i++) {
		const DynBuf *d = &w->dyn.v[i];
		items[i] = (MemItem){.bytes = d->birth < 0 ? 0 : d->bytes, .birth = d->birth, .death = d->death};
	}
	plan->bytes.activations = mem_plan(w->a, items, w->dyn.n, ALIGN_BYTES, &plan->peak_instr);
	w->p->arena_bytes = w->fixed + plan->bytes.activations;
	list_buffers(w, items);
	for (uint32_t i = 0; i < w->instrs.n; i++) {
		RtInstr *in = &w->instrs.v[i];
		for (int k = 0; k < in->narg; k++) {
			if (!(in->arg[k] >> 63))
				continue;
			uint32_t buf = (uint32_t)(in->arg[k] >> 42) & 0x1FFFFF;
			in->arg[k] = w->fixed + items[buf].offset + (in->arg[k] & (((uint64_t)1 << 42) - 1));
		}
	}
}

static void fill_none(int *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		table[i] = NO_BUF;
}

static void init_tables(Writer *w)
{
	const PlanInput *in = w->in;
	size_t n = (size_t)in->nstages * (size_t)in->microbatches * (w->nnames + 1);
	int **tables[] = {&w->fwd_in, &w->fwd_out, &w->grad_in, &w->grad_out};
	for (uint32_t i = 0; i < LEN(tables); i++) {
		*tables[i] = ARENA_ARRAY(w->a, int, n);
		fill_none(*tables[i], n);
	}
	for (int k = 0; k < RT_ACT_KINDS; k++) {
		w->saved[k] = ARENA_ARRAY(w->a, Saves, in->model->ninstances * (uint32_t)in->microbatches);
		w->ws[k] = ARENA_ARRAY(w->a, Workspace, in->model->nclasses);
	}
	w->balance = ARENA_ARRAY(w->a, int *, in->model->ninstances);
}

static RtProg *new_prog(Arena *a, const PlanInput *in, int pp_rank)
{
	RtProg *p = ARENA_NEW(a, RtProg);
	p->model = arena_strdup(a, in->model->name);
	p->world = in->world;
	p->pp = in->pp;
	p->dp = in->dp;
	p->ep = in->ep;
	p->ep_shard = in->ep_shard;
	p->pp_rank = pp_rank;
	p->microbatches = in->microbatches;
	p->runs = in->runs;
	p->docs_max = in->docs_max;
	p->tokens_max = in->tokens_max;
	p->seq_max = in->seq_max;
	return p;
}

/* The runtime's own memory lies behind everything else. */
static void reserve_own(RtProg *p, RankPlan *plan)
{
	p->own = p->arena_bytes;
	plan->bytes.runtime = rt_own(p).bytes;
	p->arena_bytes += plan->bytes.runtime;
}

RankPlan plan_rank(Arena *a, const PlanInput *in, int pp_rank)
{
	Writer w = {.a = a, .in = in, .pp_rank = pp_rank, .p = new_prog(a, in, pp_rank), .run = -1};
	RankPlan plan = {.prog = w.p, .peak_instr = -1};
	find_names(&w);
	init_tables(&w);
	w.layout = layout_rank(a, in, pp_rank);
	w.sums = ARENA_ARRAY(a, Sums, w.layout.units.n + 1);
	for (uint32_t u = 0; u < w.layout.units.n; u++)
		w.sums[u].buf = NO_BUF;
	plan.bytes = w.layout.bytes;
	exchange_sizes(&w);
	reserve_fixed(&w);
	plan.bytes.data = w.fixed - w.layout.end;
	begin_step(&w);
	for (uint32_t i = 0; i < in->nacts[pp_rank]; i++)
		write_act(&w, &in->acts[pp_rank][i]);
	end_step(&w);
	place_buffers(&w, &plan);
	number_kernels(&w);
	w.p->units = w.layout.units.v;
	w.p->nunit = (int)w.layout.units.n;
	w.p->tensors = w.layout.tensors.v;
	w.p->ntensor = (int)w.layout.tensors.n;
	w.p->balances = w.balances.v;
	w.p->nbalance = (int)w.balances.n;
	w.p->acts = w.acts.v;
	w.p->nact = (int)w.acts.n;
	w.p->instrs = w.instrs.v;
	w.p->ninstr = (int)w.instrs.n;
	if (in->options->cuda)
		overlap_streams(a, w.p, &plan);
	reserve_own(w.p, &plan);
	return plan;
}
