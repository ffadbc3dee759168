/* test_fusion.c - fusion is real: bounds on the kernels of every layer class of glm5.glm, on the bytes of
 * every fused group, and on those of a whole class beside one kernel per operator; and elementwise
 * operators that are added to a model add no kernel.
 */
#include <string.h>

#include "classes.h"
#include "compiler/base/file.h"
#include "compiler/pass/addend.h"
#include "compiler/pass/carry.h"
#include "compiler/pass/cluster.h"
#include "compiler/pass/fn.h"
#include "compiler/pass/simplify.h"
#include "compiler/pass/split.h"

typedef struct Built {
	const Model *m;
	KernelSet kernels;
	Fn **f, **b;             /* per class */
} Built;

typedef struct Count {
	int generated, templates;        /* launches */
} Count;

/* ---- from model to launches, as the driver does it ---- */

static void simplify_classes(Arena *a, Model *m, int64_t seq)
{
	for (uint32_t i = 0; i < m->nclasses; i++)
		m->classes[i].fwd = simplify_graph(a, m->classes[i].fwd, seq);
}

static Built build(Arena *a, Model *m, int64_t seq)
{
	Built out = {.m = m, .kernels = {.arena = a, .index = map_new(a)}};
	const FnOptions o = {.ep = 1, .seq_max = seq};
	const Diag *d = diag_new(a);
	simplify_classes(a, m, seq);
	if (carry_settle(a, m))
		simplify_classes(a, m, seq);
	out.f = ARENA_ARRAY(a, Fn *, m->nclasses);
	out.b = ARENA_ARRAY(a, Fn *, m->nclasses);
	for (uint32_t i = 0; i < m->nclasses; i++) {
		const LayerClass *c = &m->classes[i];
		bool is_exit = m->instances[m->ninstances - 1].cls == i;
		Joint j = autodiff(a, c->fwd, c->weights, c->nweights);
		j = take_addends(a, &j);
		Split s = split_recompute(a, &j, is_exit ? SPLIT_EXIT : SPLIT_NORMAL);
		out.f[i] = fn_build(a, &out.kernels, d, simplify_graph(a, s.f, 0), c->weights, c->nweights, &o);
		out.b[i] = fn_build(a, &out.kernels, d, simplify_graph(a, s.b, 0), c->weights, c->nweights, &o);
	}
	return out;
}

static bool is_generated(const Built *x, const Step *s)
{
	return s->kind == STEP_LAUNCH && strcmp(x->kernels.kernels.v[s->kernel].template_, "generated") == 0;
}

static Count count(const Built *x, const Fn *fn)
{
	Count n = {0};
	for (uint32_t i = 0; i < fn->steps.n; i++) {
		bool generated = is_generated(x, &fn->steps.v[i]);
		n.generated += generated;
		n.templates += fn->steps.v[i].kind == STEP_LAUNCH && !generated;
	}
	return n;
}

/* ---- kernels of a class ---- */

typedef struct Bound {
	const char *cls;
	Count f, b;
} Bound;

/* Rows of more tokens than index_topk: with the indexer. */
static const Bound long_rows[] = {
	{"entry", {0, 1}, {0, 1}}, {"layer.0", {10, 13}, {9, 17}}, {"layer.1", {14, 18}, {14, 27}},
	{"exit", {0, 0}, {2, 1}},
};

/* Rows of at most index_topk tokens: without it. */
static const Bound short_rows[] = {
	{"entry", {0, 1}, {0, 1}}, {"layer.0", {7, 9}, {9, 17}}, {"layer.1", {11, 14}, {14, 27}},
	{"exit", {0, 0}, {2, 1}},
};

static void check_count(const char *name, const char *which, Count got, Count most)
{
	printf("%-8s %s %2d generated of %2d, %2d templates of %2d\n", name, which, got.generated, most.generated,
	       got.templates, most.templates);
	CHECK(got.generated <= most.generated, "%s.%s has %d generated kernels", name, which, got.generated);
	CHECK(got.templates <= most.templates, "%s.%s has %d templates", name, which, got.templates);
}

