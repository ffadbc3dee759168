/* sample.c - see sample.h. */
#include "sample.h"

#include <math.h>
#include <string.h>

static const int32_t usual_cu[] = {0, 1, 3, SAMPLE_TOKENS};
static const SampleSize usual = {SAMPLE_TOKENS, 3, usual_cu};

/* ---- random data ---- */

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
	z = (z ^ z >> 27) * 0x94D049BB133111EB;
	return z ^ z >> 31;
}

double sample_unit(uint64_t *state)
{
	return ldexp((double)(next(state) >> 11), -53);
}

uint32_t sample_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(next(state) % n);
}

static int64_t elements(const Type *t, int64_t tokens)
{
	return type_row(t) * (type_has_rows(t) ? tokens : 1);
}

/* Ids, tokens and labels of `v` are below this. */
static int64_t limit_of(const Graph *g, Val v)
{
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		for (uint32_t k = 0; k < n->nin; k++) {
			if (n->in[k].i != v.i)
				continue;
			const Type *first = graph_type(g, n->in[0]), *second = n->nin > 1 ? graph_type(g, n->in[1]) : NULL;
			switch (n->op) {
			case OP_gather:
			case OP_cross_entropy: return first->dim[1].n;
			case OP_embedding:
			case OP_linear_cross_entropy: return second->dim[0].n;
			default: return n->i[0];
			}
		}
	}
	return 1;
}

static void fill_ids(double *x, int64_t k, int64_t limit, uint64_t *state)
{
	int64_t need = k;
	for (int64_t e = 0, at = 0; e < limit; e++)
		if (sample_below(state, (uint32_t)(limit - e)) < need) {
			x[at++] = sample_below(state, 8) ? (double)e : -1;
			need--;
		}
}

static void fill_integers(const Graph *g, Val v, double *x, int64_t tokens, uint64_t *state)
{
	const Type *t = graph_type(g, v);
	int64_t limit = limit_of(g, v), k = type_row(t);
	bool labels = strcmp(graph_val(g, v)->name, "labels") == 0;
	for (int64_t r = 0; r < tokens; r++) {
		if (t->rank == 2)
			fill_ids(x + r * k, k, limit, state);
		else
			x[r] = labels && !sample_below(state, 4) ? -100.0 : (double)sample_below(state, (uint32_t)limit);
	}
}

/* Random causal keys, the own one always. */
static void fill_selection(const Type *t, double *x, const SampleSize *size, uint64_t *state)
{
	for (int d = 0; d < size->ndoc; d++)
		for (int32_t r = size->cu[d]; r < size->cu[d + 1]; r++)
			for (int64_t word = 0; word < type_row(t); word++) {
				int64_t own = r - size->cu[d] - 32 * word;
				uint32_t before = own <= 0 ? 0 : own > 31 ? UINT32_MAX : (1u << own) - 1;
				uint32_t bits = sample_below(state, 1u << 30) | sample_below(state, 4) << 30;
				bits &= before;
				if (own >= 0 && own < 32)
					bits |= 1u << own;
				x[r * type_row(t) + word] = (double)bits;
			}
}

static double *fill(Arena *a, const Graph *g, Val v, const SampleSize *size, uint64_t *state)
{
	const Type *t = graph_type(g, v);
	int64_t n = elements(t, size->tokens);
	double *x = ARENA_ARRAY(a, double, n + 1);
	if (t->dtype == DT_i32)
		fill_integers(g, v, x, size->tokens, state);
	else if (t->dtype == DT_u32)
		fill_selection(t, x, size, state);
	else
		for (int64_t i = 0; i < n; i++)
			x[i] = 2 * sample_unit(state) - 1;
	return x;
}

static void add_weight(Arena *a, Sample *s, const Node *n, const SampleSize *size, uint64_t *state)
{
	const ValInfo *v = graph_val(s->g, n->out[0]);
	WeightDecl *d = &s->decls[n->i[0]];
	if (s->weights[n->i[0]])
		return;
	d->name = v->name ? v->name : arena_printf(a, "w%lld", (long long)n->i[0]);
	d->type = v->type;
	d->buffer = strncmp(d->name, "buffer", 6) == 0;
	s->weights[n->i[0]] = fill(a, s->g, n->out[0], size, state);
}

