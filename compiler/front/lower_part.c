/* lower_part.c - runs forward in parts: entry, each layer, exit.
 *
 * Between parts every tensor variable of forward becomes VK_CARRY: an input of the next part when
 * it is read there. What a part assigned to it is an output; what it left untouched is neither,
 * the planner passes it on.
 *
 * Each layer is lowered in an arena of its own. Its graph, weights and carried values are written
 * as a text, the key; when an earlier part has the same key the arena is freed and the instance
 * points to that part. So memory grows with distinct layers, not with layers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lower_int.h"

static void put_type(Text *t, const Type *type)
{
	text_add(t, ":%d[", (int)type->dtype);
	for (int i = 0; i < type->rank; i++)
		text_add(t, "%d.%lld.%u,", (int)type->dim[i].kind, (long long)type->dim[i].n,
		         type->dim[i].id);
	text_add(t, "]");
}

static void put_node(Text *t, const Graph *g, const Node *n)
{
	text_add(t, "%d(", (int)n->op);
	for (uint32_t k = 0; k < n->nin; k++)
		text_add(t, "%u,", n->in[k].i);
	for (int k = 0; k < MAX_INT; k++)
		text_add(t, n->i[k] ? "%lld;" : ";", (long long)n->i[k]);
	text_add(t, "%a,%a)", n->f[0], n->f[1]);
	if (n->op == OP_input)
		text_add(t, "%s", graph_val(g, n->out[0])->name);
	for (uint32_t k = 0; k < n->nout; k++)
		put_type(t, graph_type(g, n->out[k]));
	text_add(t, "\n");
}

/* Everything that tells two parts apart, but the prefix, the spans and the variables' names. */
static char *part_key(const Part *p)
{
	Text t = {0};
	for (uint32_t i = 0; i < p->g->nodes.n; i++)
		put_node(&t, p->g, &p->g->nodes.v[i]);
	for (uint32_t i = 0; i < p->weights.n; i++) {
		const WeightDecl *w = &p->weights.v[i];
		text_add(&t, "w %s %d%d", w->name, w->stacked, w->buffer);
		put_type(&t, &w->type);
		text_add(&t, "\n");
	}
	for (uint32_t i = 0; i < p->outputs.n; i++)
		text_add(&t, "out %s %u\n", p->outputs.v[i].name, p->outputs.v[i].v.i);
	for (uint32_t i = 0; i < p->g->outputs.n; i++) {
		const Port *q = &p->g->outputs.v[i];
		text_add(&t, "port %d %u %u\n", (int)q->kind, q->index, q->val.i);
	}
	text_add(&t, "%s", p->layer < 0 ? p->prefix[0] ? "entry" : "exit" : "layer");
	return t.s;
}

static Part *part_new(Lower *l, int layer, const char *prefix)
{
	Arena *a = arena_child(l->arena);
	Part *p = ARENA_NEW(a, Part);
	p->arena = a;
	p->g = graph_new(a, "part");
	p->weight_index = map_new(a);
	p->layer = layer;
	p->prefix = prefix;
	l->part = p;
	return p;
}

static void set_input(Lower *l, const char *name, Span at, Var *var)
{
	const Type t = {.dtype = DT_i32, .rank = 1, .dim = {dim_tokens()}};
	Part *p = l->part;
	var->value = (Value){.kind = VK_TENSOR, .name = name, .def = at};
	var->value.v = graph_input(p->g, at, name, &t);
}

/* tokens and labels exist in every part: their inputs are made by the first that reads them. */
static void begin_part(Lower *l)
{
	const ParamList *q = &l->prog->model->params;
	for (uint32_t i = 0; i < l->frame->vars.n; i++) {
		Var *v = &l->frame->vars.v[i];
		if (i < q->n)
			set_input(l, q->v[i].name.s, q->v[i].name.span, v);
		else if (v->value.kind == VK_TENSOR)
			v->value.kind = VK_CARRY;
	}
}

/* A variable that holds another carried value as it came in: the graph needs a value of its own,
 * a cast to the same dtype. */
static Val renamed(Lower *l, const Var *v)
{
	Value x = v->value;
	int64_t ints[MAX_INT] = {lower_type(l, &x)->dtype};
	return lower_add(l, OP_cast, v->value.def, "carry", &x, 1, ints, NULL).v;
}

static bool check_carry(Lower *l, const Var *v, const Value *before)
{
	const Type *t = lower_type(l, &v->value);
	if (before->kind != VK_CARRY || type_equal(t, &before->type))
		return true;
	if (lower_error(l, v->value.def, "`%s` is `%s` before layer %d and `%s` after it", v->name,
	                type_text(l->arena, &before->type), l->part->layer, type_text(l->arena, t)) &&
	    before->def.begin != v->value.def.begin)
		diag_note(l->diag, before->def, "it comes from here");
	return false;
}

/* Outputs of the part; afterwards the variables hold no Val of its graph. */
static void end_part(Lower *l, const Var *before, uint32_t nbefore)
{
	Part *p = l->part;
	Frame *f = l->frame;
	f->vars.n = nbefore;
	for (uint32_t i = l->prog->model->params.n; i < nbefore; i++) {
		Var *v = &f->vars.v[i];
		if (v->value.kind != VK_TENSOR)
			continue;
		v->value.type = *lower_type(l, &v->value);
		bool untouched = v->value.carry && strcmp(v->value.carry, v->name) == 0;
		if (!untouched && type_has_rows(&v->value.type)) {
			if (!check_carry(l, v, &before[i].value)) {
				v->value = value_error();
				continue;
			}
			Val out = v->value.carry ? renamed(l, v) : v->value.v;
			vec_push(p->arena, &p->outputs, ((Carry){v->name, out}));
		}
		v->value.carry = NULL;
	}
}

