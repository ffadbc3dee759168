/* row_kernel_host.c - row kernels of the host target, see row_kernel.h.
 *
 * A value is a leaf (an argument, a constant, or stored in a row buffer) or is written into the
 * expression of its reader. Stored values are computed in loop nests over their dimensions;
 * neighbouring nests of equal shape are one loop as long as each reads the others' values at its
 * own index. The text is generated twice: the first run finds which values are read from outside
 * their nest and so need a buffer at all.
 *
 * All is computed in float; a value of type bf16 is rounded when it is made, also when it is not stored
 * (templates/host/elem.h).
 *
 * Sums over rows go to one partial sum per block of ROW_BLOCK rows and are added in block order
 * afterwards, so the result does not depend on the number of threads.
 */
#include "row_plan.h"

#include <stdio.h>
#include <string.h>

enum { MAX_NEST = MAX_RANK, INDEX_TEXT = 200 };

typedef struct Index {
	int n;
	char at[MAX_NEST][INDEX_TEXT];
} Index;

typedef struct Gen {
	RowPlan p;
	bool *read_buf;          /* per value: read from outside its nest */
	int *nest_of;            /* per value: nest that computes it, 0 not yet */
	Text decl, body, loop;   /* declarations of buffers; finished nests; the open nest */
	int nest;                /* number of the open nest */
	bool open;
	int64_t dims[MAX_NEST];  /* sizes of the open nest */
	int ndims;
	bool conflict;           /* eval read a value of the open nest at another index */
	int64_t scratch;         /* floats of thread scratch used */
} Gen;

static Index identity(int n)
{
	Index ix = {.n = n};
	for (int i = 0; i < n; i++)
		snprintf(ix.at[i], INDEX_TEXT, "i%d", i);
	return ix;
}

static bool is_identity(const Index *ix)
{
	for (int i = 0; i < ix->n; i++) {
		char want[16];
		snprintf(want, sizeof want, "i%d", i);
		if (strcmp(ix->at[i], want) != 0)
			return false;
	}
	return true;
}

/* Row-major offset of an index in a shape. */
static void flat_index(const Index *ix, const int64_t *d, char out[INDEX_TEXT])
{
	if (ix->n == 0) {
		snprintf(out, INDEX_TEXT, "0");
		return;
	}
	char text[INDEX_TEXT];
	snprintf(text, sizeof text, "%s", ix->at[0]);
	for (int i = 1; i < ix->n; i++) {
		char next[INDEX_TEXT];
		bool zero = strcmp(text, "0") == 0;
		int n = zero ? snprintf(next, sizeof next, "%s", ix->at[i])
		             : snprintf(next, sizeof next, "(%s)*%lld+%s", text, (long long)d[i], ix->at[i]);
		if (n >= INDEX_TEXT)
			ice("index expression too long");
		memcpy(text, next, sizeof text);
	}
	memcpy(out, text, sizeof text);
}

/* The index in shape `d` of a row-major offset. */
static Index split_index(const char *flat, const int64_t *d, int n)
{
	Index ix = {.n = n};
	int64_t inner = 1;
	for (int i = n - 1; i >= 0; i--) {
		int w;
		if (n == 1)
			w = snprintf(ix.at[i], INDEX_TEXT, "%s", flat);
		else if (i == 0)
			w = snprintf(ix.at[i], INDEX_TEXT, "(%s)/%lld", flat, (long long)inner);
		else
			w = snprintf(ix.at[i], INDEX_TEXT, "((%s)/%lld)%%%lld", flat, (long long)inner,
			             (long long)d[i]);
		if (w >= INDEX_TEXT)
			ice("index expression too long");
		inner *= d[i];
	}
	return ix;
}

static Index broadcast_index(const Gen *g, const Node *n, const Index *ix)
{
	int64_t d[MAX_NEST];
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	Index out = {.n = nd};
	for (int i = 0; i < nd; i++) {
		int from = ix->n - nd + i;
		snprintf(out.at[i], INDEX_TEXT, "%s", d[i] == 1 ? "0" : ix->at[from]);
	}
	return out;
}

