/* row_eval_cuda.c - expressions of row kernels of the cuda target, see row_cuda.h. */
#include "row_cuda.h"

#include "../base/bf16.h"

#include <stdio.h>
#include <string.h>

bool row_inlines(Op op)
{
	return op == OP_rope || op == OP_concat || op == OP_gather || op == OP_scatter || op == OP_sum_slots ||
	       op == OP_sum_heads;
}

/* ---- temporaries: arrays of V elements, or one variable when V is 1 ---- */

const char *row_elem(const RowGen *g)
{
	return g->v > 1 ? "[e]" : "";
}

const char *row_each(const RowGen *g)
{
	return g->v > 1 ? arena_printf(g->p.a, "EACH(%d) ", g->v) : "";
}

static const char *element(const RowGen *g, const char *kind, uint32_t name)
{
	return arena_printf(g->p.a, "%s%u%s", kind, name, row_elem(g));
}

static uint32_t temp(RowGen *g, bool zero)
{
	uint32_t name = g->temps++;
	if (g->v > 1)
		row_line(g, "float t%u[%d]%s;", name, g->v, zero ? " = {}" : "");
	else
		row_line(g, "float t%u%s;", name, zero ? " = 0" : "");
	return name;
}

static const char *text_of(RowGen *g, Val v, const Index *ix)
{
	Text t = {0};
	row_eval(g, &t, v, ix);
	const char *s = arena_strdup(g->p.a, t.s);
	text_free(&t);
	return s;
}

static void begin_block(RowGen *g, uint32_t *loads)
{
	*loads = g->loads.n;
	g->depth++;
}

/* What was loaded inside is not there outside. */
static void end_block(RowGen *g, uint32_t loads)
{
	g->loads.n = loads;
	g->depth--;
}

/* A component of an index as a variable, so that it is computed once. */
static Ix bind(RowGen *g, Ix x)
{
	if (!strpbrk(x.text, " "))
		return x;
	const char *name = arena_printf(g->p.a, "c%u", g->temps++);
	row_line(g, "const int %s = %s;", name, x.text);
	return ix_make(name, x.step, x.align);
}

/* ---- leaves ---- */

static bool is_int(DType t)
{
	return t == DT_i32 || t == DT_u32;
}

static void load_text(RowGen *g, const char *from, const Ix *at, DType type, uint32_t name)
{
	const char *offset = strcmp(at->text, "0") == 0 ? "" : arena_printf(g->p.a, " + %s", at->text);
	if (at->step == 0 || g->v == 1) {
		row_line(g, "const %s x%u = load_one(%s%s);", is_int(type) ? "int" : "float", name, from, offset);
	} else {
		row_line(g, "float x%u[%d];", name, g->v);
		row_line(g, "load_row(x%u, %s%s);", name, from, offset);
	}
}

/* Elements `at` of the array `from`, whose rows have `row` elements. */
static void eval_load(RowGen *g, Text *t, const char *from, Ix at, DType type, int64_t row)
{
	bool one = at.step == 0 || g->v == 1;
	if (!one && (at.step != 1 || at.align % g->v || row % g->v || is_int(type))) {
		row_narrow(g);
		one = true;
	}
	const char *key = arena_printf(g->p.a, "%d %s %s", one ? 1 : g->v, from, at.text);
	uint32_t name = g->temps;
	for (uint32_t i = 0; i < g->loads.n; i++)
		if (strcmp(g->loads.v[i].key, key) == 0)
			name = g->loads.v[i].name;
	if (name == g->temps) {
		load_text(g, from, &at, type, g->temps++);
		vec_push(g->p.a, &g->loads, ((Load){key, name}));
	}
	text_add(t, "x%u%s", name, one ? "" : "[e]");
}

/* Does `at` walk a value of this size as the open nest walks its own? */
static bool is_own(RowGen *g, const Ix *at, int64_t size)
{
	return g->size == size && strcmp(at->text, "i") == 0 && g->v == row_width(g, size);
}

