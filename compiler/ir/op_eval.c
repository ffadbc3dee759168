/* op_eval.c - the meaning of every operator: eval_<op>. Each rule is the loop of the definition in
 * ops.def over doubles; nothing here is shared with kernels, templates or gradient rules, so that
 * a wrong one of those is found. Formulas: model mathematics, sections 3 and 9.
 */
#include <math.h>
#include <string.h>

#include "op_rules.h"

static const EvalTensor *arg(const EvalCall *c, uint32_t k)
{
	return eval_val(c->e, c->n->in[k]);
}

static const double *in(const EvalCall *c, uint32_t k)
{
	return arg(c, k)->v;
}

static const Type *in_type(const EvalCall *c, uint32_t k)
{
	return graph_type(c->e->g, c->n->in[k]);
}

static const Type *out_type(const EvalCall *c, uint32_t k)
{
	return graph_type(c->e->g, c->n->out[k]);
}

static int64_t elements(const EvalTensor *t)
{
	return t->rows * t->row;
}

/* Dimension `d` from the right; 1 when there are fewer. */
static int64_t dim_right(const Type *t, int d)
{
	return d < t->rank && t->dim[t->rank - 1 - d].kind == DIM_CONST ? t->dim[t->rank - 1 - d].n : 1;
}

/* ---- sources ---- */

static void copy_source(EvalCall *c, const double *v)
{
	double *y = eval_result(c, 0);
	memcpy(y, v, (size_t)elements(&c->e->vals[c->n->out[0].i - 1]) * sizeof *y);
}

void eval_input(EvalCall *c)
{
	const char *name = graph_val(c->e->g, c->n->out[0])->name;
	for (uint32_t i = 0; i < c->e->env->ninputs; i++)
		if (strcmp(c->e->env->inputs[i].name, name) == 0) {
			copy_source(c, c->e->env->inputs[i].v);
			return;
		}
	ice("%s: input %s is not given", c->e->g->name, name);
}

void eval_weight(EvalCall *c)
{
	const double *w = c->e->env->weights ? c->e->env->weights[c->n->i[0]] : NULL;
	if (!w)
		ice("%s: weight %lld is not given", c->e->g->name, (long long)c->n->i[0]);
	copy_source(c, w);
}

void eval_const(EvalCall *c)
{
	eval_result(c, 0)[0] = c->n->f[0];
}

/* ---- elementwise ---- */

#define MAP2(name, expr) \
	void eval_##name(EvalCall *c) \
	{ \
		double *y = eval_result(c, 0); \
		for (int64_t i = 0; i < elements(arg(c, 0)); i++) { \
			double a = in(c, 0)[i], b = in(c, 1)[i]; \
			y[i] = expr; \
		} \
	}

MAP2(add, a + b)
MAP2(sub, a - b)
MAP2(mul, a * b)
MAP2(div, a / b)

#define MAP1(name, expr) \
	void eval_##name(EvalCall *c) \
	{ \
		double *y = eval_result(c, 0); \
		for (int64_t i = 0; i < elements(arg(c, 0)); i++) { \
			double a = in(c, 0)[i]; \
			y[i] = expr; \
		} \
	}

MAP1(neg, -a)
MAP1(exp, exp(a))
MAP1(sqrt, sqrt(a))
MAP1(rsqrt, 1 / sqrt(a))
MAP1(tanh, tanh(a))
MAP1(erf, erf(a))
MAP1(sigmoid, 1 / (1 + exp(-a)))
MAP1(silu, a / (1 + exp(-a)))
MAP1(relu, a > 0 ? a : 0)
MAP1(step, a > 0 ? 1 : 0)
MAP1(cast, a)
MAP1(detach, a)

/* ---- views ---- */

