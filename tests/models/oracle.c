/* oracle.c - a whole training step through the interpreter: the witness for `glmc run`.
 *
 *   oracle MODEL.glm [--config C.json] [--seq S] shapes
 *       one line per checkpoint tensor: NAME DIM..
 *   oracle MODEL.glm [--config C.json] [--seq S] step CHECKPOINT ROWS.jsonl N OUT_DIR
 *       the first N rows as one step: OUT_DIR/grads.safetensors (float32, after normalisation, Hugging
 *       Face names, experts one by one) and a line `{"loss": .., "label_tokens": ..}`
 *
 * S: tokens of the longest row (32 when not given). Lowering and differentiation are the compiler's,
 * the latter checked by finite differences; no pass after them and no kernel takes part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/file.h"
#include "compiler/base/map.h"
#include "compiler/front/config.h"
#include "compiler/ir/graph_eval.h"
#include "compiler/pass/autodiff.h"
#include "compiler/pass/simplify.h"
#include "runtime/rt_data.h"
#include "runtime/rt_safetensors.h"

typedef struct Tensor {
	const char *name;        /* Hugging Face name */
	int ndim;
	int64_t dim[MAX_RANK], elems;
	double *grad;            /* NULL: it gets none */
} Tensor;

typedef struct Oracle {
	Arena *a;
	Diag *d;
	Model *m;
	Joint *joint;            /* per class */
	double ***weights;       /* [instance][weight] */
	double ***grads;         /* [instance][weight], NULL where there is none */
	VEC(Tensor) tensors;     /* experts one by one, in model order */
	Map index;               /* name -> tensor */
	double loss;
} Oracle;

/* ---- the model ---- */

static _Noreturn void fail(const char *what, const char *detail)
{
	fprintf(stderr, "oracle: %s: %s\n", what, detail);
	exit(1);
}

static void load_model(Oracle *o, const char *path, const char *config, int64_t seq)
{
	ModelSource src = {.path = path, .models_dir = GLMC_SOURCE_DIR "/models"};
	LowerOptions opt = {.compute = DT_f32, .storage = DT_f32, .s_max = seq};
	Config *c = config ? config_load(o->a, o->d, config) : NULL;
	if (c) {
		opt.sizes = c->sizes;
		opt.nsizes = c->n;
	}
	o->m = config && !c ? NULL : model_load(o->a, o->d, &src, &opt);
	if (!o->m)
		exit(1);
	o->joint = ARENA_ARRAY(o->a, Joint, o->m->nclasses);
	for (uint32_t i = 0; i < o->m->nclasses; i++) {
		LayerClass *l = &o->m->classes[i];
		l->fwd = simplify_graph(o->a, l->fwd, 0);
		o->joint[i] = autodiff(o->a, l->fwd, l->weights, l->nweights);
	}
}

static int64_t experts_of(const WeightDecl *d)
{
	return d->stacked ? d->type.dim[0].n : 1;
}

/* Name of expert e of a weight. */
static const char *tensor_name(const Oracle *o, uint32_t instance, const WeightDecl *d, int64_t e)
{
	const char *hit = d->stacked ? strstr(d->name, "{e}") : NULL, *prefix = o->m->instances[instance].prefix;
	if (!hit)
		return arena_printf(o->a, "%s%s", prefix, d->name);
	return arena_printf(o->a, "%s%.*s%lld%s", prefix, (int)(hit - d->name), d->name, (long long)e, hit + 3);
}

static Tensor *find_tensor(Oracle *o, const char *name)
{
	int64_t i;
	return map_get(&o->index, name, &i) ? &o->tensors.v[i] : NULL;
}

static const WeightDecl *decl_of(const Oracle *o, uint32_t instance, uint32_t w)
{
	return &o->m->classes[o->m->instances[instance].cls].weights[w];
}

static uint32_t count_weights(const Oracle *o, uint32_t instance)
{
	return o->m->classes[o->m->instances[instance].cls].nweights;
}

static void add_tensor(Oracle *o, const char *name, const WeightDecl *d)
{
	Tensor t = {.name = name, .elems = 1};
	for (int k = d->stacked ? 1 : 0; k < d->type.rank; k++) {
		t.dim[t.ndim++] = d->type.dim[k].n;
		t.elems *= d->type.dim[k].n;
	}
	if (find_tensor(o, name))
		return;
	map_set(&o->index, name, o->tensors.n);
	vec_push(o->a, &o->tensors, t);
}