static void add_input(Sample *s, const char *name, const double *x)
{
	if (s->env.ninputs == LEN(s->in))
		ice("more inputs than a sample has");
	s->in[s->env.ninputs++] = (EvalInput){name, x};
}

static bool is_floating(const Graph *g, Val v)
{
	DType t = graph_type(g, v)->dtype;
	return t == DT_f32 || t == DT_bf16 || t == DT_f64;
}

Sample *sample_new(Arena *a, const Graph *g, uint64_t seed)
{
	return sample_sized(a, g, seed, &usual);
}

Sample *sample_sized(Arena *a, const Graph *g, uint64_t seed, const SampleSize *size)
{
	Sample *s = ARENA_NEW(a, Sample);
	uint64_t state = seed;
	s->g = g;
	for (uint32_t i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i].op == OP_weight && g->nodes.v[i].i[0] >= s->nweights)
			s->nweights = (uint32_t)g->nodes.v[i].i[0] + 1;
	s->weights = ARENA_ARRAY(a, double *, s->nweights + 1);
	s->decls = ARENA_ARRAY(a, WeightDecl, s->nweights + 1);
	s->env = (EvalEnv){.tokens = size->tokens, .ndoc = size->ndoc, .cu = size->cu, .inputs = s->in,
	                   .weights = (const double *const *)s->weights};
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (n->op == OP_input)
			add_input(s, graph_val(g, n->out[0])->name, fill(a, g, n->out[0], size, &state));
		else if (n->op == OP_weight)
			add_weight(a, s, n, size, &state);
	}
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		if (p->kind == PORT_CARRY && is_floating(g, p->val))
			add_input(s, arena_printf(a, "grad.%s", p->name), fill(a, g, p->val, size, &state));
	}
	return s;
}

static void cut_to_bf16(double *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		float f = (float)x[i];
		uint32_t u;
		memcpy(&u, &f, sizeof u);
		u &= 0xffff0000;
		memcpy(&f, &u, sizeof f);
		x[i] = f;
	}
}

static const Type *input_type(const Graph *g, const char *name)
{
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		const Node *n = &g->nodes.v[i];
		if (n->op == OP_input && strcmp(graph_val(g, n->out[0])->name, name) == 0)
			return graph_type(g, n->out[0]);
	}
	for (uint32_t i = 0; i < g->outputs.n; i++)
		if (strncmp(name, "grad.", 5) == 0 && strcmp(g->outputs.v[i].name, name + 5) == 0)
			return graph_type(g, g->outputs.v[i].val);
	ice("no input %s", name);
}

void sample_round(Sample *s)
{
	for (uint32_t i = 0; i < s->env.ninputs; i++) {
		const Type *t = input_type(s->g, s->in[i].name);
		if (t->dtype == DT_bf16)
			cut_to_bf16((double *)(uintptr_t)s->in[i].v, elements(t, s->env.tokens));
	}
	for (uint32_t w = 0; w < s->nweights; w++)
		if (s->weights[w] && s->decls[w].type.dtype == DT_bf16)
			cut_to_bf16(s->weights[w], elements(&s->decls[w].type, 1));
}

Graph *sample_in_bf16(Arena *a, const Graph *g)
{
	Graph *to = graph_new(a, g->name);
	Val in[64];
	for (uint32_t i = 0; i < g->nodes.n; i++) {
		Node n = g->nodes.v[i];
		const ValInfo *v = graph_val(g, n.out[0]);
		Type t = v->type;
		t.dtype = t.dtype == DT_f32 ? DT_bf16 : t.dtype;
		for (uint32_t k = 0; k < n.nin; k++)
			in[k] = n.in[k];
		if (n.op == OP_const)
			n.i[0] = t.dtype;
		if (n.op == OP_input)
			(void)graph_input(to, n.span, v->name, &t);
		else if (n.op == OP_weight)
			(void)graph_weight(to, n.span, (uint32_t)n.i[0], &t);
		else
			(void)graph_add(to, n.op, n.span, in, n.nin, n.i, n.f);
	}
	for (uint32_t i = 0; i < g->outputs.n; i++)
		vec_push(a, &to->outputs, g->outputs.v[i]);
	return to;
}