/* Element `at` of a row of `to` comes from this element of a row of `from`. */
static int64_t broadcast_source(const Type *from, const Type *to, int64_t at)
{
	int64_t source = 0, stride = 1;
	for (int d = 0; d < to->rank; d++) {
		int64_t n = dim_right(to, d), m = dim_right(from, d);
		if (m != 1)
			source += at % n * stride;
		stride *= m;
		at /= n;
	}
	return source;
}

void eval_broadcast(EvalCall *c)
{
	const Type *from = in_type(c, 0), *to = out_type(c, 0);
	double *y = eval_result(c, 0);
	const EvalTensor *x = arg(c, 0), *t = eval_val(c->e, c->n->out[0]);
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t i = 0; i < t->row; i++)
			y[r * t->row + i] = x->v[(type_has_rows(from) ? r * x->row : 0) + broadcast_source(from, to, i)];
}

void eval_reshape(EvalCall *c)
{
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(arg(c, 0)); i++)
		y[i] = in(c, 0)[i];
}

void eval_slice(EvalCall *c)
{
	int64_t n = dim_right(in_type(c, 0), 0), m = c->n->i[1];
	double *y = eval_result(c, 0);
	for (int64_t o = 0; o < elements(arg(c, 0)) / n; o++)
		for (int64_t i = 0; i < m; i++)
			y[o * m + i] = in(c, 0)[o * n + c->n->i[0] + i];
}

void eval_concat(EvalCall *c)
{
	int64_t m = dim_right(out_type(c, 0), 0), at = 0;
	double *y = eval_result(c, 0);
	for (uint32_t k = 0; k < c->n->nin; k++) {
		int64_t n = dim_right(in_type(c, k), 0);
		for (int64_t o = 0; o < elements(arg(c, k)) / n; o++)
			for (int64_t i = 0; i < n; i++)
				y[o * m + at + i] = in(c, k)[o * n + i];
		at += n;
	}
}

/* ---- row operators ---- */

void eval_sum(EvalCall *c)
{
	int64_t n = dim_right(in_type(c, 0), 0);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(arg(c, 0)); i++)
		y[i / n] += in(c, 0)[i];
}

/* Over the dimension before the last: [T,N,H] -> [T,H], [T,1,H] */
static void sum_middle(EvalCall *c)
{
	int64_t h = dim_right(in_type(c, 0), 0), n = dim_right(in_type(c, 0), 1);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(arg(c, 0)); i++)
		y[i / (n * h) * h + i % h] += in(c, 0)[i];
}

void eval_sum_slots(EvalCall *c)
{
	sum_middle(c);
}

void eval_sum_heads(EvalCall *c)
{
	sum_middle(c);
}

/* One vector of d elements at position p. The halves of the turned vector are
 * (a cos - b sin, b cos + a sin); a and b are every other element of x, or its halves. */
static void rotate(const Node *n, const double *x, double *y, int64_t d, double p)
{
	for (int64_t j = 0; j < d / 2; j++) {
		double angle = p * pow(n->f[0], -2.0 * (double)j / (double)d);
		int64_t a = n->i[0] ? 2 * j : j, b = n->i[0] ? 2 * j + 1 : j + d / 2;
		int64_t first = j, second = j + d / 2;
		if (n->i[1]) {
			y[a] = x[first] * cos(angle) + x[second] * sin(angle);
			y[b] = x[second] * cos(angle) - x[first] * sin(angle);
		} else {
			y[first] = x[a] * cos(angle) - x[b] * sin(angle);
			y[second] = x[b] * cos(angle) + x[a] * sin(angle);
		}
	}
}

void eval_rope(EvalCall *c)
{
	const EvalTensor *x = arg(c, 0);
	int64_t d = dim_right(in_type(c, 0), 0);
	double *y = eval_result(c, 0);
	if (x->rows != c->e->env->tokens)
		ice("rope of %lld rows, which are no tokens", (long long)x->rows);
	for (int64_t t = 0; t < x->rows; t++)
		for (int64_t i = t * x->row; i < (t + 1) * x->row; i += d)
			rotate(c->n, x->v + i, y + i, d, (double)c->e->place[t]);
}

