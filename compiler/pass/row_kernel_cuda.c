/* row_kernel_cuda.c - row kernels of the cuda target, see row_kernel.h and row_cuda.h.
 *
 * Three shapes of kernel: independent elements only, cut into chunks of one vector per thread; one row
 * per group of threads, a warp for narrow rows and a block for wide ones; and with sums over rows, a
 * block for ROW_BLOCK_CUDA rows, whose partial sums the kernel of columns.cuh adds in block order. No
 * order of a sum depends on the machine.
 */
#include <stdio.h>
#include <string.h>

#include "row_cuda.h"

enum {
	MAX_LANES = 512,
	WARP_ELEMS = 512,            /* rows up to here belong to a warp */
	WARP_GROUPS = 8,             /* rows at a time of a block then */
	CHUNK_LANES = 256,
	KEPT_REGISTERS = 96,         /* floats of a thread that live from nest to nest */
	SHARED_BYTES = 200 << 10     /* of a block */
};

/* ---- demands ---- */

static void tabs(Text *t, int n)
{
	for (int i = 0; i < n; i++)
		text_put(t, "\t", 1);
}

void row_line(RowGen *g, const char *fmt, ...)
{
	va_list ap;
	tabs(&g->loop, g->depth);
	va_start(ap, fmt);
	text_vadd(&g->loop, fmt, ap);
	va_end(ap);
	text_put(&g->loop, "\n", 1);
}

static Width *find_width(RowGen *g, int64_t size)
{
	for (uint32_t i = 0; i < g->widths.n; i++)
		if (g->widths.v[i].size == size)
			return &g->widths.v[i];
	int64_t n = size < 0 ? -size : size, lanes = size < 0 ? 32 : g->chunks ? 1 : g->lanes;
	int v = 8;
	while (v > 1 && (n % v || n / v < lanes / 2))
		v /= 2;
	vec_push(g->p.a, &g->widths, ((Width){size, v}));
	return &vec_last(&g->widths);
}

int row_width(RowGen *g, int64_t size)
{
	return find_width(g, size)->v;
}

void row_narrow(RowGen *g)
{
	Width *w = find_width(g, g->size);
	if (g->nest_v == 1)
		ice("a row kernel cannot read single elements");
	if (w->v > g->nest_v / 2)
		w->v = g->nest_v / 2;
	g->changed = true;
}

int64_t row_steps(const RowGen *g, int64_t size, int v)
{
	int64_t a_step = (int64_t)g->lanes * v;
	return g->chunks ? 1 : (size + a_step - 1) / a_step;
}

void row_need(RowGen *g, uint32_t value, Place p)
{
	if (g->place[value] >= p)
		return;
	g->place[value] = p;
	g->changed = true;
}

/* ---- nests ---- */

static const char *verb_of(const RowGen *g, uint32_t value)
{
	return g->p.accumulate[value] ? "add" : "store";
}

static void add_sums(RowGen *g)
{
	Text list = {0};
	for (uint32_t i = 0; i < g->sums.n; i++)
		text_add(&list, "%sv%u", i ? ", " : "", g->p.id[g->sums.v[i].i - 1]);
	text_add(&g->body, "\t\t{\n\t\t\tfloat s[%u] = {%s};\n\t\t\tgroup_sum<LANES>(s, red);\n", g->sums.n, list.s);
	for (uint32_t i = 0; i < g->sums.n; i++) {
		uint32_t k = g->sums.v[i].i - 1;
		bool rounds = graph_type(g->p.g, g->sums.v[i])->dtype == DT_bf16;
		text_add(&g->body, rounds ? "\t\t\tv%u = rounded(s[%u]);\n" : "\t\t\tv%u = s[%u];\n", g->p.id[k], i);
	}
	text_add(&g->body, "\t\t}\n");
	for (uint32_t i = 0; i < g->sums.n; i++) {
		uint32_t k = g->sums.v[i].i - 1;
		if (g->p.arg[k])
			text_add(&g->body, "\t\tif (lane == 0)\n\t\t\t%s_one(a%d, v%u);\n", verb_of(g, k), g->p.arg[k] - 1,
			         g->p.id[k]);
	}
	g->red = (int)g->sums.n > g->red ? (int)g->sums.n : g->red;
	text_free(&list);
}