/* ---- the function and its gradients ---- */

static const double *find_input(const Sample *s, const char *prefix, const char *name)
{
	size_t n = strlen(prefix);
	for (uint32_t i = 0; i < s->env.ninputs; i++)
		if (strncmp(s->in[i].name, prefix, n) == 0 && strcmp(s->in[i].name + n, name) == 0)
			return s->in[i].v;
	return NULL;
}

double sample_loss(const Sample *s, const Graph *g)
{
	Arena *a = arena_new();
	const Eval *e = graph_eval(a, g, &s->env);
	double sum = 0;
	for (uint32_t i = 0; i < g->outputs.n; i++) {
		const Port *p = &g->outputs.v[i];
		const EvalTensor *t = eval_val(e, p->val);
		const double *seed = p->kind == PORT_CARRY ? find_input(s, "grad.", p->name) : NULL;
		if (p->kind == PORT_LOSS)
			sum += t->v[0];
		for (int64_t k = 0; seed && k < t->rows * t->row; k++)
			sum += seed[k] * t->v[k];
	}
	arena_free(a);
	return sum;
}

/* d loss / d x[i], of fourth order in the step. */
static double difference(const Sample *s, double *x)
{
	static const double weight[] = {1, -8, 8, -1};
	static const int at[] = {-2, -1, 1, 2};
	const double old = *x, h = 1e-4;
	double sum = 0;
	for (int k = 0; k < 4; k++) {
		*x = old + at[k] * h;
		sum += weight[k] * sample_loss(s, s->g);
	}
	*x = old;
	return sum / (12 * h);
}

/* Largest error of one operand over its largest gradient; `grad` NULL: it should be zero. */
static double check_operand(const Sample *s, double *x, const Type *t, const EvalTensor *grad, int64_t most)
{
	int64_t n = elements(t, s->env.tokens), step = n > most ? n / most : 1;
	double top = 0, worst = 0;
	for (int64_t i = 0; i < n; i += step) {
		double want = difference(s, x + i), got = grad ? grad->v[i] : 0;
		top = fmax(top, fabs(want));
		worst = isnan(got) ? INFINITY : fmax(worst, fabs(got - want));
	}
	for (int64_t i = 0; grad && i < n; i++)
		top = fmax(top, fabs(grad->v[i]));
	return worst / fmax(top, 1e-3);
}

double sample_check(const Sample *s, const Graph *joint, int64_t most, const char **where)
{
	Arena *a = arena_new();
	const Eval *e = graph_eval(a, joint, &s->env);
	double worst = 0;
	for (uint32_t i = 0; i < s->g->nodes.n; i++) {
		const Node *n = &s->g->nodes.v[i];
		bool input = n->op == OP_input, weight = n->op == OP_weight && !s->decls[n->i[0]].buffer;
		if ((!input && !weight) || !is_floating(s->g, n->out[0]))
			continue;
		const char *name = input ? graph_val(s->g, n->out[0])->name : s->decls[n->i[0]].name;
		double *x = input ? (double *)(uintptr_t)find_input(s, "", name) : s->weights[n->i[0]];
		const EvalTensor *grad = input ? eval_output(e, PORT_CARRY, arena_printf(a, "grad.%s", name), 0)
		                               : eval_output(e, PORT_WGRAD, NULL, (uint32_t)n->i[0]);
		double error = check_operand(s, x, graph_type(s->g, n->out[0]), grad, most);
		if (!(error <= worst)) {
			worst = error;
			*where = name;
		}
	}
	arena_free(a);
	return worst;
}
