/* steps.c - see steps.h. */
#include "steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/pass/cluster.h"

typedef struct Run {
	Arena *a;
	const StepsInput *in;
	const Fn *fn;
	const Eval *want;
	char **mem;              /* per buffer */
	size_t *bytes;
	bool *made;              /* per buffer: a step has written it */
	bool *unknown;           /* per buffer: working memory that a step passed over should have written */
	int32_t *pos, *cu;
	StepsResult result;
} Run;

/* ---- numbers in memory ---- */

static uint16_t to_bf16(double x)
{
	float f = (float)x;
	uint32_t u;
	memcpy(&u, &f, 4);
	if ((u & 0x7fffffff) <= 0x7f800000)
		u += 0x7fff + (u >> 16 & 1);
	return (uint16_t)(u >> 16);
}

static double get(const char *mem, DType t, int64_t i)
{
	uint32_t u;
	float f;
	switch (t) {
	case DT_f64: return ((const double *)(const void *)mem)[i];
	case DT_f32: return ((const float *)(const void *)mem)[i];
	case DT_i32: return ((const int32_t *)(const void *)mem)[i];
	case DT_u32: return ((const uint32_t *)(const void *)mem)[i];
	case DT_bf16: break;
	}
	u = (uint32_t)((const uint16_t *)(const void *)mem)[i] << 16;
	memcpy(&f, &u, 4);
	return f;
}

static void put(char *mem, DType t, int64_t i, double x)
{
	switch (t) {
	case DT_f64: ((double *)(void *)mem)[i] = x; break;
	case DT_f32: ((float *)(void *)mem)[i] = (float)x; break;
	case DT_i32: ((int32_t *)(void *)mem)[i] = (int32_t)x; break;
	case DT_u32: ((uint32_t *)(void *)mem)[i] = (uint32_t)x; break;
	case DT_bf16: ((uint16_t *)(void *)mem)[i] = to_bf16(x); break;
	}
}

/* ---- buffers ---- */

static const Type *type_of(const Run *r, uint32_t k)
{
	return graph_type(r->fn->graph, r->fn->bufs.v[k].val);
}

/* Rows of a buffer that grows with R: those of its region. */
static int64_t region_rows(const Run *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	if (f->val.i)
		return r->want->rows[type_of(r, k)->dim[0].id].n;
	int64_t most = 0;
	for (uint32_t i = 0; i < r->fn->graph->rows; i++)
		most = r->want->rows[i].n > most ? r->want->rows[i].n : most;
	return most;
}

static void fill_rope(Run *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	float *t = (float *)(void *)r->mem[k];
	for (int64_t p = 0; p < r->in->seq_max; p++)
		for (uint32_t i = 0; i < f->index / 2; i++) {
			double angle = (double)p * pow(f->theta, -2.0 * i / f->index);
			t[p * f->index + 2 * i] = (float)cos(angle);
			t[p * f->index + 2 * i + 1] = (float)sin(angle);
		}
}

static void make_buffer(Run *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	int64_t rows = f->rows == ROWS_T ? r->want->env->tokens : f->rows == ROWS_R ? region_rows(r, k) : 1;
	if (f->blocks_of)
		rows = (rows + f->blocks_of - 1) / f->blocks_of;
	size_t n = f->role == BUF_ROPE ? (size_t)r->in->seq_max * f->index * 4 : (size_t)(rows * f->row_bytes);
	void *p = NULL;
	if (posix_memalign(&p, 256, n + !n))
		abort();
	r->mem[k] = p;
	r->bytes[k] = n;
	memset(p, 0xff, n);
	if (f->role == BUF_ROPE)
		fill_rope(r, k);
}

static int64_t elements(const Run *r, uint32_t k)
{
	return (int64_t)(r->bytes[k] / dtype_size(type_of(r, k)->dtype));
}

/* What a sum starts from, so that adding shows. */
static double base(int64_t i)
{
	return (double)(i % 7) / 8;
}

static void force(Run *r, uint32_t k)
{
	const EvalTensor *t = eval_val(r->want, r->fn->bufs.v[k].val);
	for (int64_t i = 0; i < elements(r, k); i++)
		put(r->mem[k], type_of(r, k)->dtype, i, t->v[i]);
}