static const char *map_format(Op op)
{
	switch (op) {
	case OP_add: return "(%a + %b)";
	case OP_sub: return "(%a - %b)";
	case OP_mul: return "(%a * %b)";
	case OP_div: return "(%a / %b)";
	case OP_neg: return "(-%a)";
	case OP_exp: return "vm_exp(%a)";
	case OP_sqrt: return "vm_sqrt(%a)";
	case OP_rsqrt: return "vm_rsqrt(%a)";
	case OP_tanh: return "vm_tanh(%a)";
	case OP_erf: return "vm_erf(%a)";
	case OP_sigmoid: return "vm_sigmoid(%a)";
	case OP_silu: return "vm_silu(%a)";
	case OP_relu: return "vm_relu(%a)";
	case OP_step: return "vm_step(%a)";
	case OP_cast: return "(%a)";
	default: ice("operator %s has no elementwise form", op_name(op));
	}
}

static bool is_half(const Gen *g, uint32_t k)
{
	return g->p.g->vals.v[k].type.dtype == DT_bf16;
}

static void eval(Gen *g, Text *t, Val v, const Index *ix);

static void eval_map(Gen *g, Text *t, const Node *n, const Index *ix)
{
	text_add(t, row_plan_rounds(&g->p, n) ? "rounded(" : "");
	for (const char *p = map_format(n->op); *p; p++) {
		if (p[0] == '%' && (p[1] == 'a' || p[1] == 'b')) {
			eval(g, t, n->in[p[1] - 'a'], ix);
			p++;
		} else {
			text_put(t, p, 1);
		}
	}
	text_add(t, row_plan_rounds(&g->p, n) ? ")" : "");
}

/* An operand of one number per row is read once per row, into a variable: loops over it vectorise. */
static bool is_scalar_input(const RowArg *a, const Graph *g)
{
	return a->kind == ROW_IN && type_row(graph_type(g, a->val)) == 1;
}

static void eval_leaf(Gen *g, Text *t, Val root, const char *flat, bool identical)
{
	uint32_t k = root.i - 1;
	if (g->nest_of[k] && g->open && g->nest_of[k] == g->nest) {
		if (!identical)
			g->conflict = true;
		text_add(t, "v%u", g->p.id[k]);
		return;
	}
	if (g->p.stored[k])
		g->read_buf[k] = true;
	if (g->p.arg[k] && is_scalar_input(&g->p.args.v[g->p.arg[k] - 1], g->p.g))
		text_add(t, "s%d", g->p.arg[k] - 1);
	else if (g->p.arg[k])
		text_add(t, is_half(g, k) ? "float_of(a%d[%s])" : "a%d[%s]", g->p.arg[k] - 1, flat);
	else
		text_add(t, "b%u[%s]", g->p.id[k], flat);
}

/* Appends the expression of element `ix` of value v. */
static void eval(Gen *g, Text *t, Val v, const Index *ix)
{
	Val root = value_root(g->p.g, v);
	const Node *n = graph_def(g->p.g, root);
	uint32_t node = (uint32_t)(n - g->p.g->nodes.v);
	if (n->op == OP_const) {
		char number[40];
		bool half = graph_type(g->p.g, root)->dtype == DT_bf16;
		snprintf(number, sizeof number, "%.9g", n->f[0]);
		text_add(t, half ? "rounded(%s%sf)" : "%s%sf", number, strpbrk(number, ".en") ? "" : ".0");
		return;
	}
	int64_t dv[MAX_NEST], dr[MAX_NEST];
	int nv = row_dims(graph_type(g->p.g, v), dv), nr = row_dims(graph_type(g->p.g, root), dr);
	char flat[INDEX_TEXT];
	flat_index(ix, dv, flat);
	bool same = row_same_dims(dv, nv, dr, nr);
	bool leaf = !(g->p.inside[node] && !g->p.stored[root.i - 1]) && !is_floating(g->p.cs, node);
	if (leaf) {
		bool nest_shape = row_same_dims(dr, nr, g->dims, g->ndims);
		eval_leaf(g, t, root, flat, same && nest_shape && is_identity(ix));
		return;
	}
	Index at = same ? *ix : split_index(flat, dr, nr);
	if (n->op == OP_broadcast) {
		Index in = broadcast_index(g, n, &at);
		eval(g, t, n->in[0], &in);
	} else if (n->op == OP_slice) {
		if (n->i[0]) {
			char last[INDEX_TEXT];
			if (snprintf(last, sizeof last, "%s+%lld", at.at[at.n - 1], (long long)n->i[0]) >=
			    INDEX_TEXT)
				ice("index expression too long");
			memcpy(at.at[at.n - 1], last, sizeof last);
		}
		eval(g, t, n->in[0], &at);
	} else {
		eval_map(g, t, n, &at);
	}
}