static void eval_computed(RowGen *g, Text *t, uint32_t k, Ix at, const Type *type)
{
	int64_t size = type_row(type);
	uint32_t id = g->p.id[k];
	bool here = g->open && g->nest_of[k] == g->nest, own = is_own(g, &at, size);
	if (size == 1) {
		for (uint32_t i = 0; i < g->sums.n; i++)
			g->conflict |= g->sums.v[i].i == k + 1;
		text_add(t, "v%u", id);
	} else if (here) {
		if (!own)
			row_need(g, k, PLACE_SHARED);
		g->conflict |= !own;
		text_add(t, "v%u%s%s", id, g->place[k] == PLACE_KEPT ? "[t]" : "", row_elem(g));
	} else if (own && g->place[k] != PLACE_SHARED) {
		row_need(g, k, PLACE_KEPT);
		g->each_unrolled = true;
		text_add(t, "v%u[t]%s", id, row_elem(g));
	} else {
		row_need(g, k, PLACE_SHARED);
		eval_load(g, t, arena_printf(g->p.a, "b%u", id), at, type->dtype, size);
	}
}

int row_product(const RowGen *g, Val v)
{
	for (uint32_t i = 0; i < g->nproduct; i++)
		if (g->product[i].i == v.i)
			return (int)i;
	return -1;
}

static void eval_leaf(RowGen *g, Text *t, Val root, Ix at)
{
	uint32_t k = root.i - 1;
	const Type *type = graph_type(g->p.g, root);
	int product = row_product(g, root);
	if (product >= 0) {
		text_add(t, type->dtype == DT_bf16 ? "rounded(p[%d][e])" : "p[%d][e]", product);
		return;
	}
	if (g->p.inside[g->p.g->vals.v[k].node]) {
		if (!g->nest_of[k])
			ice("row kernel reads a value before it is computed");
		eval_computed(g, t, k, at, type);
		return;
	}
	eval_load(g, t, arena_printf(g->p.a, "a%d", g->p.arg[k] - 1), at, type->dtype,
	          type_has_rows(type) ? type_row(type) : 0);
}

static void eval_const(Text *t, const Node *n, DType type)
{
	char number[40];
	snprintf(number, sizeof number, "%.9g", type == DT_bf16 ? bf16_round(n->f[0]) : n->f[0]);
	text_add(t, "%s%sf", number, strpbrk(number, ".en") ? "" : ".0");
}

/* ---- elementwise operators ---- */

static const char *map_format(Op op)
{
	switch (op) {
	case OP_add: return "(%a + %b)";
	case OP_sub: return "(%a - %b)";
	case OP_mul: return "(%a * %b)";
	case OP_div: return "(%a / %b)";
	case OP_neg: return "(-%a)";
	case OP_exp: return "expf(%a)";
	case OP_sqrt: return "sqrtf(%a)";
	case OP_rsqrt: return "(1 / sqrtf(%a))";
	case OP_tanh: return "tanhf(%a)";
	case OP_erf: return "erff(%a)";
	case OP_sigmoid: return "sigmoid(%a)";
	case OP_silu: return "silu(%a)";
	case OP_relu: return "relu(%a)";
	case OP_step: return "step(%a)";
	case OP_cast: return "%a";
	default: ice("operator %s has no elementwise form", op_name(op));
	}
}

static void eval_map(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	bool rounds = row_plan_rounds(&g->p, n);
	text_add(t, rounds ? "rounded(" : "");
	for (const char *p = map_format(n->op); *p; p++) {
		if (p[0] == '%' && (p[1] == 'a' || p[1] == 'b')) {
			row_eval(g, t, n->in[p[1] - 'a'], ix);
			p++;
		} else {
			text_put(t, p, 1);
		}
	}
	text_add(t, rounds ? ")" : "");
}

/* ---- views ---- */

static void eval_broadcast(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	int64_t d[MAX_RANK];
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	Index in = {.n = nd};
	for (int i = 0; i < nd; i++)
		in.at[i] = d[i] == 1 ? ix_zero() : ix->at[ix->n - nd + i];
	row_eval(g, t, n->in[0], &in);
}