static void list_tensors(Oracle *o)
{
	o->index = map_new(o->a);
	for (uint32_t i = 0; i < o->m->ninstances; i++)
		for (uint32_t w = 0; w < count_weights(o, i); w++)
			for (int64_t e = 0; e < experts_of(decl_of(o, i, w)); e++)
				add_tensor(o, tensor_name(o, i, decl_of(o, i, w), e), decl_of(o, i, w));
}

static void print_shapes(const Oracle *o)
{
	for (uint32_t i = 0; i < o->tensors.n; i++) {
		printf("%s", o->tensors.v[i].name);
		for (int k = 0; k < o->tensors.v[i].ndim; k++)
			printf(" %lld", (long long)o->tensors.v[i].dim[k]);
		printf("\n");
	}
}

/* ---- weights ---- */

static void read_weight(Oracle *o, const RtSt *st, uint32_t i, uint32_t w)
{
	const WeightDecl *d = decl_of(o, i, w);
	char err[RT_ST_ERR] = "";
	int64_t n = type_row(&d->type) / experts_of(d);
	float *raw = ARENA_ARRAY(o->a, float, n + 1);
	double *x = o->weights[i][w] = ARENA_ARRAY(o->a, double, type_row(&d->type) + 1);
	for (int64_t e = 0; e < experts_of(d); e++) {
		const char *name = tensor_name(o, i, d, e);
		const RtStTensor *t = rt_st_find(st, name);
		if (!t || t->elems != n)
			fail(name, "missing in the checkpoint, or of another size");
		if (!rt_st_read(st, t, 0, n, raw, err))
			fail(name, err);
		for (int64_t k = 0; k < n; k++)
			x[e * n + k] = raw[k];
	}
}

static bool has_gradient(const Joint *j, uint32_t w)
{
	for (uint32_t k = 0; k < j->g->outputs.n; k++)
		if (j->g->outputs.v[k].kind == PORT_WGRAD && j->g->outputs.v[k].index == w)
			return true;
	return false;
}

static void load_weights(Oracle *o, const char *dir)
{
	char err[RT_ST_ERR] = "";
	RtSt *st = rt_st_open(dir, err);
	if (!st)
		fail(dir, err);
	o->weights = ARENA_ARRAY(o->a, double **, o->m->ninstances);
	o->grads = ARENA_ARRAY(o->a, double **, o->m->ninstances);
	for (uint32_t i = 0; i < o->m->ninstances; i++) {
		o->weights[i] = ARENA_ARRAY(o->a, double *, count_weights(o, i) + 1);
		o->grads[i] = ARENA_ARRAY(o->a, double *, count_weights(o, i) + 1);
		for (uint32_t w = 0; w < count_weights(o, i); w++) {
			read_weight(o, st, i, w);
			if (has_gradient(&o->joint[o->m->instances[i].cls], w))
				o->grads[i][w] = ARENA_ARRAY(o->a, double, type_row(&decl_of(o, i, w)->type) + 1);
		}
	}
	rt_st_free(st);
}

/* ---- one microbatch ---- */

enum { MAX_CARRIED = 60 };

/* Carried values, or their gradients, by name. */
typedef struct Carried {
	EvalInput v[MAX_CARRIED + 2];
	uint32_t n;
} Carried;