/* ---- nests ---- */

static void close_nest(Gen *g)
{
	if (!g->open)
		return;
	for (int i = 0; i < g->ndims; i++)
		text_add(&g->body, "%s\t\tfor (int64_t i%d = 0; i%d < %lld; i%d++)%s\n",
		         i + 1 == g->ndims ? "\t\t_Pragma(\"GCC ivdep\")\n" : "", i, i,
		         (long long)g->dims[i], i, i + 1 == g->ndims ? " {" : "");
	if (!g->ndims)
		text_add(&g->body, "\t\t{\n");
	text_put(&g->body, g->loop.s, g->loop.n);
	text_add(&g->body, "\t\t}\n");
	g->loop.n = 0;
	g->open = false;
	g->ndims = -1;
}

static void open_nest(Gen *g, const int64_t *d, int nd)
{
	if (g->open && row_same_dims(g->dims, g->ndims, d, nd))
		return;
	close_nest(g);
	g->open = true;
	g->nest++;
	g->ndims = nd;
	memcpy(g->dims, d, sizeof g->dims);
}

static void declare_buffer(Gen *g, uint32_t k)
{
	int64_t n = type_row(graph_type(g->p.g, (Val){k + 1}));
	if (n <= 512) {
		text_add(&g->decl, "\t\tfloat b%u[%lld];\n", g->p.id[k], (long long)n);
	} else {
		text_add(&g->decl, "\t\tfloat *restrict b%u = scratch + %lld;\n", g->p.id[k],
		         (long long)g->scratch);
		g->scratch += (n + 15) & ~(int64_t)15;
	}
}

/* Where statements with loops of their own write value k: its argument, or its buffer; that of a bf16 value is
 * rounded, and copied to the argument, when it is whole. */
static const char *target(Gen *g, uint32_t k)
{
	return g->p.arg[k] && !is_half(g, k) ? arena_printf(g->p.a, "a%d", g->p.arg[k] - 1) : arena_printf(g->p.a, "b%u", g->p.id[k]);
}

static void store_map(Gen *g, const Node *n, Val v)
{
	uint32_t k = v.i - 1;
	int64_t d[MAX_NEST] = {0};
	int nd = row_dims(graph_type(g->p.g, v), d);
	Index ix = identity(nd);
	Text expr = {0};
	for (int attempt = 0;; attempt++) {
		open_nest(g, d, nd);
		g->conflict = false;
		expr.n = 0;
		if (op_class(n->op) == CL_MAP) {
			eval_map(g, &expr, n, &ix);
		} else { /* a coded view: read it as if it floated */
			bool coded = g->p.cs->coded[n - g->p.g->nodes.v];
			g->p.cs->coded[n - g->p.g->nodes.v] = false;
			bool kept = g->p.stored[k];
			g->p.stored[k] = false;
			eval(g, &expr, v, &ix);
			g->p.stored[k] = kept;
			g->p.cs->coded[n - g->p.g->nodes.v] = coded;
		}
		if (!g->conflict)
			break;
		if (attempt)
			ice("row kernel reads a value before it is whole");
		close_nest(g);
	}
	g->nest_of[k] = g->nest;
	char flat[INDEX_TEXT];
	flat_index(&ix, d, flat);
	text_add(&g->loop, "\t\t\tconst float v%u = %s;\n", g->p.id[k], expr.s);
	if (g->p.arg[k] && is_half(g, k))
		text_add(&g->loop, "\t\t\ta%d[%s] = bf16_of(v%u);\n", g->p.arg[k] - 1, flat, g->p.id[k]);
	else if (g->p.arg[k] || g->read_buf[k])
		text_add(&g->loop, "\t\t\t%s[%s] %s v%u;\n", target(g, k), flat,
		         g->p.accumulate[k] ? "+=" : "=", g->p.id[k]);
	if (!g->p.arg[k] && g->read_buf[k])
		declare_buffer(g, k);
	text_free(&expr);
}