/* The head of the loop of a nest; its closing braces. */
static int open_loop(RowGen *g)
{
	int64_t steps = row_steps(g, g->size, g->v);
	bool whole = steps * g->lanes * g->v * (g->chunks ? g->chunks : 1) == g->size;
	if (g->chunks) {
		text_add(&g->body, "\t\t{\n\t\t\tconst int i = (chunk * LANES + lane) * %d;\n", g->v);
	} else if (steps == 1) {
		text_add(&g->body, "\t\t{\n%s\t\t\tconst int i = lane * %d;\n",
		         g->each_unrolled ? "\t\t\tconstexpr int t = 0;\n" : "", g->v);
	} else {
		const char *unroll = g->each_unrolled || steps <= 4 ? "\t\tUNROLL\n" : "";
		text_add(&g->body, "%s\t\tfor (int t = 0; t < %lld; t++) {\n\t\t\tconst int i = (t * LANES + lane) * %d;\n",
		         unroll, (long long)steps, g->v);
	}
	if (!whole)
		text_add(&g->body, "\t\t\tif (i < %lld) {\n", (long long)g->size);
	return whole ? 1 : 2;
}

static void close_nest(RowGen *g)
{
	if (!g->open)
		return;
	int braces = g->size > 1 ? open_loop(g) : 0;
	text_put(&g->body, g->loop.s ? g->loop.s : "", g->loop.n);
	if (braces == 2)
		text_add(&g->body, "\t\t\t}\n");
	if (braces)
		text_add(&g->body, "\t\t}\n");
	if (g->sums.n)
		add_sums(g);
	if (g->wrote_shared)
		text_add(&g->body, "\t\tgroup_sync<LANES>();\n");
	g->loop.n = 0;
	g->loads.n = 0;
	g->sums.n = 0;
	g->open = g->wrote_shared = g->each_unrolled = false;
}

static void open_nest(RowGen *g, int64_t size)
{
	if (g->open && g->size == size)
		return;
	close_nest(g);
	g->open = true;
	g->nest++;
	g->nests += size != 1;
	g->largest = size > g->largest ? size : g->largest;
	g->size = size;
	g->v = g->nest_v = size == 1 ? 1 : row_width(g, size);
	g->depth = size == 1 ? 2 : 3 + (row_steps(g, size, g->v) * g->lanes * g->v * (g->chunks ? g->chunks : 1) != size);
}

/* Evaluates with `eval` in a nest of this size; a nest that holds a value that is needed at another
 * index is closed first. Returns the expression. */
static const char *in_nest(RowGen *g, int64_t size, const Node *n, bool operand)
{
	const Type *type = graph_type(g->p.g, operand ? n->in[0] : n->out[0]);
	int64_t d[MAX_RANK];
	int nd = row_dims(type, d);
	for (int attempt = 0;; attempt++) {
		open_nest(g, size);
		Ix flat = size == 1 ? ix_zero() : ix_make("i", g->v > 1, g->v);
		Index ix = index_split(flat, d, nd, g->v);
		Text t = {0};
		size_t mark = g->loop.n;
		uint32_t loads = g->loads.n;
		g->conflict = false;
		if (operand)
			row_eval(g, &t, n->in[0], &ix);
		else
			row_eval_def(g, &t, n, &ix);
		char *s = arena_strdup(g->p.a, t.s);
		text_free(&t);
		if (!g->conflict)
			return s;
		if (attempt)
			ice("row kernel reads a value before it is whole");
		g->loop.n = mark;
		g->loads.n = loads;
		close_nest(g);
	}
}

/* ---- statements ---- */

/* A shared buffer for value k, once. */
static void declare_shared(RowGen *g, uint32_t k)
{
	const Type *t = graph_type(g->p.g, (Val){k + 1});
	int64_t bytes = type_row(t) * (int64_t)dtype_size(t->dtype);
	const char *c = t->dtype == DT_bf16 ? "bf16" : "float";
	text_add(&g->decl, "\t\t%s *b%u = (%s *)(group_smem + %lld);\n", c, g->p.id[k], c, (long long)g->shared);
	g->shared += (bytes + 15) & ~(int64_t)15;
}

static void declare_kept(RowGen *g, uint32_t k, int64_t steps)
{
	if (g->v > 1)
		text_add(&g->decl, "\t\tfloat v%u[%lld][%d];\n", g->p.id[k], (long long)steps, g->v);
	else
		text_add(&g->decl, "\t\tfloat v%u[%lld];\n", g->p.id[k], (long long)steps);
	g->kept += (int)steps * g->v;
	g->each_unrolled = true;
}

