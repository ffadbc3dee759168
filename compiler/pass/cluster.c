/* cluster.c - greedy fusion over the dependence graph.
 *
 * A node joins the cluster of an operand when both work on the same rows and no other operand
 * depends on that cluster (else the kernel would need its own result). Then neighbouring clusters
 * merge while that makes no cycle, and at last row code that alone reads products of routed rows becomes
 * their epilogue. Invariant: the graph of clusters is acyclic, so a topological order exists; ties go to
 * the smallest node index, which keeps the order of the model.
 */
#include "cluster.h"

#include "epilogue.h"

enum { NONE = -1 };

typedef VEC(uint32_t) NodeList;

typedef struct Fuser {
	Arena *a;
	const Graph *g;
	bool *coded;
	NodeList *deps;          /* per node: coded nodes it reads, through floating ones */
	int *group;              /* per node: current group at this level */
	bool epilogues;
} Fuser;

Val value_root(const Graph *g, Val v)
{
	for (;;) {
		const Node *n = graph_def(g, v);
		bool alias = n->op == OP_reshape || n->op == OP_detach ||
		             (n->op == OP_cast &&
		              graph_type(g, n->in[0])->dtype == graph_type(g, v)->dtype);
		if (!alias)
			return v;
		v = n->in[0];
	}
}

static bool renames(const Graph *g, const Node *n)
{
	return op_class(n->op) == CL_SOURCE || value_root(g, n->out[0]).i != n->out[0].i;
}

bool is_view(const Node *n)
{
	return n->op == OP_slice || n->op == OP_broadcast;
}

bool is_floating(const Clusters *c, uint32_t node)
{
	return is_view(&c->g->nodes.v[node]) && !c->coded[node];
}

DimKind node_domain(const Graph *g, const Node *n, uint32_t *region)
{
	DimKind kind = DIM_CONST;
	for (uint32_t k = 0; k < n->nin + n->nout; k++) {
		Val v = k < n->nin ? n->in[k] : n->out[k - n->nin];
		const Type *t = graph_type(g, v);
		if (t->rank && t->dim[0].kind == DIM_R) {
			*region = t->dim[0].id;
			return DIM_R;
		}
		if (t->rank && t->dim[0].kind == DIM_T)
			kind = DIM_T;
	}
	return kind;
}

static bool generated(const Node *n)
{
	OpClass c = op_class(n->op);
	return c == CL_MAP || c == CL_VIEW || c == CL_ROW || c == CL_COLUMN;
}

static void mark_live(const Graph *g, bool *live)
{
	for (uint32_t i = 0; i < g->outputs.n; i++)
		live[g->vals.v[g->outputs.v[i].val.i - 1].node] = true;
	for (uint32_t i = g->nodes.n; i-- > 0;)
		for (uint32_t k = 0; live[i] && k < g->nodes.v[i].nin; k++)
			live[g->vals.v[g->nodes.v[i].in[k].i - 1].node] = true;
}

/* Marks the nodes that get code: a view only when a template, an exchange or the caller reads it. */
static void mark_coded(Fuser *f)
{
	const Graph *g = f->g;
	bool *live = ARENA_ARRAY(f->a, bool, g->nodes.n);
	mark_live(g, live);
	for (uint32_t i = 0; i < g->nodes.n; i++)
		f->coded[i] = live[i] && !renames(g, &g->nodes.v[i]) && !is_view(&g->nodes.v[i]);
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (!f->coded[i] || generated(n))
			continue;
		for (uint32_t k = 0; k < n->nin; k++) {
			const Node *def = graph_def(g, value_root(g, n->in[k]));
			if (is_view(def))
				f->coded[def - g->nodes.v] = true;
		}
	}
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Node *def = graph_def(g, value_root(g, g->outputs.v[i].val));
		if (is_view(def))
			f->coded[def - g->nodes.v] = true;
	}
}

static void add_deps(Fuser *f, uint32_t node, Val v)
{
	v = value_root(f->g, v);
	uint32_t def = f->g->vals.v[v.i - 1].node;
	if (f->coded[def]) {
		vec_push(f->a, &f->deps[node], def);
		return;
	}
	const Node *n = &f->g->nodes.v[def];
	for (uint32_t k = 0; k < n->nin; k++)
		add_deps(f, node, n->in[k]);
}