/* sum over rows: into this block's partial sums */
static void store_column(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0};
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	Index ix = identity(nd);
	Text expr = {0};
	for (int attempt = 0; attempt < 2; attempt++) {
		open_nest(g, d, nd);
		g->conflict = false;
		expr.n = 0;
		eval(g, &expr, n->in[0], &ix);
		if (!g->conflict)
			break;
		close_nest(g);
	}
	char flat[INDEX_TEXT];
	flat_index(&ix, d, flat);
	text_add(&g->loop, "\t\t\ta%d[%s] += %s;\n", g->p.partial[v.i - 1] - 1, flat, expr.s);
	text_free(&expr);
}

/* A statement with loops of its own: the operand is read through eval at given indices. */
static const char *read_at(Gen *g, Val v, const Index *ix)
{
	Text t = {0};
	eval(g, &t, v, ix);
	char *s = arena_strdup(g->p.a, t.s);
	text_free(&t);
	return s;
}

static void begin_own(Gen *g, Val v)
{
	close_nest(g);
	uint32_t k = v.i - 1;
	g->nest_of[k] = ++g->nest;
	g->read_buf[k] = true;
	if (!g->p.arg[k] || is_half(g, k))
		declare_buffer(g, k);
}

/* A bf16 value is whole. */
static void end_own(Gen *g, Val v)
{
	uint32_t k = v.i - 1, id = g->p.id[k];
	if (!is_half(g, k))
		return;
	text_add(&g->body, "\t\tfor (int64_t j = 0; j < %lld; j++)\n", (long long)type_row(graph_type(g->p.g, v)));
	if (g->p.arg[k])
		text_add(&g->body, "\t\t\ta%d[j] = bf16_of(rounded(b%u[j]));\n", g->p.arg[k] - 1, id);
	else
		text_add(&g->body, "\t\t\tb%u[j] = rounded(b%u[j]);\n", id, id);
}

static void outer_loops(Gen *g, const int64_t *d, int n)
{
	for (int i = 0; i < n; i++)
		text_add(&g->body, "\t\tfor (int64_t i%d = 0; i%d < %lld; i%d++)\n", i, i, (long long)d[i], i);
}

static void store_sum(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0};
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	begin_own(g, v);
	Index ix = identity(nd), out = ix;
	snprintf(ix.at[nd - 1], INDEX_TEXT, "j");
	snprintf(out.at[nd - 1], INDEX_TEXT, "0");
	int64_t od[MAX_NEST];
	memcpy(od, d, sizeof od);
	od[nd - 1] = 1;
	char flat[INDEX_TEXT];
	flat_index(&out, od, flat);
	const char *x = read_at(g, n->in[0], &ix);
	outer_loops(g, d, nd - 1);
	text_add(&g->body,
	         "\t\t{\n\t\t\tfloat s = 0;\n\t\t\t_Pragma(\"omp simd reduction(+:s)\")\n"
	         "\t\t\tfor (int64_t j = 0; j < %lld; j++)\n\t\t\t\ts += %s;\n\t\t\t%s[%s] = s;\n\t\t}\n",
	         (long long)d[nd - 1], x, target(g, v.i - 1), flat);
}

/* [..,N,H] -> [..,H] or [..,1,H]: terms in ascending order */
static void store_sum_middle(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0}, od[MAX_NEST];
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d), last = nd - 1;
	begin_own(g, v);
	Index ix = identity(nd), out = ix;
	snprintf(ix.at[nd - 2], INDEX_TEXT, "j");
	snprintf(out.at[nd - 2], INDEX_TEXT, "0");
	memcpy(od, d, sizeof od);
	od[nd - 2] = 1;
	char to[INDEX_TEXT];
	flat_index(&out, od, to);
	const char *x = read_at(g, n->in[0], &ix), *array = target(g, v.i - 1);
	outer_loops(g, d, nd - 2);
	text_add(&g->body,
	         "\t\t{\n\t\tfor (int64_t i%d = 0; i%d < %lld; i%d++)\n\t\t\t%s[%s] = 0;\n"
	         "\t\tfor (int64_t j = 0; j < %lld; j++)\n"
	         "\t\t\tfor (int64_t i%d = 0; i%d < %lld; i%d++)\n\t\t\t\t%s[%s] += %s;\n\t\t}\n",
	         last, last, (long long)d[last], last, array, to, (long long)d[nd - 2], last, last,
	         (long long)d[last], last, array, to, x);
}