static void store_value(RowGen *g, const char *to, const char *v, const char *verb)
{
	if (g->size == 1)
		row_line(g, "if (lane == 0)");
	row_line(g, "%s%s_%s(%s%s, %s);", g->size == 1 ? "\t" : "", verb, g->v > 1 ? "row" : "one", to,
	         g->size == 1 ? "" : " + i", v);
}

static void store_map(RowGen *g, const Node *n)
{
	uint32_t k = n->out[0].i - 1, id = g->p.id[k];
	int64_t size = type_row(graph_type(g->p.g, n->out[0]));
	const char *x = in_nest(g, size, n, false);
	bool kept = g->place[k] == PLACE_KEPT && size > 1, shared = g->place[k] == PLACE_SHARED && size > 1;
	const char *name = arena_printf(g->p.a, kept ? "v%u[t]" : "v%u", id);
	g->nest_of[k] = g->nest;
	if (kept) {
		declare_kept(g, k, row_steps(g, size, g->v));
		row_line(g, "%sv%u[t]%s = %s;", row_each(g), id, row_elem(g), x);
	} else if (g->v > 1) {
		row_line(g, "float v%u[%d];", id, g->v);
		row_line(g, "EACH(%d) v%u[e] = %s;", g->v, id, x);
	} else {
		row_line(g, "const float v%u = %s;", id, x);
	}
	if (shared) {
		declare_shared(g, k);
		store_value(g, arena_printf(g->p.a, "b%u", id), name, "store");
		g->wrote_shared = true;
	}
	if (g->p.arg[k])
		store_value(g, arena_printf(g->p.a, "a%d", g->p.arg[k] - 1), name, verb_of(g, k));
}

/* Sums of one row each: a warp per segment. */
static void store_segments(RowGen *g, const Node *n, int64_t segments, int64_t size)
{
	uint32_t k = n->out[0].i - 1, id = g->p.id[k], loads = 0;
	int64_t d[MAX_RANK];
	int nd = row_dims(graph_type(g->p.g, n->in[0]), d);
	close_nest(g);
	g->nest++;
	g->nests++;
	g->size = -size;
	g->v = g->nest_v = row_width(g, -size);
	g->depth = 4;
	Index ix = index_split(ix_make("o", 0, 1), d, nd - 1, 1);
	ix.n = nd;
	index_set(&ix, nd - 1, ix_make("j", g->v > 1, g->v));
	text_add(&g->body, "\t\tfor (int o = lane / 32; o < %lld; o += LANES / 32) {\n\t\t\tfloat s = 0;\n"
	         "\t\t\tfor (int j = lane_id() * %d; j < %lld; j += 32 * %d) {\n", (long long)segments, g->v,
	         (long long)size, g->v);
	Text t = {0};
	row_eval(g, &t, n->in[0], &ix);
	row_line(g, "%ss += %s;", row_each(g), t.s);
	text_free(&t);
	text_put(&g->body, g->loop.s, g->loop.n);
	g->loop.n = 0;
	g->loads.n = loads;
	bool rounds = graph_type(g->p.g, n->out[0])->dtype == DT_bf16;
	text_add(&g->body, "\t\t\t}\n\t\t\ts = %s;\n\t\t\tif (lane_id() == 0) {\n",
	         rounds ? "rounded(warp_sum(s))" : "warp_sum(s)");
	if (g->place[k] == PLACE_SHARED) {
		declare_shared(g, k);
		text_add(&g->body, "\t\t\t\tstore_one(b%u + o, s);\n", id);
	}
	if (g->p.arg[k])
		text_add(&g->body, "\t\t\t\t%s_one(a%d + o, s);\n", verb_of(g, k), g->p.arg[k] - 1);
	text_add(&g->body, "\t\t\t}\n\t\t}\n");
	if (g->place[k] == PLACE_SHARED)
		text_add(&g->body, "\t\tgroup_sync<LANES>();\n");
	g->nest_of[k] = g->nest;
}