typedef struct Group {
	ClusterKind kind;
	DimKind domain;
	uint32_t region;
	bool alive;
	uint64_t *deps;          /* groups it reads directly, never itself */
	uint64_t *above;         /* all groups it depends on */
	uint64_t *sources;       /* nodes it reads */
} Group;

typedef struct Level {
	Fuser *f;
	Group *v;
	uint32_t n;
	uint32_t words;          /* of a set of groups */
	uint32_t node_words;     /* of a set of nodes */
} Level;

static bool has(const uint64_t *set, uint32_t i)
{
	return set[i / 64] >> (i % 64) & 1;
}

static void put(uint64_t *set, uint32_t i)
{
	set[i / 64] |= (uint64_t)1 << (i % 64);
}

static void drop(uint64_t *set, uint32_t i)
{
	set[i / 64] &= ~((uint64_t)1 << (i % 64));
}

static void unite(uint64_t *set, const uint64_t *other, uint32_t words)
{
	for (uint32_t w = 0; w < words; w++)
		set[w] |= other[w];
}

static bool meet(const uint64_t *a, const uint64_t *b, uint32_t words)
{
	for (uint32_t w = 0; w < words; w++)
		if (a[w] & b[w])
			return true;
	return false;
}

/* above = deps closed over deps, to the fixed point. */
static void close_level(Level *l)
{
	for (uint32_t q = 0; q < l->n; q++)
		memcpy(l->v[q].above, l->v[q].deps, l->words * sizeof(uint64_t));
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t q = 0; q < l->n; q++) {
			uint64_t *above = l->v[q].above;
			for (uint32_t d = 0; d < l->n; d++) {
				if (!has(above, d))
					continue;
				for (uint32_t w = 0; w < l->words; w++) {
					changed |= (l->v[d].above[w] & ~above[w]) != 0;
					above[w] |= l->v[d].above[w];
				}
			}
		}
	}
}

/* Does b depend on a through a third group? */
static bool indirect(const Level *l, uint32_t a, uint32_t b)
{
	for (uint32_t x = 0; x < l->n; x++)
		if (x != a && has(l->v[b].deps, x) && has(l->v[x].above, a))
			return true;
	return false;
}

static bool may_merge(const Level *l, uint32_t a, uint32_t b)
{
	const Group *p = &l->v[a], *q = &l->v[b];
	if (!p->alive || !q->alive || p->kind != CLUSTER_ROWS || q->kind != CLUSTER_ROWS ||
	    p->domain != q->domain || p->domain == DIM_CONST)
		return false;
	bool near = has(p->deps, b) || has(q->deps, a) || meet(p->sources, q->sources, l->node_words);
	return near && !indirect(l, a, b) && !indirect(l, b, a);
}

static void merge(Level *l, const uint32_t *nodes, uint32_t n, uint32_t a, uint32_t b)
{
	for (uint32_t i = 0; i < n; i++)
		if (l->f->group[nodes[i]] == (int)b)
			l->f->group[nodes[i]] = (int)a;
	unite(l->v[a].deps, l->v[b].deps, l->words);
	unite(l->v[a].sources, l->v[b].sources, l->node_words);
	drop(l->v[a].deps, a);
	drop(l->v[a].deps, b);
	memset(l->v[b].deps, 0, l->words * sizeof(uint64_t));
	for (uint32_t q = 0; q < l->n; q++) {
		if (!has(l->v[q].deps, b))
			continue;
		drop(l->v[q].deps, b);
		if (q != a)
			put(l->v[q].deps, a);
	}
	l->v[b].alive = false;
	close_level(l);
}

/* Merges pairs of row groups with the same rows until no pair is left that may merge. */
static void merge_groups(Level *l, const uint32_t *nodes, uint32_t n)
{
	close_level(l);
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t a = 0; a < l->n; a++) {
			for (uint32_t b = a + 1; b < l->n; b++) {
				if (!may_merge(l, a, b))
					continue;
				merge(l, nodes, n, a, b);
				changed = true;
			}
		}
	}
}

/* ---- epilogues: row code and the products that it alone reads ---- */