void eval_gather(EvalCall *c)
{
	const EvalTensor *x = arg(c, 0), *ids = arg(c, 1);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(ids); i++)
		if (ids->v[i] >= 0)
			y[i] = x->v[i / ids->row * x->row + (int64_t)ids->v[i]];
}

void eval_scatter(EvalCall *c)
{
	const EvalTensor *ids = arg(c, 1);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(ids); i++)
		if (ids->v[i] >= 0)
			y[i / ids->row * c->n->i[0] + (int64_t)ids->v[i]] += in(c, 0)[i];
}

void eval_sum_rows(EvalCall *c)
{
	const EvalTensor *x = arg(c, 0);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(x); i++)
		y[i % x->row] += x->v[i];
}

/* ---- contractions ---- */

/* The expert of each row of operand 0; all 0 when the product is not grouped. */
static int64_t *expert_of_rows(const EvalCall *c, bool grouped)
{
	int64_t *expert = ARENA_ARRAY(c->e->a, int64_t, arg(c, 0)->rows + 1);
	const EvalRows *r = grouped ? &c->e->rows[in_type(c, 0)->dim[0].id] : NULL;
	for (int64_t x = 0; r && x < r->experts; x++)
		for (int64_t i = r->first[x]; i < r->first[x + 1]; i++)
			expert[i] = x;
	return expert;
}

/* y[m,n] = sum_k a[m,k] b[n,k] or b[k,n], b of the row's expert, and the addend when there is one */
static void product_rows(EvalCall *c)
{
	bool transposed = c->n->i[0] == 0;
	int64_t rows = arg(c, 0)->rows, k = arg(c, 0)->row, n = dim_right(out_type(c, 0), 0);
	const int64_t *expert = expert_of_rows(c, in_type(c, 1)->rank == 3);
	const double *addend = c->n->nin == 3 ? in(c, 2) : NULL;
	double *y = eval_result(c, 0);
	for (int64_t m = 0; m < rows; m++) {
		const double *a = in(c, 0) + m * k, *b = in(c, 1) + expert[m] * n * k;
		for (int64_t j = 0; j < n; j++) {
			for (int64_t i = 0; i < k; i++)
				y[m * n + j] += a[i] * (transposed ? b[j * k + i] : b[i * n + j]);
			if (addend)
				y[m * n + j] += addend[m * n + j];
		}
	}
}

/* y[e,n,k] = sum over the rows m of expert e of a[m,n] b[m,k] */
static void product_over_rows(EvalCall *c)
{
	int64_t n = arg(c, 0)->row, k = arg(c, 1)->row;
	const int64_t *expert = expert_of_rows(c, c->n->i[1] > 0);
	double *y = eval_result(c, 0);
	for (int64_t m = 0; m < arg(c, 0)->rows; m++)
		for (int64_t i = 0; i < n; i++)
			for (int64_t j = 0; j < k; j++)
				y[(expert[m] * n + i) * k + j] += in(c, 0)[m * n + i] * in(c, 1)[m * k + j];
}

void eval_matmul(EvalCall *c)
{
	if (c->n->i[0] == 2)
		product_over_rows(c);
	else
		product_rows(c);
}