/* Keeps the part, or drops it for an earlier equal one. */
static void add_part(Lower *l, Parts *parts)
{
	Part *p = l->part;
	Instance in = {.layer = p->layer, .prefix = p->layer < 0 ? "" : p->prefix};
	char *key = part_key(p);
	int64_t old;
	if (map_get(&parts->index, key, &old)) {
		in.cls = (uint32_t)old;
		arena_free(p->arena);
	} else {
		in.cls = parts->parts.n;
		map_set(&parts->index, key, in.cls);
		vec_push(l->arena, &parts->parts, p);
		parts->nodes += p->g->nodes.n;
	}
	free(key);
	vec_push(l->arena, &parts->instances, in);
	l->part = NULL;
	if (parts->nodes > MAX_CLASS_NODES && !l->stopped) {
		lower_error(l, l->prog->model->name.span, "the distinct layers have more than %d operators",
		            MAX_CLASS_NODES);
		l->stopped = true;
	}
}

static void run(Lower *l, const StmtList *s, uint32_t begin, uint32_t end)
{
	for (uint32_t i = begin; i < end && !l->stopped; i++) {
		if (s->v[i]->kind == ST_ASSIGN)
			lower_assign(l, s->v[i]);
		else if (s->v[i]->kind == ST_EXPR)
			(void)lower_expr(l, s->v[i]->exprs.v[0]);
	}
}

static Var *copy_vars(Lower *l, uint32_t *n)
{
	*n = l->frame->vars.n;
	return arena_copy(l->part->arena, l->frame->vars.v, *n * sizeof(Var));
}

static void layer(Lower *l, Parts *parts, const Stmt *s, int64_t i)
{
	uint32_t n;
	Part *p = part_new(l, (int)i, "");
	begin_part(l);
	const Var *before = copy_vars(l, &n);
	vec_push(l->arena, &l->frame->vars, ((Var){s->names.v[0].s, value_int(i)}));
	const char *prefix = lower_template(l, s->at_span, s->at, NULL);
	p->prefix = prefix && *prefix ? arena_printf(l->arena, "%s.", prefix) : "";
	run(l, &s->body->stmts, 0, s->body->stmts.n);
	if (!l->stopped)
		end_part(l, before, n);
	else
		l->frame->vars.n = n;
	add_part(l, parts);
}

static bool layers(Lower *l, Parts *parts, const Stmt *s)
{
	Value count = lower_expr(l, s->exprs.v[0]);
	if (count.kind != VK_INT || count.u.i < 1 || count.u.i > MAX_LAYERS) {
		if (count.kind != VK_ERROR)
			lower_error(l, s->exprs.v[0]->span, "the number of layers is an integer from 1 to %d, "
			            "not %s", MAX_LAYERS, value_is_number(&count) ? value_json(l->arena, &count)
			                                                          : value_word(&count));
		return false;
	}
	for (int64_t i = 0; i < count.u.i && !l->stopped; i++)
		layer(l, parts, s, i);
	return true;
}

static void exit_part(Lower *l, Parts *parts, const StmtList *s, uint32_t begin)
{
	const Stmt *ret = vec_last(s);
	Part *p = part_new(l, -1, "");
	begin_part(l);
	run(l, s, begin, s->n - 1);
	Value loss = l->stopped ? value_error() : lower_expr(l, ret->exprs.v[0]);
	bool is_loss = loss.kind == VK_TENSOR && lower_type(l, &loss)->rank == 0 &&
	               lower_type(l, &loss)->dtype == DT_f64;
	if (is_loss && graph_def(p->g, loss.v)->op == OP_cross_entropy)
		graph_output(p->g, PORT_LOSS, "loss", 0, loss.v);
	else if (is_loss && lower_error(l, ret->exprs.v[0]->span, "forward returns the cross_entropy itself, not "
	                                                          "what is computed from it"))
		diag_help(l->diag, "it is summed over the tokens; the step divides by the number of labels");
	else if (!is_loss && loss.kind != VK_ERROR &&
	         lower_error(l, ret->exprs.v[0]->span, "forward returns the loss, this is %s",
	                     lower_describe(l, &loss)))
		diag_help(l->diag, "return cross_entropy(logits, labels)");
	add_part(l, parts);
}

bool lower_parts(Lower *l, Parts *parts)
{
	const ModelDef *m = l->prog->model;
	const StmtList *s = &m->forward->stmts;
	Frame f = {.prefix = ""};
	uint32_t at = 0, n;
	l->frame = &f;
	for (uint32_t i = 0; i < m->params.n; i++)
		vec_push(l->arena, &f.vars, ((Var){.name = m->params.v[i].name.s}));
	while (at < s->n && s->v[at]->kind != ST_REPEAT)
		at++;
	part_new(l, -1, "entry");
	begin_part(l);
	run(l, s, 0, at);
	end_part(l, copy_vars(l, &n), f.vars.n);
	l->part->prefix = "entry";
	add_part(l, parts);
	if (!l->stopped && layers(l, parts, s->v[at]) && !l->stopped)
		exit_part(l, parts, s, at + 1);
	l->frame = NULL;
	return !l->failed;
}