/* The products that group q could be the epilogue of, ascending; q's own nodes go to `code`. */
static NodeList find_products(const Level *l, const uint32_t *nodes, uint32_t n, uint32_t q, NodeList *code)
{
	const Fuser *f = l->f;
	NodeList found = {0};
	for (uint32_t i = 0; i < n; i++)
		if (f->group[nodes[i]] == (int)q)
			vec_push(f->a, code, nodes[i]);
	for (uint32_t i = 0; i < n; i++) {
		const Node *p = &f->g->nodes.v[nodes[i]];
		uint32_t group = (uint32_t)f->group[nodes[i]];
		if (has(l->v[q].deps, group) && epilogue_product(f->g, p) &&
		    epilogue_fits(f->g, f->coded, code->v, code->n, p) && !indirect(l, group, q))
			vec_push(f->a, &found, nodes[i]);
	}
	return found;
}

/* Two products of the same rows with matrices of one shape, as gate and up are. */
static bool is_pair(const Graph *g, const Node *x, const Node *y)
{
	return x->i[0] == 0 && y->i[0] == 0 && value_root(g, x->in[0]).i == value_root(g, y->in[0]).i;
}

/* Two products of equal sizes that do nothing but make a sum. */
static bool is_sum(const Graph *g, const NodeList *code, const NodeList *p)
{
	const Node *x = &g->nodes.v[p->v[0]], *y = &g->nodes.v[p->v[1]];
	return p->n == 2 && code->n == 1 && g->nodes.v[code->v[0]].op == OP_add && epilogue_sums(g, x, y);
}

/* Where the products begin that the code joins: the two that share their rows, the two whose sum it is, else the
 * last one. */
static uint32_t choose_products(const Graph *g, const NodeList *code, const NodeList *p)
{
	if (p->n > 1 && is_sum(g, code, p))
		return 0;
	for (uint32_t i = 0; i + 1 < p->n; i++)
		if (is_pair(g, &g->nodes.v[p->v[i]], &g->nodes.v[p->v[i + 1]]))
			return i;
	return p->n ? p->n - 1 : 0;
}

/* Row code becomes the epilogue of products it reads: then their results are not written and read again. Both targets
 * let a sum of two products be, so that it is rounded once. */
static void absorb_products(Level *l, const uint32_t *nodes, uint32_t n)
{
	const Fuser *f = l->f;
	for (uint32_t q = 0; q < l->n; q++) {
		NodeList code = {0};
		if (!l->v[q].alive || l->v[q].kind != CLUSTER_ROWS || l->v[q].domain != DIM_R)
			continue;
		NodeList p = find_products(l, nodes, n, q, &code);
		uint32_t first = choose_products(f->g, &code, &p);
		if (!f->epilogues && !(p.n > 1 && is_sum(f->g, &code, &p)))
			continue;
		for (uint32_t i = first; i < p.n && i < first + EPILOGUE_PRODUCTS; i++) {
			merge(l, nodes, n, q, (uint32_t)f->group[p.v[i]]);
			l->v[q].kind = CLUSTER_TEMPLATE;
		}
	}
}

/* Orders the living groups: smallest first node first among those whose operands are done. */
static uint32_t order_groups(const Level *l, const uint32_t *nodes, uint32_t n, uint32_t *order)
{
	uint32_t done = 0, left = 0;
	uint64_t *out = ARENA_ARRAY(l->f->a, uint64_t, l->words);
	for (uint32_t q = 0; q < l->n; q++)
		left += l->v[q].alive;
	while (done < left) {
		uint32_t pick = l->n;
		for (uint32_t i = 0; i < n && pick == l->n; i++) {
			uint32_t q = (uint32_t)l->f->group[nodes[i]];
			bool ready = !has(out, q);
			for (uint32_t w = 0; w < l->words; w++)
				ready = ready && !(l->v[q].deps[w] & ~out[w]);
			if (ready)
				pick = q;
		}
		if (pick == l->n)
			ice("fusion made a cycle in %s", l->f->g->name);
		put(out, pick);
		order[done++] = pick;
	}
	return done;
}

static uint32_t add_group(Level *l, Group q)
{
	q.deps = ARENA_ARRAY(l->f->a, uint64_t, l->words);
	q.above = ARENA_ARRAY(l->f->a, uint64_t, l->words);
	q.sources = ARENA_ARRAY(l->f->a, uint64_t, l->node_words);
	l->v[l->n] = q;
	return l->n++;
}

/* One group per node, one per region at the outer level; then the edges between groups. Nodes of
 * other levels have group NONE meanwhile: they are there before this level starts. */