static int find_carried(const Carried *c, const char *name)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (strcmp(c->v[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void set_carried(Carried *c, const char *name, const double *v)
{
	int at = find_carried(c, name);
	if (at < 0 && c->n == MAX_CARRIED)
		fail(name, "too many carried values");
	if (at < 0)
		c->v[c->n++] = (EvalInput){name, v};
	else
		c->v[at].v = v;
}

static const char *gradient_of(const char *name)
{
	return strncmp(name, "grad.", 5) == 0 ? name + 5 : NULL;
}

typedef struct Microbatch {
	Arena *a;
	EvalEnv env;
	Carried *before;         /* [instance] values it starts from */
} Microbatch;

static void forward(Oracle *o, Microbatch *mb, Carried now)
{
	for (uint32_t i = 0; i < o->m->ninstances; i++) {
		const Graph *g = o->m->classes[o->m->instances[i].cls].fwd;
		EvalEnv env = mb->env;
		mb->before[i] = now;
		env.inputs = mb->before[i].v;
		env.ninputs = now.n;
		env.weights = (const double *const *)o->weights[i];
		const Eval *e = graph_eval(mb->a, g, &env);
		for (uint32_t k = 0; k < g->outputs.n; k++) {
			const Port *p = &g->outputs.v[k];
			if (p->kind == PORT_CARRY)
				set_carried(&now, p->name, eval_val(e, p->val)->v);
			else if (p->kind == PORT_LOSS)
				o->loss += eval_val(e, p->val)->v[0];
		}
	}
}

static double *sum(Arena *a, const double *x, const double *y, int64_t n)
{
	double *s = ARENA_ARRAY(a, double, n + 1);
	for (int64_t i = 0; i < n; i++)
		s[i] = x[i] + (y ? y[i] : 0);
	return s;
}

static int64_t elements(const EvalTensor *t)
{
	return t->rows * t->row;
}

/* Inputs of the joint graph: what the instance started from, and the gradients of its results: zero
 * for those nobody read. */
static Carried backward_inputs(const Microbatch *mb, const Graph *g, uint32_t i, const Carried *grads)
{
	Carried in = mb->before[i];
	for (uint32_t k = 0; k < g->nodes.n; k++) {
		const Node *n = &g->nodes.v[k];
		const char *name = n->op == OP_input ? graph_val(g, n->out[0])->name : "";
		const char *of = gradient_of(name);
		if (!of)
			continue;
		int at = find_carried(grads, of);
		int64_t size = type_row(graph_type(g, n->out[0])) * mb->env.tokens;
		set_carried(&in, name, at >= 0 && grads->v[at].v ? grads->v[at].v : ARENA_ARRAY(mb->a, double, size));
	}
	return in;
}

/* What the instance made is new: its gradient ends here. What it read gets its share added. */
static void take_gradients(Oracle *o, Microbatch *mb, const Eval *e, uint32_t i, Carried *grads)
{
	const Graph *g = e->g;
	for (uint32_t k = 0; k < g->outputs.n; k++)
		if (g->outputs.v[k].kind == PORT_CARRY && !gradient_of(g->outputs.v[k].name))
			set_carried(grads, g->outputs.v[k].name, NULL);
	for (uint32_t k = 0; k < g->outputs.n; k++) {
		const Port *p = &g->outputs.v[k];
		const EvalTensor *t = eval_val(e, p->val);
		const char *of = p->kind == PORT_CARRY ? gradient_of(p->name) : NULL;
		if (p->kind == PORT_WGRAD)
			for (int64_t x = 0; x < elements(t); x++)
				o->grads[i][p->index][x] += t->v[x];
		if (!of)
			continue;
		int at = find_carried(grads, of);
		set_carried(grads, of, sum(mb->a, t->v, at >= 0 ? grads->v[at].v : NULL, elements(t)));
	}
}

static void backward(Oracle *o, Microbatch *mb)
{
	Carried grads = {0};
	for (uint32_t i = o->m->ninstances; i-- > 0;) {
		const Graph *g = o->joint[o->m->instances[i].cls].g;
		Carried in = backward_inputs(mb, g, i, &grads);
		EvalEnv env = mb->env;
		env.inputs = in.v;
		env.ninputs = in.n;
		env.weights = (const double *const *)o->weights[i];
		take_gradients(o, mb, graph_eval(mb->a, g, &env), i, &grads);
	}
}

static const double *widen(Arena *a, const int32_t *x, int64_t n)
{
	double *y = ARENA_ARRAY(a, double, n + 1);
	for (int64_t i = 0; i < n; i++)
		y[i] = x[i];
	return y;
}

static void run_microbatch(Oracle *o, const RtBatch *b, int i)
{
	Microbatch mb = {.a = arena_new()};
	Carried start = {0};
	mb.env = (EvalEnv){.tokens = b->tokens[i], .ndoc = b->ndoc[i], .cu = b->cu + i * (b->docs + 1)};
	mb.before = ARENA_ARRAY(mb.a, Carried, o->m->ninstances);
	set_carried(&start, "tokens", widen(mb.a, b->ids + i * b->t_max, b->tokens[i]));
	set_carried(&start, "labels", widen(mb.a, b->labels + i * b->t_max, b->tokens[i]));
	forward(o, &mb, start);
	backward(o, &mb);
	arena_free(mb.a);
}

/* ---- the step ---- */

static int64_t run_step(Oracle *o, const char *rows, int n, int64_t seq)
{
	char err[400] = "";
	RtDataOptions opt = {.path = rows, .seq_max = seq, .vocab = o->m->vocab_size, .dp = 1, .docs = 1, .mbs = n,
	                     .runs = 1};
	RtBatch b;
	RtData *d = rt_data_open(&opt, err);
	if (!d || !rt_batch_init(&b, n, 1, seq))
		fail(rows, err);
	rt_data_step(d, 0, &b);
	for (int i = 0; i < n; i++)
		run_microbatch(o, &b, i);
	rt_data_free(d);
	free(b.tokens);
	free(b.ndoc);
	free(b.cu);
	free(b.pos);
	free(b.ids);
	free(b.labels);
	return b.label_tokens;
}

/* Gradients by tensor: two instances may share one. */
static void gather_gradients(Oracle *o, double scale)
{
	for (uint32_t i = 0; i < o->m->ninstances; i++)
		for (uint32_t w = 0; w < count_weights(o, i); w++)
			for (int64_t e = 0; o->grads[i][w] && e < experts_of(decl_of(o, i, w)); e++) {
				Tensor *t = find_tensor(o, tensor_name(o, i, decl_of(o, i, w), e));
				if (!t->grad)
					t->grad = ARENA_ARRAY(o->a, double, t->elems + 1);
				for (int64_t k = 0; k < t->elems; k++)
					t->grad[k] += o->grads[i][w][e * t->elems + k] * scale;
			}
}

static void write_gradients(Oracle *o, const char *dir)
{
	char err[RT_ST_ERR] = "";
	RtStWriter w;
	VEC(RtStTensor) list = {0};
	for (uint32_t i = 0; i < o->tensors.n; i++) {
		const Tensor *t = &o->tensors.v[i];
		RtStTensor s = {.name = arena_strdup(o->a, t->name), .dtype = "F32", .ndim = t->ndim, .elems = t->elems};
		memcpy(s.dim, t->dim, sizeof t->dim);
		if (t->grad)
			vec_push(o->a, &list, s);
	}
	if (!file_make_dirs(dir) ||
	    !rt_st_create(&w, path_join(o->a, dir, "grads.safetensors"), list.v, list.n, err))
		fail(dir, err);
	for (uint32_t i = 0; i < o->tensors.n; i++) {
		const Tensor *t = &o->tensors.v[i];
		float *x = ARENA_ARRAY(o->a, float, t->elems + 1);
		for (int64_t k = 0; t->grad && k < t->elems; k++)
			x[k] = (float)t->grad[k];
		if (t->grad && !rt_st_write(&w, x, t->elems, false, err))
			fail(dir, err);
	}
	if (!rt_st_close(&w, err))
		fail(dir, err);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: oracle MODEL [--config C] [--seq S] shapes\n"
	                "       oracle MODEL [--config C] [--seq S] step CHECKPOINT ROWS N OUT_DIR\n");
	exit(2);
}

int main(int argc, char **argv)
{
	Oracle o = {.a = arena_new()};
	const char *config = NULL;
	int64_t seq = 32;
	int at = 2;
	for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
		if (strcmp(argv[at], "--config") == 0)
			config = argv[at + 1];
		else if (strcmp(argv[at], "--seq") == 0)
			seq = strtoll(argv[at + 1], NULL, 10);
		else
			usage();
	}
	bool shapes = argc == at + 1 && strcmp(argv[at], "shapes") == 0;
	bool step = argc == at + 5 && strcmp(argv[at], "step") == 0;
	if (!shapes && !step)
		usage();
	o.d = diag_new(o.a);
	load_model(&o, argv[1], config, seq);
	list_tensors(&o);
	if (shapes) {
		print_shapes(&o);
	} else {
		load_weights(&o, argv[at + 1]);
		int64_t labels = run_step(&o, argv[at + 2], (int)strtol(argv[at + 3], NULL, 10), seq);
		gather_gradients(&o, 1 / (double)labels);
		write_gradients(&o, argv[at + 4]);
		printf("{\"loss\": %.17g, \"label_tokens\": %lld}\n", o.loss / (double)labels, (long long)labels);
	}
	arena_free(o.a);
	return 0;
}