static void store_sum(RowGen *g, const Node *n)
{
	uint32_t k = n->out[0].i - 1;
	const Type *in = graph_type(g->p.g, n->in[0]);
	int64_t segments = type_row(graph_type(g->p.g, n->out[0])), size = in->dim[in->rank - 1].n;
	if (segments > 1) {
		row_need(g, k, PLACE_SHARED);
		store_segments(g, n, segments, size);
		return;
	}
	const char *x = in_nest(g, size, n, true);
	g->nest_of[k] = g->nest;
	if (size == 1) {
		row_line(g, "const float v%u = %s;", g->p.id[k], x);
		if (g->p.arg[k])
			store_value(g, arena_printf(g->p.a, "a%d", g->p.arg[k] - 1), arena_printf(g->p.a, "v%u", g->p.id[k]),
			            verb_of(g, k));
		return;
	}
	text_add(&g->decl, "\t\tfloat v%u = 0;\n", g->p.id[k]);
	row_line(g, "%sv%u += %s;", row_each(g), g->p.id[k], x);
	vec_push(g->p.a, &g->sums, n->out[0]);
}

/* Partial sums over the rows of this block: in registers, or where they go when there are many. */
static void store_column(RowGen *g, const Node *n)
{
	uint32_t k = n->out[0].i - 1, id = g->p.id[k];
	int64_t size = type_row(graph_type(g->p.g, n->out[0]));
	const char *x = in_nest(g, size, n, true);
	int64_t steps = row_steps(g, size, g->v);
	g->each_unrolled = true;
	g->kept += (int)steps * g->v;
	text_add(&g->before, "\tfloat acc%u[%lld][%d] = {};\n", id, (long long)steps, g->v);
	row_line(g, "%sacc%u[%s][%s] += %s;", row_each(g), id, size == 1 ? "0" : "t", g->v > 1 ? "e" : "0", x);
	text_add(&g->after, "\tstore_columns<LANES, GROUPS, %lld>((float *)c.arg[%d] + (i64)block_id() * %lld, acc%u, smem);\n",
	         (long long)size, g->p.partial[k] - 1, (long long)size, id);
	if (g->groups > 1 && g->groups * size * 4 > g->columns)
		g->columns = g->groups * size * 4;
}

static void statement(RowGen *g, const Node *n)
{
	if (n->op == OP_sum_rows)
		store_column(g, n);
	else if (n->op == OP_sum)
		store_sum(g, n);
	else if (g->p.stored[n->out[0].i - 1])
		store_map(g, n);
}

static void generate(RowGen *g)
{
	g->decl.n = g->body.n = g->loop.n = g->before.n = g->after.n = 0;
	g->shared = g->columns = g->largest = 0;
	g->nest = g->nests = g->red = g->kept = 0;
	g->open = g->wrote_shared = g->each_unrolled = g->changed = false;
	g->sums.n = g->loads.n = g->temps = 0;
	memset(g->nest_of, 0, g->p.g->vals.n * sizeof *g->nest_of);
	for (uint32_t i = 0; i < g->p.cl->n; i++)
		statement(g, &g->p.g->nodes.v[g->p.cl->nodes[i]]);
	close_nest(g);
}

/* ---- the fixed point ---- */

/* Moves the largest value that is kept in registers to shared memory. */
static bool demote(RowGen *g)
{
	int64_t most = 0;
	uint32_t pick = 0;
	for (uint32_t i = 0; i < g->p.cl->n; i++) {
		uint32_t k = g->p.g->nodes.v[g->p.cl->nodes[i]].out[0].i - 1;
		int64_t size = type_row(graph_type(g->p.g, (Val){k + 1}));
		if (g->place[k] != PLACE_KEPT || size <= most)
			continue;
		most = size;
		pick = k;
	}
	if (most)
		row_need(g, pick, PLACE_SHARED);
	return most > 0;
}

static void settle(RowGen *g)
{
	do
		do
			generate(g);
		while (g->changed);
	while (g->kept > KEPT_REGISTERS && demote(g));
}

/* Elements of the largest value that a statement works on. */
static int64_t row_elems(const RowPlan *p)
{
	int64_t most = 1;
	for (uint32_t i = 0; i < p->cl->n; i++) {
		const Node *n = &p->g->nodes.v[p->cl->nodes[i]];
		bool sum = n->op == OP_sum || n->op == OP_sum_rows;
		int64_t size = type_row(graph_type(p->g, sum ? n->in[0] : n->out[0]));
		if ((sum || p->stored[n->out[0].i - 1]) && size > most)
			most = size;
	}
	return most;
}