/* form 0: y[t,n,j] = sum_k a[t,n,k] b[n,j,k]; 1: b[n,k,j]; 2: y[n,j,k] = sum_t a[t,n,j] b[t,n,k] */
void eval_head_matmul(EvalCall *c)
{
	int64_t heads = dim_right(in_type(c, 0), 1), form = c->n->i[0];
	int64_t ka = dim_right(in_type(c, 0), 0), kb = dim_right(in_type(c, 1), 0);
	int64_t j = form == 2 ? ka : dim_right(out_type(c, 0), 0), k = form == 2 ? kb : ka;
	double *y = eval_result(c, 0);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++)
		for (int64_t n = 0; n < heads; n++)
			for (int64_t x = 0; x < j; x++)
				for (int64_t z = 0; z < k; z++) {
					const double *a = in(c, 0) + (t * heads + n) * ka;
					if (form == 0)
						y[(t * heads + n) * j + x] += a[z] * in(c, 1)[(n * j + x) * k + z];
					else if (form == 1)
						y[(t * heads + n) * j + x] += a[z] * in(c, 1)[(n * k + z) * j + x];
					else
						y[(n * j + x) * k + z] += a[x] * in(c, 1)[(t * heads + n) * k + z];
				}
}

/* ---- attention ---- */

typedef struct Heads {
	const double *q, *k, *v, *selection;     /* selection NULL: every causal key */
	int64_t n, g, h, hv, words;
	double scale;
	const int64_t *place;
} Heads;

static Heads attention_operands(const EvalCall *c, uint32_t selection)
{
	const Type *q = in_type(c, 0), *v = in_type(c, 2);
	Heads x = {.q = in(c, 0), .k = in(c, 1), .v = in(c, 2), .n = dim_right(q, 1), .g = dim_right(v, 1),
	           .h = dim_right(q, 0), .hv = dim_right(v, 0), .scale = c->n->f[0], .place = c->e->place};
	if (c->n->nin > selection) {
		x.selection = in(c, selection);
		x.words = arg(c, selection)->row;
	}
	return x;
}

static double dot(const double *a, const double *b, int64_t n)
{
	double s = 0;
	for (int64_t i = 0; i < n; i++)
		s += a[i] * b[i];
	return s;
}

static const double *query(const Heads *x, const double *base, int64_t t, int64_t head, int64_t width)
{
	return base + (t * x->n + head) * width;
}

/* Head `head` reads key head head / (N/G). */
static int64_t key_at(const Heads *x, int64_t u, int64_t head)
{
	return u * x->g + head / (x->n / x->g);
}

/* Does token t see token u <= t of its document? */
static bool sees(const Heads *x, int64_t t, int64_t u)
{
	int64_t key = x->place[u];
	if (!x->selection)
		return true;
	uint64_t word = (uint64_t)x->selection[t * x->words + key / 32];
	return word >> (key % 32) & 1;
}

static double score(const Heads *x, int64_t t, int64_t u, int64_t head)
{
	return x->scale * dot(query(x, x->q, t, head, x->h), x->k + key_at(x, u, head) * x->h, x->h);
}

/* log sum exp of the scores of one query */
static double log_sum(const Heads *x, int64_t t, int64_t head)
{
	double most = -INFINITY, sum = 0;
	for (int64_t u = t - x->place[t]; u <= t; u++)
		if (sees(x, t, u))
			most = fmax(most, score(x, t, u, head));
	for (int64_t u = t - x->place[t]; u <= t; u++)
		if (sees(x, t, u))
			sum += exp(score(x, t, u, head) - most);
	return most + log(sum);
}

void eval_attention(EvalCall *c)
{
	Heads x = attention_operands(c, 3);
	double *o = eval_result(c, 0), *lse = eval_result(c, 1);
	for (int64_t t = 0; t < c->e->env->tokens; t++)
		for (int64_t n = 0; n < x.n; n++) {
			double all = lse[t * x.n + n] = log_sum(&x, t, n);
			for (int64_t u = t - x.place[t]; u <= t; u++) {
				if (!sees(&x, t, u))
					continue;
				double p = exp(score(&x, t, u, n) - all);
				for (int64_t i = 0; i < x.hv; i++)
					o[(t * x.n + n) * x.hv + i] += p * x.v[key_at(&x, u, n) * x.hv + i];
			}
		}
}