static void begin_sum(Run *r, uint32_t k)
{
	for (int64_t i = 0; i < elements(r, k) && !r->made[k]; i++)
		put(r->mem[k], type_of(r, k)->dtype, i, base(i));
}

/* ---- comparison ---- */

/* Largest error in units of the largest magnitude. A flipped rounding to bf16 on the way to a result costs one
 * unit of bf16, 2^-8; without bf16 there is only the rounding of float32. */
static double tolerance(const Run *r, DType t)
{
	return t == DT_i32 || t == DT_u32 ? 0 : t == DT_bf16 ? 1.0 / 128 : r->want->env->bf16 ? 2e-3 : 2e-5;
}

static void compare(Run *r, const char *who, uint32_t k, char mode, int64_t first, int64_t n)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	const EvalTensor *t = eval_val(r->want, f->val);
	DType d = type_of(r, k)->dtype;
	double top = 1e-2, worst = 0;
	int64_t at = first;
	for (int64_t i = first; i < first + n; i++) {
		double want = t->v[i] + (mode == 'a' ? base(i) : 0), error = fabs(get(r->mem[k], d, i) - want);
		top = fmax(top, fabs(want));
		if (!(error <= worst)) {
			worst = isnan(error) ? INFINITY : error;
			at = i;
		}
	}
	if (worst <= tolerance(r, d) * top)
		return;
	fprintf(stderr, "%s, %s: argument %s: element %lld is %.9g, expected %.9g (%.1e of the largest)\n", r->fn->name, who,
	        f->name ? f->name : "", (long long)at, get(r->mem[k], d, at), t->v[at] + (mode == 'a' ? base(at) : 0),
	        worst / top);
	r->result.failed++;
}

/* ---- products: what RT_GEMM is to compute, in plain loops ---- */

typedef struct Operand {
	char *mem;
	DType t;
} Operand;

static double element(Operand x, int64_t i)
{
	return get(x.mem, x.t, i);
}

/* Element (row, n) of form 0 and 1, (n, k) of form 2, for one head of `heads`. */
static double product(const Gemm *g, Operand a, Operand b, int64_t rows, int64_t i, int64_t j, int64_t h)
{
	int64_t heads = g->heads ? g->heads : 1, n = g->ncol, k = g->kcol;
	double sum = 0;
	if (g->form == 2)
		for (int64_t r = 0; r < rows; r++)
			sum += element(a, (r * heads + h) * n + i) * element(b, (r * heads + h) * k + j);
	else
		for (int64_t x = 0; x < k; x++)
			sum += element(a, (i * heads + h) * k + x) *
			       element(b, g->form == 0 ? (h * n + j) * k + x : (h * k + x) * n + j);
	return sum;
}

static int64_t gemm_rows(const Run *r, const Step *s)
{
	const Gemm *g = &s->gemm;
	if (g->rows == ROWS_NONE)
		return g->nrow;
	int64_t all = g->rows == ROWS_T ? r->want->env->tokens : region_rows(r, s->arg[0]);
	int64_t left = all - g->row0 > 0 ? all - g->row0 : 0;
	return g->nrow && g->nrow < left ? g->nrow : left;
}

static void run_gemm(Run *r, const Step *s)
{
	const Gemm *g = &s->gemm;
	int64_t rows = gemm_rows(r, s), heads = g->heads ? g->heads : 1;
	int64_t ni = g->form == 2 ? g->ncol : rows, nj = g->form == 2 ? g->kcol : g->ncol;
	Operand x[4];
	for (uint32_t k = 0; k < s->narg; k++)
		x[k] = (Operand){r->mem[s->arg[k]] + s->off[k], k == 0 ? g->a : k == 1 ? g->b : g->c};
	bool adds = g->acc || s->narg == 4;
	for (int64_t h = 0; h < heads; h++)
		for (int64_t i = 0; i < ni; i++)
			for (int64_t j = 0; j < nj; j++) {
				int64_t to = g->form == 2 ? (h * ni + i) * nj + j : (i * heads + h) * nj + j;
				double sum = product(g, x[0], x[1], rows, i, j, h);
				put(x[2].mem, g->c, to, sum + (adds ? element(x[s->narg - 1], to) : 0));
			}
}

