/* graph.c - graphs, types and the operator table. */
#include "graph.h"

#include <stdio.h>
#include <string.h>

#include "op_rules.h"

typedef struct OpInfo {
	const char *name;
	int nin, nout;
	OpClass cls;
	uint32_t flags;
	ShapeRule *shape;
} OpInfo;

static const OpInfo ops[] = {
#define OP(name, nin, nout, cls, flags, doc) {#name, nin, nout, cls, flags, shape_##name},
#include "ops.def"
#undef OP
};

static const struct { const char *name; size_t size; } dtypes[] = {
	[DT_f32] = {"f32", 4}, [DT_bf16] = {"bf16", 2}, [DT_f64] = {"f64", 8},
	[DT_i32] = {"i32", 4}, [DT_u32] = {"u32", 4},
};

size_t dtype_size(DType t)
{
	return dtypes[t].size;
}

const char *dtype_name(DType t)
{
	return dtypes[t].name;
}

bool dtype_parse(const char *name, DType *out)
{
	for (uint32_t i = 0; i < LEN(dtypes); i++)
		if (strcmp(dtypes[i].name, name) == 0) {
			*out = (DType)i;
			return true;
		}
	return false;
}

bool dim_equal(Dim a, Dim b)
{
	return a.kind == b.kind && (a.kind == DIM_CONST ? a.n == b.n : a.kind == DIM_T || a.id == b.id);
}

bool type_equal(const Type *a, const Type *b)
{
	if (a->dtype != b->dtype || a->rank != b->rank)
		return false;
	for (int i = 0; i < a->rank; i++)
		if (!dim_equal(a->dim[i], b->dim[i]))
			return false;
	return true;
}

Dim dim_const(int64_t n, const char *name)
{
	return (Dim){.kind = DIM_CONST, .n = n, .name = name};
}

Dim dim_tokens(void)
{
	return (Dim){.kind = DIM_T, .name = "T"};
}

Dim dim_rows(uint32_t id)
{
	return (Dim){.kind = DIM_R, .id = id, .name = "R"};
}

int64_t type_row(const Type *t)
{
	int64_t n = 1;
	for (int i = 0; i < t->rank; i++)
		if (t->dim[i].kind == DIM_CONST)
			n *= t->dim[i].n;
	return n;
}

bool type_has_rows(const Type *t)
{
	return t->rank && t->dim[0].kind != DIM_CONST;
}

bool type_possible(const Type *t)
{
	const int64_t most = INT64_C(1) << 48;
	int64_t n = 1;
	if (t->rank < 0 || t->rank > MAX_RANK)
		return false;
	for (int i = 0; i < t->rank; i++) {
		const Dim *d = &t->dim[i];
		bool ok = d->kind == DIM_CONST ? d->n >= 1 && d->n <= most / n : i == 0 && d->id < MAX_ROW_DIMS;
		if (!ok)
			return false;
		if (d->kind == DIM_CONST)
			n *= d->n;
	}
	return true;
}

const char *type_text(Arena *a, const Type *t)
{
	Text out = {0};
	text_add(&out, "%s[", dtype_name(t->dtype));
	for (int i = 0; i < t->rank; i++) {
		const Dim *d = &t->dim[i];
		if (i)
			text_add(&out, ",");
		if (d->kind == DIM_T)
			text_add(&out, "T");
		else if (d->kind == DIM_R)
			text_add(&out, "R%u", d->id);
		else if (d->name)
			text_add(&out, "%s=%lld", d->name, (long long)d->n);
		else
			text_add(&out, "%lld", (long long)d->n);
	}
	text_add(&out, "]");
	const char *s = arena_strdup(a, out.s);
	text_free(&out);
	return s;
}

const char *op_name(Op op)
{
	return ops[op].name;
}

OpClass op_class(Op op)
{
	return ops[op].cls;
}

uint32_t op_flags(Op op)
{
	return ops[op].flags;
}