/* dV = P'dO, dS = P (dO V' - rowsum(dO O)), dQ = scale dS K, dK = scale dS' Q */
void eval_attention_grad(EvalCall *c)
{
	Heads x = attention_operands(c, 6);
	double *dq = eval_result(c, 0), *dk = eval_result(c, 1), *dv = eval_result(c, 2);
	for (int64_t t = 0; t < c->e->env->tokens; t++)
		for (int64_t n = 0; n < x.n; n++) {
			const double *d = query(&x, in(c, 5), t, n, x.hv), *q = query(&x, x.q, t, n, x.h);
			double delta = dot(d, query(&x, in(c, 3), t, n, x.hv), x.hv), lse = in(c, 4)[t * x.n + n];
			for (int64_t u = t - x.place[t]; u <= t; u++) {
				if (!sees(&x, t, u))
					continue;
				int64_t key = key_at(&x, u, n);
				double p = exp(score(&x, t, u, n) - lse);
				double ds = x.scale * p * (dot(d, x.v + key * x.hv, x.hv) - delta);
				for (int64_t i = 0; i < x.hv; i++)
					dv[key * x.hv + i] += p * d[i];
				for (int64_t i = 0; i < x.h; i++) {
					dq[(t * x.n + n) * x.h + i] += ds * x.k[key * x.h + i];
					dk[key * x.h + i] += ds * q[i];
				}
			}
		}
}

/* Marks the k largest of n, the first among equals; marked ones are left out. */
static void mark_largest(const double *x, int64_t n, int64_t k, bool *marked)
{
	for (; k > 0; k--) {
		int64_t best = -1;
		for (int64_t i = 0; i < n; i++)
			if (!marked[i] && (best < 0 || x[i] > x[best]))
				best = i;
		if (best < 0)
			return;
		marked[best] = true;
	}
}

void eval_select_keys(EvalCall *c)
{
	int64_t heads = dim_right(in_type(c, 0), 1), h = dim_right(in_type(c, 0), 0);
	int64_t words = dim_right(out_type(c, 0), 0), tokens = c->e->env->tokens;
	double *y = eval_result(c, 0), *s = ARENA_ARRAY(c->e->a, double, tokens + 1);
	for (int64_t t = 0; t < tokens; t++) {
		int64_t n = c->e->place[t] + 1, first = t + 1 - n;
		bool *taken = ARENA_ARRAY(c->e->a, bool, n);
		for (int64_t u = 0; u < n; u++) {
			s[u] = 0;
			for (int64_t j = 0; j < heads; j++) {
				double x = dot(in(c, 0) + (t * heads + j) * h, in(c, 1) + (first + u) * h, h);
				s[u] += in(c, 2)[t * heads + j] * (x > 0 ? x : 0);
			}
		}
		mark_largest(s, n, c->n->i[0], taken);
		for (int64_t u = 0; u < n; u++)
			y[t * words + u / 32] += taken[u] ? ldexp(1, (int)(u % 32)) : 0;
	}
}

void eval_every_key(EvalCall *c)
{
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < elements(eval_val(c->e, c->n->out[0])); i++)
		y[i] = UINT32_MAX;
}

/* ---- routing ---- */

static double two_largest(const double *x, int64_t n)
{
	double first = -INFINITY, second = -INFINITY;
	for (int64_t i = 0; i < n; i++) {
		second = fmax(second, fmin(first, x[i]));
		first = fmax(first, x[i]);
	}
	return first + second;
}

/* Experts outside the kept groups are out of question. */
static void leave_groups(const EvalCall *c, const double *x, int64_t experts, bool *out)
{
	int64_t groups = c->n->i[1], width = experts / groups;
	double *s = ARENA_ARRAY(c->e->a, double, groups);
	bool *kept = ARENA_ARRAY(c->e->a, bool, groups);
	for (int64_t g = 0; g < groups; g++)
		s[g] = two_largest(x + g * width, width);
	mark_largest(s, groups, c->n->i[2], kept);
	for (int64_t e = 0; e < experts; e++)
		out[e] = !kept[e / width];
}