/* Threads for `vectors` vectors of a row: those that leave the fewest idle in the last step. */
static int pick_lanes(int64_t vectors)
{
	int best = MAX_LANES;
	int64_t least = INT64_MAX;
	for (int lanes = MAX_LANES; lanes >= 128; lanes -= 32) {
		int64_t idle = (vectors + lanes - 1) / lanes * lanes - vectors;
		if (idle < least) {
			least = idle;
			best = lanes;
		}
	}
	return best;
}

static void pick_groups(RowGen *g)
{
	int64_t elems = row_elems(&g->p);
	bool narrow = elems <= WARP_ELEMS;
	g->lanes = narrow ? 32 : pick_lanes((elems + 7) / 8);
	g->groups = narrow ? WARP_GROUPS : 1;
	settle(g);
	while (g->groups > 1 && g->shared * g->groups > SHARED_BYTES)
		g->groups /= 2;
}

/* Independent elements and nothing else: cut them into one vector per thread. */
static void cut_chunks(RowGen *g)
{
	bool plain = g->nest == 1 && g->nests == 1 && !g->red && !g->shared && !g->before.n && g->largest > 1;
	if (!plain || (row_plan_domain(&g->p) != DIM_CONST && g->largest <= CHUNK_LANES * 8))
		return;
	g->chunks = 1;
	g->lanes = CHUNK_LANES;
	g->groups = 1;
	g->widths.n = 0;
	settle(g);
	int64_t a_block = (int64_t)CHUNK_LANES * row_width(g, g->largest);
	g->chunks = (g->largest + a_block - 1) / a_block;
	settle(g);
}

/* ---- the kernel ---- */

const char *row_c_type(DType t)
{
	switch (t) {
	case DT_bf16: return "bf16";
	case DT_f32: return "float";
	case DT_i32:
	case DT_u32: return "int";
	default: return "double";
	}
}

static void declare_args(const RowGen *g, Text *t)
{
	for (uint32_t i = 0; i < g->p.args.n; i++) {
		const RowArg *a = &g->p.args.v[i];
		if (a->kind == ROW_ROPE)
			text_add(t, "\t\tconst float *a%u = (const float *)c.arg[%u] + (i64)c.env.pos[r] * %lld;\n", i, i,
			         (long long)a->d);
		bool column = a->kind == ROW_OUT && graph_def(g->p.g, a->val)->op == OP_sum_rows;
		if (a->kind == ROW_ROPE || a->kind == ROW_PARTIAL || column)
			continue;
		const Type *ty = graph_type(g->p.g, a->val);
		const char *is_const = a->kind == ROW_IN ? "const " : "", *c = row_c_type(ty->dtype);
		text_add(t, "\t\t%s%s *a%u = (%s%s *)c.arg[%u]", is_const, c, i, is_const, c, i);
		if (type_has_rows(ty))
			text_add(t, " + r * %lld", (long long)type_row(ty));
		text_add(t, ";\n");
	}
}

static const char *rows_expr(const RowGen *g)
{
	DimKind k = row_plan_domain(&g->p);
	return k == DIM_R ? "c.env.R" : k == DIM_T ? "c.env.T" : "1";
}

/* What gives a thread its row: r, lane, and chunk. */
static void open_rows(const RowGen *g, int per, Text *t)
{
	if (g->chunks) {
		text_add(t, "\tconst int lane = thread_id();\n");
		if (row_plan_domain(&g->p) == DIM_CONST)
			text_add(t, "\tconst int chunk = block_id();\n\t{\n");
		else
			text_add(t, "\tconst i64 r = block_id() / %lld;\n\tconst int chunk = block_id() %% %lld;\n\t{\n",
			         (long long)g->chunks, (long long)g->chunks);
		return;
	}
	text_add(t, g->groups > 1 ? "\tconst int lane = lane_id(), group = thread_id() / LANES;\n"
	                          : "\tconst int lane = thread_id();\n");
	const char *first = g->groups > 1 ? arena_printf(g->p.a, "(i64)block_id() * %d + group", per)
	                    : per > 1     ? arena_printf(g->p.a, "(i64)block_id() * %d", per)
	                                  : "block_id()";
	if (!g->before.n)
		text_add(t, "\tconst i64 r = %s;\n\tif (r < %s) {\n", first, rows_expr(g));
	else
		text_add(t, "\tconst i64 end = block_id() + 1LL < (%s + %d - 1) / %d ? (block_id() + 1LL) * %d : %s;\n"
		         "\tNO_UNROLL\n\tfor (i64 r = %s; r < end; r += GROUPS) {\n", rows_expr(g), per, per, per, rows_expr(g),
		         first);
}