/* model_math.md 3 and 9: interleaved pairs in, halves out (i0 = 1); halves in and out (i0 = 0) */
static void store_rope(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0};
	int nd = row_dims(graph_type(g->p.g, v), d);
	int64_t half = d[nd - 1] / 2;
	begin_own(g, v);
	bool paired = n->i[0] != 0, adjoint = n->i[1] != 0;
	bool pairs_in = paired && !adjoint, pairs_out = paired && adjoint;
	Index lo = identity(nd), hi = lo, olo = lo, ohi = lo;
	const char *first[2] = {"j", "2*j"};
	snprintf(lo.at[nd - 1], INDEX_TEXT, "%s", first[pairs_in]);
	snprintf(olo.at[nd - 1], INDEX_TEXT, "%s", first[pairs_out]);
	if (pairs_in)
		snprintf(hi.at[nd - 1], INDEX_TEXT, "2*j+1");
	else
		snprintf(hi.at[nd - 1], INDEX_TEXT, "j+%lld", (long long)half);
	if (pairs_out)
		snprintf(ohi.at[nd - 1], INDEX_TEXT, "2*j+1");
	else
		snprintf(ohi.at[nd - 1], INDEX_TEXT, "j+%lld", (long long)half);
	char fl[INDEX_TEXT], fh[INDEX_TEXT];
	flat_index(&olo, d, fl);
	flat_index(&ohi, d, fh);
	const char *a = read_at(g, n->in[0], &lo), *b = read_at(g, n->in[0], &hi);
	const char *to = target(g, v.i - 1);
	outer_loops(g, d, nd - 1);
	text_add(&g->body,
	         "\t\tfor (int64_t j = 0; j < %lld; j++) {\n"
	         "\t\t\tconst float co = a%d[j*2], si = a%d[j*2+1], x = %s, y = %s;\n"
	         "\t\t\t%s[%s] = x * co %c y * si;\n\t\t\t%s[%s] = y * co %c x * si;\n\t\t}\n",
	         (long long)half, row_plan_rope(&g->p, n->f[0], d[nd - 1]), row_plan_rope(&g->p, n->f[0], d[nd - 1]), a, b,
	         to, fl, adjoint ? '+' : '-', to, fh, adjoint ? '-' : '+');
}

static void store_concat(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0}, p[MAX_NEST] = {0}, at = 0;
	int nd = row_dims(graph_type(g->p.g, v), d);
	begin_own(g, v);
	for (uint32_t k = 0; k < n->nin; k++) {
		row_dims(graph_type(g->p.g, n->in[k]), p);
		Index ix = identity(nd), out = ix;
		snprintf(out.at[nd - 1], INDEX_TEXT, "i%d+%lld", nd - 1, (long long)at);
		char flat[INDEX_TEXT];
		flat_index(&out, d, flat);
		const char *x = read_at(g, n->in[k], &ix);
		outer_loops(g, p, nd);
		text_add(&g->body, "\t\t\t%s[%s] = %s;\n", target(g, v.i - 1), flat, x);
		at += p[nd - 1];
	}
}

static void store_gather(Gen *g, const Node *n, Val v)
{
	int64_t d[MAX_NEST] = {0};
	row_dims(graph_type(g->p.g, n->in[1]), d);
	begin_own(g, v);
	Index k = {.n = 1, .at = {"j"}}, id = {.n = 1, .at = {"id"}};
	const char *ids = read_at(g, n->in[1], &k), *to = target(g, v.i - 1);
	if (n->op == OP_gather) {
		text_add(&g->body,
		         "\t\tfor (int64_t j = 0; j < %lld; j++) {\n\t\t\tconst int32_t id = %s;\n"
		         "\t\t\t%s[j] = id < 0 ? 0.0f : %s;\n\t\t}\n",
		         (long long)d[0], ids, to, read_at(g, n->in[0], &id));
		return;
	}
	text_add(&g->body,
	         "\t\tfor (int64_t j = 0; j < %lld; j++)\n\t\t\t%s[j] = 0;\n"
	         "\t\tfor (int64_t j = 0; j < %lld; j++) {\n\t\t\tconst int32_t id = %s;\n"
	         "\t\t\tif (id >= 0)\n\t\t\t\t%s[id] = %s;\n\t\t}\n",
	         (long long)type_row(graph_type(g->p.g, v)), to, (long long)d[0], ids, to,
	         read_at(g, n->in[0], &k));
}