void eval_top_k(EvalCall *c)
{
	const EvalTensor *x = arg(c, 0);
	int64_t k = c->n->i[0], experts = x->row;
	double *y = eval_result(c, 0);
	for (int64_t t = 0; t < x->rows; t++) {
		const double *s = x->v + t * experts;
		bool *out = ARENA_ARRAY(c->e->a, bool, experts), *marked = ARENA_ARRAY(c->e->a, bool, experts);
		if (c->n->i[1] > 1)
			leave_groups(c, s, experts, out);
		memcpy(marked, out, (size_t)experts);
		mark_largest(s, experts, k, marked);
		for (int64_t e = 0, at = 0; e < experts; e++)
			if (marked[e] && !out[e])
				y[t * k + at++] = (double)e;
	}
}

void eval_balanced_ids(EvalCall *c)
{
	int64_t k = c->n->i[0], experts = c->n->i[1];
	double *y = eval_result(c, 0);
	for (int64_t t = 0; t < c->e->env->tokens; t++) {
		bool *chosen = ARENA_ARRAY(c->e->a, bool, experts);
		for (int64_t j = 0; j < k; j++)
			chosen[(t * k + j) % experts] = true;
		for (int64_t e = 0, at = 0; e < experts; e++)
			if (chosen[e])
				y[t * k + at++] = (double)e;
	}
}

static EvalRows sort_slots(Arena *a, const EvalTensor *ids, int64_t experts)
{
	EvalRows r = {.experts = experts, .topk = ids->row};
	r.first = ARENA_ARRAY(a, int64_t, experts + 1);
	r.slot = ARENA_ARRAY(a, int64_t, elements(ids) + 1);
	for (int64_t e = 0; e < experts; e++) {
		r.first[e] = r.n;
		for (int64_t s = 0; s < elements(ids); s++)
			if ((int64_t)ids->v[s] == e)
				r.slot[r.n++] = s;
	}
	r.first[experts] = r.n;
	return r;
}

/* The rows of dimension `id`; another dispatch into it must have the same ids. */
static const EvalRows *routed(EvalCall *c, uint32_t id)
{
	EvalRows r = sort_slots(c->e->a, arg(c, 1), c->n->i[0]), *old = &c->e->rows[id];
	if (!old->experts)
		*old = r;
	bool same = old->n == r.n && old->experts == r.experts &&
	            memcmp(old->slot, r.slot, (size_t)r.n * sizeof *r.slot) == 0 &&
	            memcmp(old->first, r.first, (size_t)(r.experts + 1) * sizeof *r.first) == 0;
	if (!same)
		ice("%s: rows R%u are dispatched by other ids", c->e->g->name, id);
	return old;
}

/* Row r of y is row slot / per_row of x. */
static void send(EvalCall *c, int64_t per_row)
{
	const EvalRows *r = routed(c, (uint32_t)c->n->i[1]);
	int64_t h = dim_right(out_type(c, 0), 0);
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < r->n; i++)
		for (int64_t j = 0; j < h; j++)
			y[i * h + j] = in(c, 0)[r->slot[i] / per_row * h + j];
}

void eval_dispatch(EvalCall *c)
{
	send(c, arg(c, 1)->row);
}

void eval_dispatch_slots(EvalCall *c)
{
	send(c, 1);
}

void eval_collect(EvalCall *c)
{
	const EvalRows *r = routed(c, in_type(c, 0)->dim[0].id);
	int64_t h = arg(c, 0)->row;
	double *y = eval_result(c, 0);
	for (int64_t i = 0; i < r->n; i++)
		for (int64_t j = 0; j < h; j++)
			y[r->slot[i] * h + j] = in(c, 0)[i * h + j];
}

/* ---- ends ---- */