/* ---- launches ---- */

/* The routed rows of the loop around step `at`: those of whatever has some in it. NULL outside. */
static const EvalRows *rows_around(const Run *r, uint32_t at)
{
	uint32_t loop = at;
	while (loop > 0 && r->fn->steps.v[loop].kind != STEP_ROUNDS)
		loop--;
	if (r->fn->steps.v[loop].kind != STEP_ROUNDS || at > loop + r->fn->steps.v[loop].body)
		return NULL;
	for (uint32_t i = loop + 1; i <= loop + r->fn->steps.v[loop].body; i++)
		for (uint32_t k = 0; k < r->fn->steps.v[i].narg; k++) {
			const FnBuf *f = &r->fn->bufs.v[r->fn->steps.v[i].arg[k]];
			if (f->rows == ROWS_R && f->val.i)
				return &r->want->rows[graph_type(r->fn->graph, f->val)->dim[0].id];
		}
	return NULL;
}

static int32_t *narrow(Arena *a, const int64_t *x, int64_t n)
{
	int32_t *y = ARENA_ARRAY(a, int32_t, n + 1);
	for (int64_t i = 0; i < n; i++)
		y[i] = (int32_t)x[i];
	return y;
}

/* The tables of a single round. */
static void set_rows(const Run *r, const EvalRows *rows, GlmcEnv *env)
{
	if (!rows)
		return;
	env->R = (int)rows->n;
	env->group = env->begin = narrow(r->a, rows->first, rows->experts + 1);
	env->order = narrow(r->a, rows->slot, rows->n);
	env->topk = (int)rows->topk;
}

static int grid_blocks(const RtKernelInfo *k, const GlmcEnv *env)
{
	int rows = k->grid == RT_GRID_T ? env->T : env->R;
	if (k->grid == RT_GRID_FIXED || k->grid == RT_GRID_SMS)
		return k->times * (k->grid == RT_GRID_SMS ? 3 : 1);
	return (rows + k->per - 1) / k->per * k->times;
}

static bool encode_maps(const Run *r, const Kernel *k, GlmcCall *c)
{
	for (uint32_t i = 0; i < k->nmaps; i++) {
		const RtMap *m = &k->maps[i];
		int elem = m->dtype == RT_bf16 ? 2 : 4;
		int64_t outer = m->rows == RT_ROWS_CONST ? m->outer : m->rows == RT_ROWS_T ? r->want->env->tokens : c->env.R;
		const char *wrong = simt_map_encode(&c->map[i], elem, c->arg[m->arg], outer > 0 ? outer : 1, m->inner,
		                                    m->inner * elem, m->box_outer, m->box_inner, SIMT_SWIZZLE_128);
		if (wrong) {
			fprintf(stderr, "%s: map %u: %s\n", k->name, i, wrong);
			return false;
		}
	}
	return true;
}

static bool run_launch(Run *r, uint32_t at)
{
	const Step *s = &r->fn->steps.v[at];
	const Kernel *k = &r->in->kernels->kernels.v[s->kernel];
	GlmcCall c = {.env = {.T = (int)r->want->env->tokens, .ndoc = r->want->env->ndoc, .cu = r->cu, .pos = r->pos}};
	set_rows(r, rows_around(r, at), &c.env);
	for (uint32_t i = 0; i < s->narg; i++)
		c.arg[i] = r->mem[s->arg[i]] + (s->off ? s->off[i] : 0);
	for (int i = 0; i < s->nint; i++)
		c.n[i] = s->n[i];
	bool ok = encode_maps(r, k, &c) && simt_launch(r->in->run[s->kernel], &c, grid_blocks(&k->launch, &c.env),
	                                               k->launch.threads, k->launch.shared, r->in->seed) == SIMT_OK;
	if (!ok)
		fprintf(stderr, "%s, %s: %s\n", r->fn->name, k->name, simt_message());
	return ok;
}