/* Statements with loops of their own; false for other operators. */
static bool own_statement(Gen *g, const Node *n)
{
	Val v = n->out[0];
	switch (n->op) {
	case OP_sum: store_sum(g, n, v); break;
	case OP_sum_slots:
	case OP_sum_heads: store_sum_middle(g, n, v); break;
	case OP_rope: store_rope(g, n, v); break;
	case OP_concat: store_concat(g, n, v); break;
	case OP_gather:
	case OP_scatter: store_gather(g, n, v); break;
	default: return false;
	}
	end_own(g, v);
	return true;
}

static void statement(Gen *g, const Node *n)
{
	if (n->op == OP_sum_rows)
		store_column(g, n, n->out[0]);
	else if (!own_statement(g, n) && g->p.stored[n->out[0].i - 1])
		store_map(g, n, n->out[0]);
}

/* ---- the whole file ---- */

static const char *c_type(DType t)
{
	switch (t) {
	case DT_i32: return "int32_t";
	case DT_u32: return "uint32_t";
	case DT_f64: return "double";
	case DT_bf16: return "bf16";
	default: return "float";
	}
}

static void declare_args(const Gen *g, Text *t)
{
	for (uint32_t i = 0; i < g->p.args.n; i++) {
		const RowArg *a = &g->p.args.v[i];
		if (a->kind == ROW_ROPE) {
			text_add(t, "\t\tconst float *restrict a%u = (const float *)c->arg[%u] + "
			            "(int64_t)c->env->pos[r] * %lld;\n", i, i, (long long)a->d);
			continue;
		}
		const Type *ty = graph_type(g->p.g, a->val);
		bool in = a->kind == ROW_IN, column = graph_def(g->p.g, a->val)->op == OP_sum_rows;
		if (a->kind == ROW_OUT && column)
			continue;
		text_add(t, "\t\t%s%s *restrict a%u = (%s%s *)c->arg[%u]", in ? "const " : "", c_type(ty->dtype),
		         i, in ? "const " : "", c_type(ty->dtype), i);
		if (a->kind == ROW_PARTIAL)
			text_add(t, " + job * %lld", (long long)type_row(ty));
		else if (type_has_rows(ty))
			text_add(t, " + r * %lld", (long long)type_row(ty));
		text_add(t, ";\n");
		if (is_scalar_input(a, g->p.g) && ty->dtype == DT_bf16)
			text_add(t, "\t\tconst float s%u = float_of(a%u[0]);\n", i, i);
		else if (is_scalar_input(a, g->p.g))
			text_add(t, "\t\tconst %s s%u = a%u[0];\n", c_type(ty->dtype), i, i);
	}
}

static const char *rows_expr(const Gen *g)
{
	DimKind k = row_plan_domain(&g->p);
	return k == DIM_R ? "c->env->R" : k == DIM_T ? "c->env->T" : "1";
}

static void emit_columns(const Gen *g, Text *job, Text *launch)
{
	for (uint32_t i = 0; i < g->p.args.n; i++) {
		const RowArg *a = &g->p.args.v[i];
		if (a->kind != ROW_PARTIAL)
			continue;
		int64_t w = type_row(graph_type(g->p.g, a->val));
		int out = g->p.arg[a->val.i - 1] - 1;
		text_add(job,
		         "static void columns%u(void *ctx, int64_t job, int thread)\n{\n"
		         "\tconst RtCall *c = ctx;\n\t(void)thread;\n"
		         "\tconst int64_t blocks = (%s + %d - 1) / %d, j0 = job * 256;\n"
		         "\tconst int64_t j1 = j0 + 256 < %lld ? j0 + 256 : %lld;\n"
		         "\tfloat *restrict out = c->arg[%d];\n\tconst float *restrict part = c->arg[%u];\n",
		         i, rows_expr(g), ROW_BLOCK, ROW_BLOCK, (long long)w, (long long)w, out, i);
		if (!a->accumulate && !g->p.accumulate[a->val.i - 1])
			text_add(job, "\tfor (int64_t j = j0; j < j1; j++)\n\t\tout[j] = 0;\n");
		text_add(job,
		         "\tfor (int64_t b = 0; b < blocks; b++)\n\t\tfor (int64_t j = j0; j < j1; j++)\n"
		         "\t\t\tout[j] += part[b * %lld + j];\n}\n\n", (long long)w);
		text_add(launch, "\trt_parallel(c->pool, %lld, columns%u, (void *)c);\n",
		         (long long)(w + 255) / 256, i);
	}
}