static void eval_slice(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	Index in = *ix;
	index_set(&in, ix->n - 1, ix_add(ix->at[ix->n - 1], n->i[0]));
	row_eval(g, t, n->in[0], &in);
}

/* One branch per operand: a vector lies in one of them. */
static void eval_concat(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	int64_t at = 0;
	int last = ix->n - 1;
	Index in = *ix;
	Ix col = bind(g, ix->at[last]);
	uint32_t out = temp(g, false), loads;
	for (uint32_t k = 0; k < n->nin; k++) {
		const Type *type = graph_type(g->p.g, n->in[k]);
		int64_t size = type->dim[type->rank - 1].n;
		if (size % g->v || (g->v > 1 && (col.step != 1 || col.align % g->v)))
			row_narrow(g);
		if (k + 1 < n->nin)
			row_line(g, "%sif (%s < %lld) {", k ? "} else " : "", col.text, (long long)(at + size));
		else
			row_line(g, n->nin > 1 ? "} else {" : "{");
		begin_block(g, &loads);
		index_set(&in, last, ix_add(col, -at));
		const char *x = text_of(g, n->in[k], &in);
		row_line(g, "%s%s = %s;", row_each(g), element(g, "t", out), x);
		end_block(g, loads);
		at += size;
	}
	row_line(g, "}");
	text_add(t, "%s", element(g, "t", out));
}

/* ---- sums over a dimension that is not the last ---- */

static void eval_sum_middle(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	int64_t d[MAX_RANK];
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	uint32_t out = temp(g, true), k = g->temps++, loads;
	bool rounds = graph_type(g->p.g, n->out[0])->dtype == DT_bf16;
	Index in = {.n = nd};
	for (int i = 0; i < nd - 2; i++)
		in.at[i] = ix->at[i];
	in.at[nd - 2] = ix_make(arena_printf(g->p.a, "k%u", k), 0, 1);
	in.at[nd - 1] = bind(g, ix->at[ix->n - 1]);
	row_line(g, "for (int k%u = 0; k%u < %lld; k%u++) {", k, k, (long long)d[nd - 2], k);
	begin_block(g, &loads);
	const char *x = text_of(g, n->in[0], &in);
	row_line(g, "%s%s += %s;", row_each(g), element(g, "t", out), x);
	end_block(g, loads);
	row_line(g, "}");
	text_add(t, rounds ? "rounded(%s)" : "%s", element(g, "t", out));
}

/* ---- gather and scatter ---- */

static void eval_gather(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	if (g->v > 1)
		row_narrow(g);
	uint32_t id = g->temps++;
	const char *x = text_of(g, n->in[1], ix);
	row_line(g, "const int k%u = %s;", id, x);
	Index in = {.n = 1, .at = {ix_make(arena_printf(g->p.a, "(k%u < 0 ? 0 : k%u)", id, id), 0, 1)}};
	text_add(t, "(k%u < 0 ? 0.0f : ", id);
	row_eval(g, t, n->in[0], &in);
	text_add(t, ")");
}

static void eval_scatter(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	int64_t d[MAX_RANK];
	row_dims(graph_type(g->p.g, n->in[1]), d);
	Ix col = bind(g, ix->at[0]);
	if (g->v > 1 && col.step != 1)
		row_narrow(g);
	uint32_t out = temp(g, true), k = g->temps++, loads;
	Index in = {.n = 1, .at = {ix_make(arena_printf(g->p.a, "k%u", k), 0, 1)}};
	row_line(g, "for (int k%u = 0; k%u < %lld; k%u++) {", k, k, (long long)d[0], k);
	begin_block(g, &loads);
	const char *id = text_of(g, n->in[1], &in), *x = text_of(g, n->in[0], &in);
	row_line(g, "%sif (%s == %s%s)", row_each(g), id, col.text, g->v > 1 ? " + e" : "");
	row_line(g, "\t%s = %s;", element(g, "t", out), x);
	end_block(g, loads);
	row_line(g, "}");
	text_add(t, "%s", element(g, "t", out));
}

