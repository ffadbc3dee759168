/* lower_moe.c - the functions of routing: top_k, dispatch, combine, balance.
 *
 * The range of ids (how many experts there are) goes with them from top_k to dispatch. Rows
 * dispatched with the same ids share their R dimension, so that they can be combined, unless one
 * dispatch needs what came back from the other.
 */
#include "lower_int.h"

Value call_top_k(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0, 1, 1};
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_int_arg(l, e, arg, 1, 1, &ints[0]) ||
	    !lower_need_float(l, e->list.v[0]->span, &arg[0], e->s))
		return value_error();
	if (n == 4 && (!lower_int_arg(l, e, arg, 2, 1, &ints[1]) ||
	               !lower_int_arg(l, e, arg, 3, 1, &ints[2])))
		return value_error();
	arg[0] = lower_cast(l, e->op_span, arg[0], DT_f32);
	Value v = lower_add(l, OP_top_k, e->op_span, e->s, arg, 1, ints, NULL);
	const Type *t = lower_type(l, &arg[0]);
	v.experts = t->dim[t->rank - 1].n;
	return v;
}

Value call_balanced_ids(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0};
	(void)n;
	if (!lower_int_arg(l, e, arg, 0, 1, &ints[0]) || !lower_int_arg(l, e, arg, 1, 1, &ints[1]))
		return value_error();
	Value v = lower_add(l, OP_balanced_ids, e->op_span, e->s, arg, 0, ints, NULL);
	v.experts = ints[1];
	return v;
}

/* Is value `v` made from what rows R<id> were collected to? */
static bool follows_rows(const Lower *l, Val v, int64_t id)
{
	const Graph *g = l->part->g;
	bool *needed = ARENA_ARRAY(l->part->arena, bool, g->nodes.n + 1);
	needed[g->vals.v[v.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;) {
		const Node *n = &g->nodes.v[i];
		if (needed[i] && n->op == OP_collect && graph_type(g, n->in[0])->dim[0].id == id)
			return true;
		for (uint32_t k = 0; needed[i] && k < n->nin; k++)
			needed[g->vals.v[n->in[k].i - 1].node] = true;
	}
	return false;
}

/* The R dimension of rows of `x` sent by these ids: that of an earlier dispatch, unless x comes after
 * those rows, or the next one. */
static int64_t rows_of(const Lower *l, Val x, Val ids)
{
	const Graph *g = l->part->g;
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (n->op == OP_dispatch && n->in[1].i == ids.i && !follows_rows(l, x, n->i[1]))
			return n->i[1];
	}
	return g->rows;
}

/* Ids choose among `n` things at run time: they must be known to be smaller. */
bool lower_ids_below(Lower *l, const Expr *e, const Value *ids, int64_t n, const char *what)
{
	if (ids->experts && ids->experts <= n)
		return true;
	if (!ids->experts)
		lower_error(l, e->list.v[1]->span, "these ids do not come from top_k or balanced_ids");
	else
		lower_error(l, e->list.v[1]->span, "these ids go up to %lld, but there are %lld %s",
		            (long long)ids->experts - 1, (long long)n, what);
	return false;
}

Value call_dispatch(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0};
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return value_error();
	ints[0] = arg[1].experts;
	if ((n == 3 && !lower_int_arg(l, e, arg, 2, 1, &ints[0])) ||
	    !lower_ids_below(l, e, &arg[1], ints[0], "experts"))
		return value_error();
	ints[1] = rows_of(l, arg[0].v, arg[1].v);
	Value v = lower_add(l, OP_dispatch, e->op_span, e->s, arg, 2, ints, NULL);
	if (v.kind == VK_TENSOR && l->part->g->rows <= (uint32_t)ints[1])
		l->part->g->rows = (uint32_t)ints[1] + 1;
	return v;
}

/* The dispatch whose rows these are. */
static const Node *dispatch_of(const Lower *l, const Value *rows, const Value *ids)
{
	const Type *t = lower_type(l, rows);
	const Graph *g = l->part->g;
	for (uint32_t i = 0; i < g->nodes.n && t->rank > 0 && t->dim[0].kind == DIM_R; i++) {
		const Node *nd = &g->nodes.v[i];
		if (nd->op == OP_dispatch && nd->i[1] == t->dim[0].id && nd->in[1].i == ids->v.i)
			return nd;
	}
	return NULL;
}

/* sum over k of w[t,k] * rows of token t, slot k */
Value call_combine(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	int64_t ints[MAX_INT] = {0};
	(void)n;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return value_error();
	const Node *sent = dispatch_of(l, &arg[0], &arg[1]);
	if (!sent) {
		if (lower_error(l, e->op_span, "these rows were not dispatched with these ids")) {
			lower_note_operands(l, arg, 2);
			diag_help(l->diag, "combine undoes dispatch(x, ids): rows and ids belong together");
		}
		return value_error();
	}
	ints[0] = sent->i[0];
	Value slots = lower_add(l, OP_collect, e->op_span, e->s, arg, 2, ints, NULL);
	if (slots.kind == VK_ERROR)
		return slots;
	if (value_is_number(&arg[2])) {
		slots = lower_scalar(l, OP_mul, e->op_span, slots, value_number(&arg[2]));
	} else {
		if (!lower_tensor_arg(l, e, arg, 2) ||
		    !lower_need_float(l, e->list.v[2]->span, &arg[2], e->s))
			return value_error();
		Type want = *lower_type(l, &arg[1]);
		want.dtype = lower_type(l, &arg[2])->dtype;
		if (!type_equal(lower_type(l, &arg[2]), &want)) {
			if (lower_error(l, e->list.v[2]->span, "the weights of `combine` must be `%s`, these "
			                "are %s", type_text(l->arena, &want), lower_describe(l, &arg[2])))
				lower_note_operand(l, &arg[2]);
			return value_error();
		}
		Dim dims[2] = {want.dim[1], dim_const(1, NULL)};
		Value w = lower_reshape(l, e->op_span, arg[2], dims, 2);
		slots = lower_arith(l, OP_mul, e->op_span, slots, w);
	}
	if (slots.kind == VK_ERROR)
		return slots;
	return lower_add(l, OP_sum_slots, e->op_span, e->s, &slots, 1, NULL, NULL);
}

Value call_balance(Lower *l, const Expr *e, Value *arg, uint32_t n)
{
	Value none = {.kind = VK_NONE};
	(void)n;
	if (!lower_tensor_arg(l, e, arg, 0) || !lower_tensor_arg(l, e, arg, 1))
		return none;
	const Type *b = lower_type(l, &arg[0]);
	const Type *ids = lower_type(l, &arg[1]);
	if (!arg[0].buffer) {
		if (lower_error(l, e->list.v[0]->span, "`balance` moves a buffer, this is none"))
			diag_help(l->diag, "declare it with `buffer \"name\"[experts]`");
	} else if (b->rank != 1 || (arg[1].experts && arg[1].experts != b->dim[0].n)) {
		lower_error(l, e->list.v[0]->span, "the buffer has one element per expert: %lld, not %s",
		            (long long)arg[1].experts, lower_describe(l, &arg[0]));
	} else if (ids->dtype != DT_i32 || ids->rank != 2) {
		lower_error(l, e->list.v[1]->span, "`balance` counts ids, not %s",
		            lower_describe(l, &arg[1]));
	} else {
		graph_output(l->part->g, PORT_BALANCE, arg[0].name, arg[0].weight - 1, arg[1].v);
	}
	return none;
}