static void check_bounds(const Built *x, const Bound *bounds, uint32_t n)
{
	CHECK(x->m->nclasses == n, "%u classes", x->m->nclasses);
	for (uint32_t i = 0; i < n && i < x->m->nclasses; i++) {
		CHECK(strcmp(x->m->classes[i].name, bounds[i].cls) == 0, "class %u is %s", i, x->m->classes[i].name);
		check_count(bounds[i].cls, "F", count(x, x->f[i]), bounds[i].f);
		check_count(bounds[i].cls, "B", count(x, x->b[i]), bounds[i].b);
	}
}

/* ---- bytes ---- */

static int64_t row_bytes(const Graph *g, Val v)
{
	const Type *t = graph_type(g, v);
	return type_has_rows(t) ? type_row(t) * (int64_t)dtype_size(t->dtype) : 0;
}

/* Bytes a row of what the launch gets: every argument is read or written once. */
static int64_t moved(const Fn *fn, const Step *s)
{
	int64_t bytes = 0;
	for (uint32_t k = 0; k < s->narg; k++) {
		const FnBuf *f = &fn->bufs.v[s->arg[k]];
		for (uint32_t j = 0; j < k; j++)
			CHECK(s->arg[j] != s->arg[k], "%s passes a buffer twice", fn->name);
		if (f->rows != ROWS_NONE && !f->blocks_of)
			bytes += f->row_bytes;
	}
	return bytes;
}

typedef struct Group {
	const Clusters *cs;
	const Cluster *cl;
	bool *seen;              /* per value: counted */
	int64_t bytes;
} Group;

static bool is_inside(const Group *q, uint32_t node)
{
	for (uint32_t i = 0; i < q->cl->n; i++)
		if (q->cl->nodes[i] == node)
			return true;
	return false;
}

/* An operand: values from outside, seen through views that cost nothing. */
static void add_operand(Group *q, Val v)
{
	const Graph *g = q->cs->g;
	v = value_root(g, v);
	uint32_t node = g->vals.v[v.i - 1].node;
	if (is_floating(q->cs, node)) {
		add_operand(q, g->nodes.v[node].in[0]);
	} else if (!is_inside(q, node) && !q->seen[v.i - 1]) {
		q->seen[v.i - 1] = true;
		q->bytes += row_bytes(g, v);
	}
}

/* Does a node outside read `v`, which the group makes, through views or not? */
static bool read_outside(const Group *q, Val v)
{
	const Graph *g = q->cs->g;
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (value_root(g, g->outputs.v[i].val).i == v.i)
			return true;
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (is_inside(q, i))
			continue;
		for (uint32_t k = 0; k < n->nin; k++) {
			if (value_root(g, n->in[k]).i != v.i)
				continue;
			bool renames = value_root(g, n->out[0]).i == v.i;
			if (!renames && (!is_floating(q->cs, i) || read_outside(q, n->out[0])))
				return true;
		}
	}
	return false;
}

/* Bytes a row of the distinct values that enter and leave a group. */
static int64_t needed(Arena *a, const Clusters *cs, const Cluster *cl)
{
	Group q = {.cs = cs, .cl = cl, .seen = ARENA_ARRAY(a, bool, cs->g->vals.n + 1)};
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *n = &cs->g->nodes.v[cl->nodes[i]];
		for (uint32_t k = 0; k < n->nin; k++)
			add_operand(&q, n->in[k]);
		if (read_outside(&q, n->out[0]))
			q.bytes += row_bytes(cs->g, n->out[0]);
	}
	return q.bytes;
}

/* Bytes a row when every operator is a kernel of its own. */
static int64_t unfused(const Clusters *cs, const Cluster *cl)
{
	int64_t bytes = 0;
	for (uint32_t i = 0; i < cl->n; i++) {
		const Node *n = &cs->g->nodes.v[cl->nodes[i]];
		for (uint32_t k = 0; k < n->nin; k++)
			bytes += row_bytes(cs->g, n->in[k]);
		bytes += row_bytes(cs->g, n->out[0]);
	}
	return bytes;
}

typedef struct Traffic {
	int64_t fused, unfused;
	uint32_t step;           /* next launch to look at */
} Traffic;