/* ---- rotary embedding: model_math.md 3 and 9 ---- */

typedef struct Rope {
	const Node *n;
	Index in;                /* of the operand; the last component changes */
	int64_t half;
	int table;               /* argument */
	bool adjoint;
} Rope;

static const char *rope_read(RowGen *g, Rope *r, Ix last)
{
	index_set(&r->in, r->in.n - 1, last);
	return text_of(g, r->n->in[0], &r->in);
}

/* Cosines and sines of `count` pairs from pair `first` on: w[2e], w[2e + 1]. */
static uint32_t rope_table(RowGen *g, const Rope *r, const char *first, int count)
{
	uint32_t w = g->temps++;
	row_line(g, "float w%u[%d];", w, 2 * count);
	row_line(g, "load_row(w%u, a%d + 2 * (%s));", w, r->table, first);
	return w;
}

/* Pairs in, halves out: element c of the result is of pair c % half. */
static void rope_pairs_in(RowGen *g, Rope *r, Ix c, uint32_t out)
{
	uint32_t p = g->temps++, h = g->temps++;
	row_line(g, "const int h%u = %s >= %lld, j%u = %s - h%u * %lld;", h, c.text, (long long)r->half, h, c.text, h,
	         (long long)r->half);
	row_line(g, "float p%u[%d];", p, 2 * g->v);
	for (int part = 0; part < 2; part++) {
		Ix at = ix_make(arena_printf(g->p.a, "2 * j%u%s", h, part ? arena_printf(g->p.a, " + %d", g->v) : ""),
		                g->v > 1, g->v);
		const char *x = rope_read(g, r, at);
		row_line(g, "%sp%u[%d%s] = %s;", row_each(g), p, part * g->v, g->v > 1 ? " + e" : "", x);
	}
	uint32_t w = rope_table(g, r, arena_printf(g->p.a, "j%u", h), g->v);
	const char *e = g->v > 1 ? "2 * e" : "0", *o = g->v > 1 ? "2 * e + 1" : "1";
	row_line(g, "%s%s = h%u ? p%u[%s] * w%u[%s] + p%u[%s] * w%u[%s] : p%u[%s] * w%u[%s] - p%u[%s] * w%u[%s];",
	         row_each(g), element(g, "t", out), h, p, o, w, e, p, e, w, o, p, e, w, e, p, o, w, o);
}

/* Halves in, pairs out: elements 2q and 2q + 1 of the result come from q and q + half. */
static void rope_pairs_out(RowGen *g, Rope *r, Ix c, uint32_t out)
{
	int v = g->v, pairs = v > 1 ? v / 2 : 1;
	uint32_t p = g->temps++;
	const char *q = arena_printf(g->p.a, "q%u", p);
	row_line(g, "const int %s = %s / 2;", q, c.text);
	row_line(g, "float p%u[%d];", p, 2 * pairs);
	g->v = pairs;
	for (int part = 0; part < 2; part++) {
		const char *x = rope_read(g, r, ix_add(ix_make(q, pairs > 1, pairs), part * r->half));
		row_line(g, "%sp%u[%d%s] = %s;", row_each(g), p, part * pairs, pairs > 1 ? " + e" : "", x);
	}
	g->v = v;
	uint32_t w = rope_table(g, r, q, pairs);
	char odd[40], e[40], x[40], y[40];
	snprintf(odd, sizeof odd, "%s", v > 1 ? "e % 2" : arena_printf(g->p.a, "%s %% 2", c.text));
	snprintf(e, sizeof e, "%s", v > 1 ? "e / 2 * 2" : "0");
	snprintf(x, sizeof x, "p%u[%s]", p, v > 1 ? "e / 2" : "0");
	snprintf(y, sizeof y, "p%u[%s%d]", p, v > 1 ? "e / 2 + " : "", pairs);
	row_line(g, "%s%s = %s ? %s * w%u[%s] - %s * w%u[%s + 1] : %s * w%u[%s] + %s * w%u[%s + 1];", row_each(g),
	         element(g, "t", out), odd, y, w, e, x, w, e, x, w, e, y, w, e);
}