static int64_t red_bytes(const RowGen *g)
{
	return g->lanes > 32 ? ((int64_t)g->red * (g->lanes / 32) * 4 + 15) & ~(int64_t)15 : 0;
}

static void declare_smem(const RowGen *g, Text *t)
{
	if (g->red && g->lanes <= 32)
		text_add(t, "\tfloat *red = nullptr;\n");
	if (!g->shared && !red_bytes(g) && !g->after.n)
		return;
	text_add(t, "\tDYN_SMEM(smem);\n");
	if (red_bytes(g))
		text_add(t, "\tfloat *red = (float *)smem;\n");
	if (g->shared && g->groups > 1)
		text_add(t, "\tunsigned char *group_smem = smem + thread_id() / LANES * %lld;\n", (long long)g->shared);
	else if (g->shared)
		text_add(t, "\tunsigned char *group_smem = smem + %lld;\n", (long long)red_bytes(g));
}

static void put(Text *t, const Text *from)
{
	if (from->n)
		text_put(t, from->s, from->n);
}

static const char *assemble(RowGen *g, int per)
{
	Text t = {0};
	int threads = g->lanes * g->groups;
	row_plan_title(&g->p, &t);
	text_add(&t, "#include \"row.cuh\"\n\nenum { LANES = %d, GROUPS = %d };\n\n"
	         "KERNEL void LAUNCH_BOUNDS(%d, 1) $NAME(const GRID_CONSTANT GlmcCall c)\n{\n", g->lanes, g->groups, threads);
	declare_smem(g, &t);
	put(&t, &g->before);
	open_rows(g, per, &t);
	declare_args(g, &t);
	put(&t, &g->decl);
	put(&t, &g->body);
	if (g->before.n && g->shared)
		text_add(&t, "\t\tgroup_sync<LANES>();\n");
	text_add(&t, "\t}\n");
	put(&t, &g->after);
	text_add(&t, "}\n");
	const char *source = arena_strdup(g->p.a, t.s);
	text_free(&t);
	return source;
}

static RtKernelInfo launch_info(const RowGen *g, int per)
{
	DimKind k = row_plan_domain(&g->p);
	int64_t shared = red_bytes(g) + g->shared * g->groups;
	RtKernelInfo info = {.threads = g->lanes * g->groups, .per = per,
	                     .times = g->chunks ? (int)g->chunks : 1};
	info.grid = k == DIM_T ? RT_GRID_T : k == DIM_R ? RT_GRID_R : RT_GRID_FIXED;
	info.shared = (int)(shared > g->columns ? shared : g->columns);
	return info;
}

RowKernel row_kernel_cuda(Arena *a, const Clusters *cs, const Cluster *cl, const bool *accumulate)
{
	uint32_t nv = cs->g->vals.n;
	RowGen g = {.p = row_plan_make(a, cs, cl, accumulate, row_inlines)};
	g.place = ARENA_ARRAY(a, Place, nv);
	g.nest_of = ARENA_ARRAY(a, int, nv);
	pick_groups(&g);
	cut_chunks(&g);
	int per = g.before.n ? ROW_BLOCK_CUDA : g.chunks ? 1 : g.groups;
	settle(&g);
	RowKernel k = {.source = assemble(&g, per), .args = g.p.args.v, .nargs = g.p.args.n,
	               .bytes_row = row_plan_bytes(&g.p), .launch = launch_info(&g, per)};
	for (uint32_t i = 0; i < k.nargs; i++)
		if (k.args[i].val.i && graph_type(cs->g, k.args[i].val)->dtype == DT_f64)
			k.error = "the cuda target has no row kernels over float64";
	if (k.launch.shared > SHARED_BYTES)
		k.error = arena_printf(a, "a row needs %d bytes of shared memory, a block has %d", k.launch.shared,
		                       SHARED_BYTES);
	Text *texts[] = {&g.decl, &g.body, &g.loop, &g.before, &g.after};
	for (uint32_t i = 0; i < LEN(texts); i++)
		text_free(texts[i]);
	return k;
}