void eval_embedding(EvalCall *c)
{
	int64_t d = dim_right(out_type(c, 0), 0);
	double *y = eval_result(c, 0);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++)
		for (int64_t i = 0; i < d; i++)
			y[t * d + i] = in(c, 1)[(int64_t)in(c, 0)[t] * d + i];
}

void eval_embedding_grad(EvalCall *c)
{
	int64_t d = dim_right(out_type(c, 0), 0);
	double *y = eval_result(c, 0);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++)
		for (int64_t i = 0; i < d && (int64_t)in(c, 0)[t] != c->n->i[0]; i++)
			y[(int64_t)in(c, 0)[t] * d + i] += in(c, 1)[t * d + i];
}

/* p = softmax(logits); returns -log p[label], 0 for an ignored token. */
static double token_loss(const double *logits, int64_t n, double label, double *p)
{
	double most = -INFINITY, sum = 0;
	for (int64_t i = 0; i < n; i++)
		most = fmax(most, logits[i]);
	for (int64_t i = 0; i < n; i++)
		sum += p[i] = exp(logits[i] - most);
	for (int64_t i = 0; i < n; i++)
		p[i] /= sum;
	return label < 0 ? 0 : most + log(sum) - logits[(int64_t)label];
}

void eval_cross_entropy(EvalCall *c)
{
	int64_t n = arg(c, 0)->row;
	double *y = eval_result(c, 0), *p = ARENA_ARRAY(c->e->a, double, n);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++)
		y[0] += token_loss(in(c, 0) + t * n, n, in(c, 1)[t], p);
}

/* dlogits = softmax - onehot(label), 0 for an ignored token */
void eval_cross_entropy_grad(EvalCall *c)
{
	int64_t n = arg(c, 0)->row;
	double *y = eval_result(c, 0), *d = eval_result(c, 1), *p = ARENA_ARRAY(c->e->a, double, n);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++) {
		double label = in(c, 1)[t];
		y[0] += token_loss(in(c, 0) + t * n, n, label, p);
		for (int64_t i = 0; i < n && label >= 0; i++)
			d[t * n + i] = p[i] - (i == (int64_t)label);
	}
}

/* The logits x w' of one token. */
static void project(const EvalCall *c, int64_t t, double *logits)
{
	int64_t d = arg(c, 0)->row, n = in_type(c, 1)->dim[0].n;
	for (int64_t i = 0; i < n; i++)
		logits[i] = dot(in(c, 0) + t * d, in(c, 1) + i * d, d);
}

void eval_linear_cross_entropy(EvalCall *c)
{
	int64_t n = in_type(c, 1)->dim[0].n;
	double *y = eval_result(c, 0), *p = ARENA_ARRAY(c->e->a, double, n);
	double *logits = ARENA_ARRAY(c->e->a, double, n);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++) {
		project(c, t, logits);
		y[0] += token_loss(logits, n, in(c, 2)[t], p);
	}
}

/* dlogits = softmax - onehot(label), 0 for an ignored token */
void eval_linear_cross_entropy_grad(EvalCall *c)
{
	int64_t n = in_type(c, 1)->dim[0].n, d = arg(c, 0)->row;
	double *y = eval_result(c, 0), *dx = eval_result(c, 1), *dw = eval_result(c, 2);
	double *logits = ARENA_ARRAY(c->e->a, double, n), *p = ARENA_ARRAY(c->e->a, double, n);
	for (int64_t t = 0; t < arg(c, 0)->rows; t++) {
		double label = in(c, 2)[t];
		project(c, t, logits);
		y[0] += token_loss(logits, n, label, p);
		for (int64_t i = 0; i < n && label >= 0; i++) {
			double g = p[i] - (i == (int64_t)label);
			for (int64_t j = 0; j < d; j++) {
				dx[t * d + j] += g * in(c, 1)[i * d + j];
				dw[i * d + j] += g * in(c, 0)[t * d + j];
			}
		}
	}
}