/* Halves in and out. */
static void rope_halves(RowGen *g, Rope *r, Ix c, uint32_t out)
{
	uint32_t h = g->temps++;
	const char *j = arena_printf(g->p.a, "j%u", h);
	row_line(g, "const int h%u = %s >= %lld, %s = %s - h%u * %lld;", h, c.text, (long long)r->half, j, c.text, h,
	         (long long)r->half);
	const char *x = rope_read(g, r, ix_make(j, g->v > 1, g->v));
	const char *y = rope_read(g, r, ix_add(ix_make(j, g->v > 1, g->v), r->half));
	uint32_t w = rope_table(g, r, j, g->v);
	const char *e = g->v > 1 ? "2 * e" : "0", *o = g->v > 1 ? "2 * e + 1" : "1";
	char lo = r->adjoint ? '+' : '-', hi = r->adjoint ? '-' : '+';
	row_line(g, "%s%s = h%u ? %s * w%u[%s] %c %s * w%u[%s] : %s * w%u[%s] %c %s * w%u[%s];", row_each(g),
	         element(g, "t", out), h, y, w, e, hi, x, w, o, x, w, e, lo, y, w, o);
}

static void eval_rope(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	const Type *type = graph_type(g->p.g, n->out[0]);
	int64_t d = type->dim[type->rank - 1].n;
	bool paired = n->i[0] != 0, adjoint = n->i[1] != 0;
	Rope r = {.n = n, .in = *ix, .half = d / 2, .adjoint = adjoint,
	          .table = row_plan_rope(&g->p, n->f[0], d)};
	Ix c = bind(g, ix->at[ix->n - 1]);
	if (g->v > 1 && (c.step != 1 || c.align % g->v || (!(paired && adjoint) && r.half % g->v)))
		row_narrow(g);
	uint32_t out = temp(g, false);
	row_line(g, "{");
	uint32_t loads;
	begin_block(g, &loads);
	(paired ? adjoint ? rope_pairs_out : rope_pairs_in : rope_halves)(g, &r, c, out);
	end_block(g, loads);
	row_line(g, "}");
	text_add(t, type->dtype == DT_bf16 ? "rounded(%s)" : "%s", element(g, "t", out));
}

/* ---- any value ---- */

void row_eval_def(RowGen *g, Text *t, const Node *n, const Index *ix)
{
	switch (n->op) {
	case OP_broadcast: eval_broadcast(g, t, n, ix); break;
	case OP_slice: eval_slice(g, t, n, ix); break;
	case OP_concat: eval_concat(g, t, n, ix); break;
	case OP_rope: eval_rope(g, t, n, ix); break;
	case OP_gather: eval_gather(g, t, n, ix); break;
	case OP_scatter: eval_scatter(g, t, n, ix); break;
	case OP_sum_slots:
	case OP_sum_heads: eval_sum_middle(g, t, n, ix); break;
	default: eval_map(g, t, n, ix);
	}
}

void row_eval(RowGen *g, Text *t, Val v, const Index *ix)
{
	const Graph *gr = g->p.g;
	Val root = value_root(gr, v);
	const Node *n = graph_def(gr, root);
	uint32_t node = (uint32_t)(n - gr->nodes.v);
	if (n->op == OP_const) {
		eval_const(t, n, graph_type(gr, root)->dtype);
		return;
	}
	int64_t dv[MAX_RANK], dr[MAX_RANK];
	int nv = row_dims(graph_type(gr, v), dv), nr = row_dims(graph_type(gr, root), dr);
	bool leaf = !is_floating(g->p.cs, node) && (!g->p.inside[node] || g->p.stored[root.i - 1]);
	if (leaf) {
		eval_leaf(g, t, root, index_flat(ix, dv));
		return;
	}
	Index at = row_same_dims(dv, nv, dr, nr) ? *ix : index_split(index_flat(ix, dv), dr, nr, g->v);
	row_eval_def(g, t, n, &at);
}