static void emit_zero_partials(const Gen *g, Text *t)
{
	for (uint32_t i = 0; i < g->p.args.n; i++) {
		if (g->p.args.v[i].kind != ROW_PARTIAL)
			continue;
		int64_t w = type_row(graph_type(g->p.g, g->p.args.v[i].val));
		text_add(t, "\tmemset((float *)c->arg[%u] + job * %lld, 0, %lld);\n", i, (long long)w,
		         (long long)w * 4);
	}
}

static const char *assemble(Gen *g)
{
	Text t = {0}, args = {0}, columns = {0}, launch = {0};
	declare_args(g, &args);
	emit_columns(g, &columns, &launch);
	row_plan_title(&g->p, &t);
	text_add(&t, "#include <string.h>\n#include \"elem.h\"\n#include \"vmath.h\"\n#include \"rt_kernel.h\"\n\n"
	            "#define SCRATCH_BYTES %lld\n\n", (long long)g->scratch * 4);
	text_put(&t, columns.s ? columns.s : "", columns.n);
	text_add(&t, "static void rows(void *ctx, int64_t job, int thread)\n{\n\tconst RtCall *c = ctx;\n"
	             "\tconst int64_t n = %s, r0 = job * %d, r1 = r0 + %d < n ? r0 + %d : n;\n",
	         rows_expr(g), ROW_BLOCK, ROW_BLOCK, ROW_BLOCK);
	text_add(&t, g->scratch ? "\tfloat *scratch = rt_scratch(c->pool, thread);\n" : "\t(void)thread;\n");
	emit_zero_partials(g, &t);
	text_add(&t, "\tfor (int64_t r = r0; r < r1; r++) {\n");
	text_put(&t, args.s, args.n);
	if (g->decl.n)
		text_put(&t, g->decl.s, g->decl.n);
	text_put(&t, g->body.s, g->body.n);
	text_add(&t, "\t}\n}\n\nvoid $NAME(const RtCall *c);\n\nvoid $NAME(const RtCall *c)\n{\n"
	             "\trt_parallel(c->pool, (%s + %d - 1) / %d, rows, (void *)c);\n",
	         rows_expr(g), ROW_BLOCK, ROW_BLOCK);
	if (launch.n)
		text_put(&t, launch.s, launch.n);
	text_add(&t, "}\n");
	const char *source = arena_strdup(g->p.a, t.s);
	text_free(&t);
	text_free(&args);
	text_free(&columns);
	text_free(&launch);
	return source;
}

static void generate(Gen *g)
{
	g->decl.n = g->body.n = g->loop.n = 0;
	g->scratch = 0;
	g->nest = 0;
	g->open = false;
	g->ndims = -1;
	memset(g->nest_of, 0, g->p.g->vals.n * sizeof *g->nest_of);
	for (uint32_t i = 0; i < g->p.cl->n; i++)
		statement(g, &g->p.g->nodes.v[g->p.cl->nodes[i]]);
	close_nest(g);
}

static bool inlines(Op op)
{
	(void)op;
	return false;
}

RowKernel row_kernel_host(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate)
{
	uint32_t nv = cs->g->vals.n;
	Gen g = {.p = row_plan_make(a, cs, cl, accumulate, inlines)};
	g.read_buf = ARENA_ARRAY(a, bool, nv);
	g.nest_of = ARENA_ARRAY(a, int, nv);
	generate(&g);            /* finds read_buf */
	generate(&g);
	RowKernel k = {.source = assemble(&g), .args = g.p.args.v, .nargs = g.p.args.n,
	               .bytes_row = row_plan_bytes(&g.p)};
	text_free(&g.decl);
	text_free(&g.body);
	text_free(&g.loop);
	return k;
}