static void check_group(Arena *a, const Built *x, const Fn *fn, const Clusters *cs, const Cluster *cl, Traffic *t)
{
	while (t->step < fn->steps.n && !is_generated(x, &fn->steps.v[t->step]))
		t->step++;
	CHECK(t->step < fn->steps.n, "%s has fewer launches than groups", fn->name);
	if (t->step == fn->steps.n)
		return;
	const Step *s = &fn->steps.v[t->step++];
	int64_t got = moved(fn, s), most = needed(a, cs, cl);
	CHECK(got <= most, "%s, %s moves %lld bytes a row, its operands and results have %lld", fn->name,
	      x->kernels.kernels.v[s->kernel].name, (long long)got, (long long)most);
	t->fused += got;
	t->unfused += unfused(cs, cl);
}

/* The clusters of ROWS kind in the order of their launches. */
static void check_bytes(Arena *a, const Built *x, const Fn *fn, double most)
{
	Clusters cs = cluster_nodes(a, fn->graph, false);
	Traffic t = {0};
	for (uint32_t i = 0; i < cs.n; i++) {
		const Cluster *cl = &cs.v[i];
		uint32_t parts = cl->kind == CLUSTER_REGION ? cl->ninner : 1;
		for (uint32_t p = 0; p < parts; p++) {
			const Cluster *leaf = cl->kind == CLUSTER_REGION ? &cl->inner[p] : cl;
			if (leaf->kind == CLUSTER_ROWS)
				check_group(a, x, fn, &cs, leaf, &t);
		}
	}
	if (!t.unfused)
		return;
	double part = (double)t.fused / (double)t.unfused;
	printf("%-10s %7lld bytes a token, %.2f of one kernel per operator\n", fn->name, (long long)t.fused, part);
	CHECK(part <= most, "%s moves %.2f of what single operators move", fn->name, part);
}

static void check_glm5(int64_t seq, const Bound *bounds, uint32_t n)
{
	Arena *a = arena_new();
	Built x = build(a, load_model(a, "models/glm5.glm", seq, NULL, 0), seq);
	check_bounds(&x, bounds, n);
	for (uint32_t i = 0; i < x.m->nclasses; i++) {
		check_bytes(a, &x, x.f[i], 0.55);
		check_bytes(a, &x, x.b[i], 0.42);
	}
	arena_free(a);
}

/* ---- elementwise operators that are added to a model ---- */

static const struct { const char *what, *from, *to; } edits[] = {
	{"a scaled residual", "h = x + a", "h = 0.5 * x + a"},
	{"a gated residual", "h = x + a", "h = x + a * sigmoid(a)"},
	{"a weight on a residual", "h = x + a", "h = x + a * weight \"scale.weight\"[hidden_size]"},
	{"a function behind the norm", "rms_norm(h, weight", "tanh(h) * rms_norm(h, weight"},
	{"a scaled head", "f = rms_norm(x, weight \"model", "f = 2 * rms_norm(x, weight \"model"},
};

static const char *edited(Arena *a, const char *text, const char *from, const char *to)
{
	const char *hit = strstr(text, from);
	CHECK(hit, "the model has no `%s`", from);
	return hit ? arena_printf(a, "%.*s%s%s", (int)(hit - text), text, to, hit + strlen(from)) : text;
}

static int launches(const Built *x)
{
	int n = 0;
	for (uint32_t i = 0; i < x->m->nclasses; i++) {
		Count f = count(x, x->f[i]), b = count(x, x->b[i]);
		n += f.generated + f.templates + b.generated + b.templates;
	}
	return n;
}

static int launches_of_text(Arena *a, const char *text)
{
	Built x = build(a, load_model_text(a, text, 16), 16);
	return launches(&x);
}

static void check_edits(void)
{
	Arena *a = arena_new();
	size_t n;
	const char *text = file_read(a, GLMC_SOURCE_DIR "/models/glm5_tiny.glm", &n);
	int before = launches_of_text(a, text);
	for (uint32_t i = 0; i < LEN(edits); i++) {
		int after = launches_of_text(a, edited(a, text, edits[i].from, edits[i].to));
		printf("%-28s %d launches, %d before\n", edits[i].what, after, before);
		CHECK(after == before, "%s changes %d launches to %d", edits[i].what, before, after);
	}
	arena_free(a);
}

int main(void)
{
	check_glm5(4096, long_rows, LEN(long_rows));
	check_glm5(2048, short_rows, LEN(short_rows));
	check_edits();
	return failures != 0;
}