/* ---- steps ---- */

static void modes(const Run *r, const Step *s, RtAccess *x)
{
	if (s->kind == STEP_GEMM) {
		x[0].mode = x[1].mode = x[3].mode = 'r';
		x[2].mode = s->gemm.acc ? 'a' : 'w';
		return;
	}
	const char *text = r->in->kernels->kernels.v[s->kernel].launch.access;
	for (uint32_t i = 0; i < s->narg; i++)
		rt_access(&text, &x[i]);
}

/* A later step of the same operator writes the rest of this result. */
static bool comes_again(const Run *r, uint32_t at, uint32_t k)
{
	for (uint32_t i = at + 1; i < r->fn->steps.n; i++) {
		const Step *s = &r->fn->steps.v[i];
		RtAccess x[GLMC_ARGS];
		if (s->kind != STEP_LAUNCH && s->kind != STEP_GEMM)
			continue;
		modes(r, s, x);
		for (uint32_t j = 0; j < s->narg; j++)
			if (s->arg[j] == k && x[j].mode != 'r')
				return true;
	}
	return false;
}

static void check_step(Run *r, uint32_t at)
{
	const Step *s = &r->fn->steps.v[at];
	RtAccess x[GLMC_ARGS];
	modes(r, s, x);
	for (uint32_t i = 0; i < s->narg; i++) {
		bool value = r->fn->bufs.v[s->arg[i]].val.i != 0;
		if (value && x[i].mode == 'r')
			force(r, s->arg[i]);
		if (value && x[i].mode == 'a')
			begin_sum(r, s->arg[i]);
	}
	r->result.steps++;
	if (s->kind == STEP_GEMM) {
		run_gemm(r, s);
	} else if (!run_launch(r, at)) {
		r->result.failed++;
		return;
	}
	for (uint32_t i = 0; i < s->narg; i++) {
		uint32_t k = s->arg[i];
		if (x[i].mode == 'r')
			continue;
		r->made[k] = true;
		if (r->fn->bufs.v[k].val.i && !comes_again(r, at, k))
			compare(r, s->kind == STEP_GEMM ? "product" : r->in->kernels->kernels.v[s->kernel].name, k, x[i].mode, 0,
			        elements(r, k));
	}
}

/* A step whose template is missing, or that goes on from what such a step leaves. */
static bool pass_over(Run *r, const Step *s)
{
	bool missing = s->kind == STEP_LAUNCH && !r->in->run[s->kernel];
	for (uint32_t i = 0; i < s->narg; i++)
		missing |= r->unknown[s->arg[i]];
	for (uint32_t i = 0; i < s->narg; i++)
		if (missing && !r->fn->bufs.v[s->arg[i]].val.i)
			r->unknown[s->arg[i]] = true;
	r->result.passed_over += missing;
	return missing;
}

StepsResult steps_check(Arena *a, const StepsInput *in)
{
	uint32_t n = in->fn->bufs.n;
	Run r = {.a = a, .in = in, .fn = in->fn, .want = in->want};
	r.mem = ARENA_ARRAY(a, char *, n + 1);
	r.bytes = ARENA_ARRAY(a, size_t, n + 1);
	r.made = ARENA_ARRAY(a, bool, n + 1);
	r.unknown = ARENA_ARRAY(a, bool, n + 1);
	r.pos = ARENA_ARRAY(a, int32_t, in->want->env->tokens + 1);
	r.cu = arena_copy(a, in->want->env->cu, ((size_t)in->want->env->ndoc + 1) * sizeof(int32_t));
	for (int64_t t = 0; t < in->want->env->tokens; t++)
		r.pos[t] = (int32_t)in->want->place[t];
	for (uint32_t k = 0; k < n; k++)
		make_buffer(&r, k);
	for (uint32_t i = 0; i < in->fn->steps.n; i++) {
		const Step *s = &in->fn->steps.v[i];
		if ((s->kind == STEP_GEMM || s->kind == STEP_LAUNCH) && !pass_over(&r, s))
			check_step(&r, i);
	}
	for (uint32_t k = 0; k < n; k++)
		free(r.mem[k]);
	return r.result;
}