Graph *graph_new(Arena *a, const char *name)
{
	Graph *g = ARENA_NEW(a, Graph);
	g->arena = a;
	g->name = name;
	return g;
}

const char *op_check(Arena *a, Op op, const Type *in, uint32_t nin, const int64_t *ints,
                     const double *floats, Type out[MAX_OUT], uint32_t *nout)
{
	static const int64_t no_ints[MAX_INT];
	static const double no_floats[2];
	if (ops[op].nin >= 0 && (int)nin != ops[op].nin)
		return arena_printf(a, "%s takes %d operands, not %u", ops[op].name, ops[op].nin, nin);
	ShapeCall c = {.a = a, .op = op, .in = in, .nin = nin, .i = ints ? ints : no_ints,
	               .f = floats ? floats : no_floats, .out = out};
	*nout = (uint32_t)ops[op].nout;
	const char *wrong = ops[op].shape(&c);
	for (uint32_t k = 0; !wrong && k < *nout; k++)
		if (!type_possible(&out[k]))
			wrong = arena_printf(a, "no value has the shape `%s`", type_text(a, &out[k]));
	return wrong;
}

uint32_t graph_add(Graph *g, Op op, Span span, const Val *in, uint32_t nin, const int64_t *ints,
                   const double *floats)
{
	Type types[64], out[MAX_OUT];
	uint32_t nout;
	if (nin > LEN(types))
		ice("%s with %u operands", op_name(op), nin);
	for (uint32_t i = 0; i < nin; i++)
		types[i] = *graph_type(g, in[i]);
	const char *wrong = op_check(g->arena, op, types, nin, ints, floats, out, &nout);
	if (wrong)
		ice("%s in %s: %s", op_name(op), g->name, wrong);
	Node n = {.op = op, .span = span, .nin = nin, .nout = nout};
	n.in = arena_copy(g->arena, in, nin * sizeof *in);
	if (ints)
		memcpy(n.i, ints, sizeof n.i);
	if (floats)
		memcpy(n.f, floats, sizeof n.f);
	for (uint32_t k = 0; k < nout; k++) {
		vec_push(g->arena, &g->vals, ((ValInfo){.type = out[k], .node = g->nodes.n, .out = k}));
		n.out[k] = (Val){g->vals.n};
		for (int d = 0; d < out[k].rank; d++)
			if (out[k].dim[d].kind == DIM_R && out[k].dim[d].id >= g->rows)
				g->rows = out[k].dim[d].id + 1;
	}
	vec_push(g->arena, &g->nodes, n);
	return g->nodes.n - 1;
}

Val graph_add1(Graph *g, Op op, Span span, const Val *in, uint32_t nin, const int64_t *ints, const double *floats)
{
	uint32_t node = graph_add(g, op, span, in, nin, ints, floats);
	return g->nodes.v[node].out[0];
}

Val graph_op1(Graph *g, Op op, Span s, Val a)
{
	return graph_add1(g, op, s, &a, 1, NULL, NULL);
}

Val graph_op2(Graph *g, Op op, Span s, Val a, Val b)
{
	Val in[] = {a, b};
	return graph_add1(g, op, s, in, 2, NULL, NULL);
}

Val graph_const(Graph *g, Span s, double value, DType t)
{
	const int64_t i[MAX_INT] = {t};
	const double f[2] = {value};
	return graph_add1(g, OP_const, s, NULL, 0, i, f);
}

static Val source(Graph *g, Op op, Span s, const char *name, int64_t index, const Type *t)
{
	const int64_t i[MAX_INT] = {index};
	Val v = graph_add1(g, op, s, NULL, 0, i, NULL);
	g->vals.v[v.i - 1].type = *t;
	g->vals.v[v.i - 1].name = name;
	return v;
}

Val graph_input(Graph *g, Span s, const char *name, const Type *t)
{
	return source(g, OP_input, s, name, 0, t);
}

Val graph_weight(Graph *g, Span s, uint32_t weight, const Type *t)
{
	return source(g, OP_weight, s, NULL, weight, t);
}