static Level form_groups(Fuser *f, const uint32_t *nodes, uint32_t n, bool inside)
{
	const Graph *g = f->g;
	Level l = {.f = f, .v = ARENA_ARRAY(f->a, Group, n + 1), .words = (n + 64) / 64,
	           .node_words = (g->nodes.n + 64) / 64};
	int *region_group = ARENA_ARRAY(f->a, int, g->rows + 1);
	for (uint32_t i = 0; i < g->nodes.n; i++)
		f->group[i] = NONE;
	for (uint32_t r = 0; r <= g->rows; r++)
		region_group[r] = NONE;
	for (uint32_t i = 0; i < n; i++) {
		const Node *nd = &g->nodes.v[nodes[i]];
		uint32_t region = 0;
		DimKind domain = node_domain(g, nd, &region);
		ClusterKind kind = generated(nd) ? CLUSTER_ROWS
		                   : op_class(nd->op) == CL_EXCHANGE ? CLUSTER_EXCHANGE
		                                                     : CLUSTER_TEMPLATE;
		bool whole = domain == DIM_R && !inside;
		if (whole && region_group[region] != NONE) {
			f->group[nodes[i]] = region_group[region];
			continue;
		}
		Group q = {.kind = whole ? CLUSTER_REGION : kind, .domain = domain, .region = region,
		           .alive = true};
		f->group[nodes[i]] = (int)add_group(&l, q);
		if (whole)
			region_group[region] = f->group[nodes[i]];
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t q = (uint32_t)f->group[nodes[i]];
		for (uint32_t k = 0; k < f->deps[nodes[i]].n; k++) {
			uint32_t dep = f->deps[nodes[i]].v[k];
			put(l.v[q].sources, dep);
			if (f->group[dep] != NONE && f->group[dep] != (int)q)
				put(l.v[q].deps, (uint32_t)f->group[dep]);
		}
	}
	return l;
}

static Cluster *cluster_level(Fuser *f, const uint32_t *nodes, uint32_t n, bool inside, uint32_t *count)
{
	Level l = form_groups(f, nodes, n, inside);
	merge_groups(&l, nodes, n);
	absorb_products(&l, nodes, n);
	uint32_t *order = ARENA_ARRAY(f->a, uint32_t, l.n + 1);
	*count = order_groups(&l, nodes, n, order);
	Cluster *out = ARENA_ARRAY(f->a, Cluster, *count + 1);
	for (uint32_t c = 0; c < *count; c++) {
		Cluster *cl = &out[c];
		cl->kind = l.v[order[c]].kind;
		cl->region = l.v[order[c]].region;
		cl->nodes = ARENA_ARRAY(f->a, uint32_t, n);
		for (uint32_t i = 0; i < n; i++)
			if (f->group[nodes[i]] == (int)order[c])
				cl->nodes[cl->n++] = nodes[i];
	}
	return out;
}

Clusters cluster_nodes(Arena *a, const Graph *g, bool epilogues)
{
	Fuser f = {.a = a, .g = g, .epilogues = epilogues};
	f.coded = ARENA_ARRAY(a, bool, g->nodes.n);
	f.deps = ARENA_ARRAY(a, NodeList, g->nodes.n);
	f.group = ARENA_ARRAY(a, int, g->nodes.n);
	mark_coded(&f);
	uint32_t *nodes = ARENA_ARRAY(a, uint32_t, g->nodes.n), n = 0;
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		if (!f.coded[i])
			continue;
		nodes[n++] = i;
		for (uint32_t k = 0; k < g->nodes.v[i].nin; k++)
			add_deps(&f, i, g->nodes.v[i].in[k]);
	}
	Clusters out = {.g = g, .coded = f.coded};
	out.v = cluster_level(&f, nodes, n, false, &out.n);
	out.of = ARENA_ARRAY(a, uint32_t, g->nodes.n);
	for (uint32_t i = 0; i < g->nodes.n; i++)
		out.of[i] = UINT32_MAX;
	uint32_t id = 0;
	for (uint32_t c = 0; c < out.n; c++) {
		Cluster *cl = &out.v[c];
		if (cl->kind == CLUSTER_REGION)
			cl->inner = cluster_level(&f, cl->nodes, cl->n, true, &cl->ninner);
		uint32_t parts = cl->kind == CLUSTER_REGION ? cl->ninner : 1;
		for (uint32_t p = 0; p < parts; p++, id++) {
			const Cluster *leaf = cl->kind == CLUSTER_REGION ? &cl->inner[p] : cl;
			for (uint32_t i = 0; i < leaf->n; i++)
				out.of[leaf->nodes[i]] = id;
		}
	}
	return out;
}