void graph_output(Graph *g, PortKind kind, const char *name, uint32_t index, Val v)
{
	vec_push(g->arena, &g->outputs, ((Port){kind, name, index, v}));
}

uint32_t graph_readers(const Graph *g, Val v)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		for (uint32_t k = 0; k < g->nodes.v[i].nin; k++)
			n += g->nodes.v[i].in[k].i == v.i;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		n += g->outputs.v[i].val.i == v.i;
	return n;
}

bool node_grouped(const Graph *g, const Node *n)
{
	return n->op == OP_matmul && (n->i[0] == 2 ? n->i[1] > 0 : graph_type(g, n->in[1])->rank == 3);
}

Val graph_broadcast(Graph *g, Span s, Val v, const Type *target)
{
	int64_t i[MAX_INT] = {target->rank};
	int at = 1;
	Type want = *target;
	want.dtype = graph_type(g, v)->dtype;
	if (type_equal(graph_type(g, v), &want))
		return v;
	for (int k = 0; k < target->rank; k++) {
		if (target->dim[k].kind == DIM_CONST)
			i[at++] = target->dim[k].n;
		else
			i[0] += 16 * (target->dim[k].kind == DIM_T ? 1 : 2) + 256 * (int64_t)target->dim[k].id;
	}
	return graph_add1(g, OP_broadcast, s, &v, 1, i, NULL);
}

Val graph_reshape(Graph *g, Span s, Val v, int rank, const int64_t *dims)
{
	int64_t i[MAX_INT] = {rank};
	for (int k = 0; k < rank; k++)
		i[k + 1] = dims[k];
	return graph_add1(g, OP_reshape, s, &v, 1, i, NULL);
}

Val graph_slice(Graph *g, Span s, Val v, int64_t begin, int64_t size)
{
	const int64_t i[MAX_INT] = {begin, size};
	return graph_add1(g, OP_slice, s, &v, 1, i, NULL);
}

Val graph_concat(Graph *g, Span s, const Val *v, uint32_t n)
{
	return n == 1 ? v[0] : graph_add1(g, OP_concat, s, v, n, NULL, NULL);
}

Val graph_cast(Graph *g, Span s, Val v, DType t)
{
	const int64_t i[MAX_INT] = {t};
	if (graph_type(g, v)->dtype == t)
		return v;
	return graph_add1(g, OP_cast, s, &v, 1, i, NULL);
}

Graph *graph_copy(Arena *a, const Graph *g)
{
	Graph *to = graph_new(a, g->name);
	to->rows = g->rows;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		vec_push(a, &to->nodes, g->nodes.v[i]);
	for (uint32_t i = 0; i < g->vals.n; i++)
		vec_push(a, &to->vals, g->vals.v[i]);
	for (uint32_t i = 0; i < g->outputs.n; i++)
		vec_push(a, &to->outputs, g->outputs.v[i]);
	return to;
}

void graph_copy_node(Graph *to, const Graph *from, const Node *n, Val *map)
{
	const ValInfo *info = graph_val(from, n->out[0]);
	Val in[64];
	if (n->op == OP_input) {
		map[n->out[0].i - 1] = graph_input(to, n->span, info->name, &info->type);
		return;
	}
	if (n->op == OP_weight) {
		map[n->out[0].i - 1] = graph_weight(to, n->span, (uint32_t)n->i[0], &info->type);
		return;
	}
	for (uint32_t k = 0; k < n->nin; k++)
		in[k] = map[n->in[k].i - 1];
	uint32_t made = graph_add(to, n->op, n->span, in, n->nin, n->i, n->f);
	to->nodes.v[made].wgrad = n->wgrad;
	for (uint32_t k = 0; k < n->nout; k++) {
		Val v = to->nodes.v[made].out[k];
		map[n->out[k].i - 1] = v;
		to->vals.v[v.i - 1].name = graph_val(from, n->out[k])->name;
	}
}
