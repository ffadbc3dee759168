/* repro.c - `glmc repro DIR KERNEL [-o OUT]`: a kernel of a build folder alone, with data and the results that the
 * interpreter expects, as a C++ test that runs on the CPU shim and on a GPU.
 *
 * The passes run again from the inputs that the manifest names. A step of a function is an operator's, or
 * that of a cluster of row code; other kernels that share working memory with it belong to the test.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../runtime/rt_scan.h"
#include "base/file.h"
#include "base/status.h"
#include "driver.h"
#include "ir/graph_eval.h"
#include "ir/subgraph.h"
#include "pass/cluster.h"

enum { TOKENS = 96, MAX_BUFS = 64 };     /* a microbatch of so many tokens, or as many as the build allows */

static const double most_bytes = 4e9;    /* of the interpreter's values */

typedef struct Repro {
	Arena *a;
	Comp *c;
	const char *kernel, *out;
	const Fn *fn;
	bool *step, *buf;        /* per step and buffer of fn: part of the test */
	char *mode;              /* per buffer: r, w or a, from its first use; 0 none */
	uint32_t input[MAX_BUFS], result[MAX_BUFS], nin, nout;
	Graph *part;
	Val at[MAX_BUFS];        /* per input: value of the part */
	const Eval *want;
	int32_t tokens, ndoc, cu[TOKENS + 1];
	uint64_t state;
} Repro;

static bool failed(const Repro *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool failed(const Repro *r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "glmc: error: %s: ", r->kernel);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	return false;
}

/* ---- what the manifest says about the build ---- */

typedef struct Words {
	VEC(char *) v;
} Words;

static bool read_words(Arena *a, RtScan *s, Words *w)
{
	const char *value;
	size_t n;
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']')) {
		if (!rt_scan_value(s, &value, &n) || n < 2)
			return false;
		vec_push(a, &w->v, arena_strndup(a, value + 1, n - 2));
	}
	return !s->error;
}

static bool read_arguments(Arena *a, const char *dir, Words *w)
{
	size_t n = 0;
	char key[64];
	char *text = file_read(a, path_join(a, dir, "manifest.json"), &n);
	if (!text) {
		fprintf(stderr, "glmc: error: %s is no build folder: it has no manifest.json\n", dir);
		return false;
	}
	RtScan s = rt_scan(text, n);
	for (bool more = rt_scan_open(&s, '{'); more; more = rt_scan_next(&s, '}')) {
		if (!rt_scan_key(&s, key, sizeof key))
			break;
		if (!(strcmp(key, "arguments") == 0 ? read_words(a, &s, w) : rt_scan_skip(&s)))
			break;
	}
	if (!s.error && w->v.n)
		return true;
	fprintf(stderr, "glmc: error: %s/manifest.json does not say how it was built\n", dir);
	return false;
}

/* ---- which steps ---- */

static char access_of(const Repro *r, const Step *s, uint32_t k)
{
	const char *text = r->c->kernels.kernels.v[s->kernel].launch.access;
	RtAccess x = {.mode = 'r'};
	for (uint32_t i = 0; i <= k; i++)
		rt_access(&text, &x);
	return x.mode;
}

static bool shares_work(const Repro *r, const Step *s)
{
	for (uint32_t k = 0; k < s->narg; k++) {
		const FnBuf *f = &r->fn->bufs.v[s->arg[k]];
		if (!f->val.i && f->role == BUF_LOCAL && r->buf[s->arg[k]])
			return true;
	}
	return false;
}

/* Takes step `at` and what shares working memory with it. */
static bool take_steps(Repro *r, uint32_t at)
{
	r->step = ARENA_ARRAY(r->a, bool, r->fn->steps.n);
	r->buf = ARENA_ARRAY(r->a, bool, r->fn->bufs.n);
	r->mode = ARENA_ARRAY(r->a, char, r->fn->bufs.n);
	for (bool more = true; more;) {
		more = false;
		for (uint32_t i = 0; i < r->fn->steps.n; i++) {
			const Step *s = &r->fn->steps.v[i];
			if (r->step[i] || (i != at && !shares_work(r, s)))
				continue;
			more = r->step[i] = true;
			for (uint32_t k = 0; k < s->narg; k++)
				r->buf[s->arg[k]] = true;
			if (s->kind != STEP_LAUNCH)
				return failed(r, "its operator needs products of cuBLASLt between its kernels, it cannot run alone");
		}
	}
	return true;
}

static bool find_step(Repro *r)
{
	for (uint32_t i = 0; i < 4 * r->c->model->nclasses; i++) {
		Fn **of[] = {r->c->f, r->c->b, r->c->i, r->c->w};
		r->fn = of[i % 4][i / 4];
		for (uint32_t k = 0; r->fn && k < r->fn->steps.n; k++) {
			const Step *s = &r->fn->steps.v[k];
			if (s->kind == STEP_LAUNCH && strcmp(r->c->kernels.kernels.v[s->kernel].name, r->kernel) == 0)
				return take_steps(r, k);
		}
	}
	return failed(r, "no layer of the model runs this kernel; it is the runtime's own, or of another build");
}

static bool sort_buffers(Repro *r)
{
	for (uint32_t i = 0; i < r->fn->steps.n; i++) {
		const Step *s = &r->fn->steps.v[i];
		for (uint32_t k = 0; r->step[i] && k < s->narg; k++) {
			char mode = access_of(r, s, k), *m = &r->mode[s->arg[k]];
			if (!*m || (*m == 'r' && mode != 'r'))
				*m = mode;
		}
	}
	for (uint32_t k = 0; k < r->fn->bufs.n; k++) {
		if (!r->mode[k] || !r->fn->bufs.v[k].val.i)
			continue;
		if (r->nin == MAX_BUFS || r->nout == MAX_BUFS)
			return failed(r, "more than %d operands", MAX_BUFS);
		if (r->mode[k] == 'r')
			r->input[r->nin++] = k;
		else
			r->result[r->nout++] = k;
	}
	return true;
}

/* ---- data ---- */

/* Documents of 1, 31 and 64 tokens, none longer than S_max. */
static void make_documents(Repro *r)
{
	static const int32_t length[] = {1, TOKENS / 3 - 1};
	int64_t longest = r->c->mesh.seq_max, all = r->c->mesh.tokens_max;
	r->tokens = all < TOKENS ? (int32_t)all : TOKENS;
	while (r->cu[r->ndoc] < r->tokens) {
		int32_t at = r->cu[r->ndoc], n = r->ndoc < 2 ? length[r->ndoc] : TOKENS;
		n = n < r->tokens - at ? n : r->tokens - at;
		r->cu[++r->ndoc] = at + (n < longest ? n : (int32_t)longest);
	}
}

static double unit(Repro *r)
{
	uint64_t z = r->state += 0x9E3779B97F4A7C15;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
	z = (z ^ z >> 27) * 0x94D049BB133111EB;
	return ldexp((double)((z ^ z >> 31) >> 11), -53);
}

static uint16_t to_bf16(double x)
{
	float f = (float)x;
	uint32_t u;
	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static double from_bf16(uint16_t x)
{
	uint32_t u = (uint32_t)x << 16;
	float f;
	memcpy(&f, &u, 4);
	return f;
}

/* Ids, tokens and labels of input v are below this. */
static int64_t limit_of(const Repro *r, Val v)
{
	for (uint32_t i = 0; i < r->part->nodes.n; i++) {
		const Node *n = &r->part->nodes.v[i];
		for (uint32_t k = 0; k < n->nin; k++) {
			if (n->in[k].i != v.i)
				continue;
			if (n->op == OP_gather || n->op == OP_cross_entropy_grad)
				return graph_type(r->part, n->in[0])->dim[1].n;
			return n->op == OP_embedding ? graph_type(r->part, n->in[1])->dim[0].n : n->op == OP_embedding_grad ? n->i[1] : n->i[0];
		}
	}
	return 1;
}

/* Ascending and distinct, as routing has them. */
static void fill_ids(Repro *r, double *x, int64_t k, int64_t limit)
{
	int64_t need = k, at = 0;
	for (int64_t e = 0; e < limit && need; e++)
		if (unit(r) * (double)(limit - e) < (double)need) {
			x[at++] = (double)e;
			need--;
		}
}

static void fill_selection(Repro *r, double *x, int64_t words)
{
	for (int64_t i = 0; i < r->tokens * words; i++)
		x[i] = floor(unit(r) * 4294967296.0);
	for (int32_t d = 0; d < r->ndoc; d++)
		for (int32_t t = r->cu[d]; t < r->cu[d + 1]; t++) {
			int32_t own = t - r->cu[d];
			x[t * words + own / 32] = (double)((uint32_t)x[t * words + own / 32] | 1u << own % 32);
		}
}

static double *fill(Repro *r, Val v)
{
	const Type *t = graph_type(r->part, v);
	bool rows = type_has_rows(t);
	int64_t row = type_row(t), n = row * (rows ? r->tokens : 1), limit = limit_of(r, v);
	double *x = ARENA_ARRAY(r->a, double, n + 1), scale = !rows && t->rank > 1 ? sqrt(3.0 / (double)t->dim[t->rank - 1].n) : 1;
	if (t->dtype == DT_u32)
		fill_selection(r, x, row);
	for (int64_t i = 0; t->dtype == DT_i32 && i < n / row; i++)
		fill_ids(r, x + i * row, row, limit);
	for (int64_t i = 0; i < n && t->dtype != DT_i32 && t->dtype != DT_u32; i++) {
		double y = scale * (2 * unit(r) - 1);
		x[i] = t->dtype == DT_bf16 ? from_bf16(to_bf16(y)) : (float)y;
	}
	return x;
}

static double bytes_of_part(const Repro *r)
{
	double sum = 0;
	for (uint32_t i = 0; i < r->part->vals.n; i++) {
		const Type *t = &r->part->vals.v[i].type;
		sum += 8 * (double)type_row(t) * (type_has_rows(t) ? r->tokens : 1);
	}
	return sum;
}

static bool evaluate(Repro *r)
{
	SubgraphInput in[MAX_BUFS];
	Val out[MAX_BUFS];
	for (uint32_t k = 0; k < r->nin; k++)
		in[k] = (SubgraphInput){r->fn->bufs.v[r->input[k]].val, arena_printf(r->a, "b%u", r->input[k])};
	for (uint32_t k = 0; k < r->nout; k++)
		out[k] = r->fn->bufs.v[r->result[k]].val;
	r->part = subgraph_cut(r->a, r->fn->graph, in, r->nin, out, r->nout, r->c->mesh.ep, r->at);
	if (bytes_of_part(r) > most_bytes)
		return failed(r, "the interpreter would need %.1f GB", bytes_of_part(r) / 1e9);
	EvalInput *data = ARENA_ARRAY(r->a, EvalInput, MAX_BUFS + 1);
	EvalEnv *env = ARENA_NEW(r->a, EvalEnv);
	*env = (EvalEnv){.tokens = r->tokens, .ndoc = r->ndoc, .cu = r->cu, .inputs = data, .bf16 = r->c->compute == DT_bf16};
	for (uint32_t i = 0; i < r->part->nodes.n; i++) {
		Val v = r->part->nodes.v[i].out[0];
		if (r->part->nodes.v[i].op == OP_input)
			data[env->ninputs++] = (EvalInput){graph_val(r->part, v)->name, fill(r, v)};
	}
	r->want = graph_eval(r->a, r->part, env);
	return true;
}

/* ---- files ---- */

static void put_element(Text *t, DType type, double x)
{
	float f = (float)x;
	int32_t i = type == DT_u32 ? (int32_t)(uint32_t)x : (int32_t)x;
	uint16_t b = to_bf16(x);
	const void *from = type == DT_f64 ? (const void *)&x : type == DT_f32 ? (const void *)&f : type == DT_bf16 ? (const void *)&b
	                                                                                                    : (const void *)&i;
	text_put(t, from, dtype_size(type));
}

static bool write_out(const Repro *r, const char *name, const Text *t)
{
	const char *path = path_join(r->a, r->out, name);
	return file_write(path, t->s ? t->s : "", t->n, false) || failed(r, "cannot write %s: %s", path, strerror(errno));
}

static bool write_values(const Repro *r, const char *name, DType type, const EvalTensor *x)
{
	Text t = {0};
	for (int64_t i = 0; i < x->rows * x->row; i++)
		put_element(&t, type, x->v[i]);
	bool ok = write_out(r, name, &t);
	text_free(&t);
	return ok;
}

static bool write_rope(const Repro *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	Text t = {0};
	for (int p = 0; p < r->tokens; p++)
		for (uint32_t i = 0; i < f->index / 2; i++) {
			double angle = p * pow(f->theta, -2.0 * i / f->index);
			put_element(&t, DT_f32, cos(angle));
			put_element(&t, DT_f32, sin(angle));
		}
	bool ok = write_out(r, arena_printf(r->a, "b%u.bin", k), &t);
	text_free(&t);
	return ok;
}

static const EvalTensor *value_of(const Repro *r, uint32_t k)
{
	for (uint32_t i = 0; i < r->nin; i++)
		if (r->input[i] == k)
			return eval_val(r->want, r->at[i]);
	for (uint32_t i = 0; i < r->nout; i++)
		if (r->result[i] == k)
			return eval_output(r->want, PORT_CARRY, arena_printf(r->a, "r%u", i), 0);
	return NULL;
}

static DType dtype_of(const Repro *r, uint32_t k)
{
	return graph_type(r->fn->graph, r->fn->bufs.v[k].val)->dtype;
}

static const char *c_type(DType t)
{
	static const char *const names[] = {[DT_f32] = "float", [DT_bf16] = "bf16", [DT_f64] = "double", [DT_i32] = "int",
	                                    [DT_u32] = "u32"};
	return names[t];
}

/* Operands from files, results from NaN (or, where a kernel adds, from zeros), working memory. */
static bool declare(const Repro *r, uint32_t k, Text *t)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	if (f->role == BUF_ROPE) {
		text_add(t, "\tArray<float> b%u = read<float>(\"b%u.bin\", %lld);\n", k, k, (long long)r->tokens * f->index);
		return write_rope(r, k);
	}
	if (!f->val.i) {
		int64_t rows = f->rows == ROWS_NONE ? 1 : f->blocks_of ? (r->tokens + f->blocks_of - 1) / f->blocks_of : r->tokens;
		text_add(t, "\tArray<u8> b%u(%lld);\n", k, (long long)(rows * f->row_bytes));
		return true;
	}
	const EvalTensor *x = value_of(r, k);
	DType type = dtype_of(r, k);
	long long n = (long long)(x->rows * x->row);
	bool input = r->mode[k] == 'r';
	const char *name = arena_printf(r->a, input ? "b%u.bin" : "want%u.bin", k);
	if (input)
		text_add(t, "\tArray<%s> b%u = read<%s>(\"%s\", %lld);\n", c_type(type), k, c_type(type), name, n);
	else
		text_add(t, "\tArray<%s> b%u(%lld), want%u = read<%s>(\"%s\", %lld);\n%s", c_type(type), k, n, k, c_type(type), name, n,
		         r->mode[k] == 'a' ? arena_printf(r->a, "\tb%u.zero();\n", k) : "");
	return write_values(r, name, type, x);
}

static void add_env(const Repro *r, Text *t)
{
	const EvalRows *rows = r->part->rows ? &r->want->rows[0] : NULL;
	text_add(t, "\tstatic const int cu[] = {0");
	for (int32_t d = 1; d <= r->ndoc; d++)
		text_add(t, ", %d", r->cu[d]);
	text_add(t, "};\n\tstd::vector<int> pos(%d);\n"
	            "\tfor (int d = 0; d < %d; d++)\n\t\tfor (int i = cu[d]; i < cu[d + 1]; i++)\n\t\t\tpos[i] = i - cu[d];\n"
	            "\tArray<int> group(%lld);\n",
	         r->tokens, r->ndoc, rows ? (long long)rows->experts + 1 : 1);
	for (int64_t e = 0; rows && e <= rows->experts; e++)
		text_add(t, "\tgroup[%lld] = %lld;\n", (long long)e, (long long)rows->first[e]);
	text_add(t, "\tGlmcCall base = {};\n\tbase.env.T = base.env.R = %d;\n\tbase.env.ndoc = %d;\n\tbase.env.cu = cu;\n"
	            "\tbase.env.pos = pos.data();\n\tbase.env.group = group.data();\n", r->tokens, r->ndoc);
}

static int blocks(const Repro *r, const RtKernelInfo *k)
{
	if (k->grid == RT_GRID_FIXED || k->grid == RT_GRID_SMS)
		return k->times * (k->grid == RT_GRID_SMS ? 4 : 1);
	return (r->tokens + k->per - 1) / k->per * k->times;
}

static void add_launch(const Repro *r, const Step *s, Text *t)
{
	const Kernel *k = &r->c->kernels.kernels.v[s->kernel];
	text_add(t, "\t{\n\t\tGlmcCall c = base;\n");
	for (uint32_t i = 0; i < s->narg; i++)
		text_add(t, "\t\tc.arg[%u] = b%u.data();\n", i, s->arg[i]);
	for (int i = 0; i < s->nint; i++)
		text_add(t, "\t\tc.n[%d] = %lld;\n", i, (long long)s->n[i]);
	for (uint32_t i = 0; i < k->nmaps; i++) {
		const RtMap *m = &k->maps[i];
		text_add(t, "\t\tmap_2d(&c.map[%u], %d, c.arg[%d], %lld, %lld, %d, %d);\n", i, m->dtype == RT_bf16 ? 2 : 4, m->arg,
		         m->rows == RT_ROWS_CONST ? (long long)m->outer : r->tokens, (long long)m->inner, m->box_outer, m->box_inner);
	}
	text_add(t, "\t\trun(\"%s\", %s, c, %d, %d, %d, 1);\n\t}\n", k->name, k->name, blocks(r, &k->launch), k->launch.threads,
	         k->launch.shared);
}

static bool write_test(const Repro *r)
{
	Text t = {0};
	bool ok = true;
	text_add(&t, "/* Kernel %s alone, made for %s: what it computes is compared with the interpreter. */\n"
	             "#include \"harness.h\"\n\n", r->kernel, r->fn->name);
	for (uint32_t i = 0; i < r->fn->steps.n; i++)
		if (r->step[i])
			text_add(&t, "extern \"C\" void %s(GlmcCall c);\n", r->c->kernels.kernels.v[r->fn->steps.v[i].kernel].name);
	text_add(&t, "%s",
	         "\ntemplate <class T> static Array<T> read(const char *path, size_t n)\n{\n\tArray<T> a(n);\n"
	         "\tFILE *f = fopen(path, \"rb\");\n\tif (!f || fread(a.data(), sizeof(T), n, f) != n) {\n"
	         "\t\tfprintf(stderr, \"cannot read %s\\n\", path);\n\t\texit(2);\n\t}\n\tfclose(f);\n\treturn a;\n}\n\n"
	         "template <class T> static void compare(const char *what, const Array<T> &got, const Array<T> &want, double tolerance)\n"
	         "{\n\tstd::vector<double> w(want.size());\n\tdouble top = 0.01, worst = 0;\n"
	         "\tfor (size_t i = 0; i < w.size(); i++) {\n\t\tw[i] = (double)value(want[i]);\n"
	         "\t\ttop = std::fmax(top, std::fabs(w[i]));\n\t\tdouble error = std::fabs((double)value(got[i]) - w[i]);\n\t\tworst = error > worst || error != error ? error : worst;\n\t}\n"
	         "\tprintf(\"%-24s %zu elements, largest %.3g, error %.2e of it\\n\", what, w.size(), top, worst / top);\n"
	         "\tcheck_close(what, got, w, tolerance, 0.01);\n}\n\nint main()\n{\n");
	for (uint32_t k = 0; ok && k < r->fn->bufs.n; k++)
		ok = !r->mode[k] || declare(r, k, &t);
	add_env(r, &t);
	for (uint32_t i = 0; i < r->fn->steps.n; i++)
		if (r->step[i])
			add_launch(r, &r->fn->steps.v[i], &t);
	for (uint32_t i = 0; i < r->nout; i++) {
		DType type = dtype_of(r, r->result[i]);
		const char *tolerance = type == DT_bf16 ? "1.0 / 128" : type == DT_f32 ? "2e-3" : type == DT_f64 ? "1e-5" : "0";
		const char *name = r->fn->bufs.v[r->result[i]].name;
		text_add(&t, "\tcompare(\"%s\", b%u, want%u, %s);\n", name ? name : "result", r->result[i], r->result[i], tolerance);
	}
	text_add(&t, "\treturn check_done();\n}\n");
	ok = ok && write_out(r, "test.cpp", &t);
	text_free(&t);
	return ok;
}

/* Sources of the kernels, as the build folder has them now: with what was edited there. */
static bool write_sources(const Repro *r, const char *dir, Text *files)
{
	for (uint32_t i = 0; i < r->fn->steps.n; i++) {
		if (!r->step[i])
			continue;
		const char *name = r->c->kernels.kernels.v[r->fn->steps.v[i].kernel].name;
		Text t = {0};
		char *source = file_read(r->a, arena_printf(r->a, "%s/kernels/%s.cu", dir, name), NULL);
		if (!source)
			return failed(r, "%s/kernels has no %s.cu: it was made from other inputs", dir, name);
		text_add(&t, "%s", source);
		bool ok = write_out(r, arena_printf(r->a, "%s.cu", name), &t);
		text_free(&t);
		if (!ok)
			return false;
		if (!files->n || !strstr(files->s, name))
			text_add(files, " %s", name);
	}
	return true;
}

static bool write_script(const Repro *r, const char *files)
{
	Text t = {0};
	const Install *in = &r->c->install;
	text_add(&t,
	         "#!/bin/sh\n# Builds and runs the test on the CPU. Set TEMPLATES, SIMT or CXX for other places.\nset -eu\n"
	         "cd \"$(dirname \"$0\")\"\nTEMPLATES=${TEMPLATES:-%s/cuda}\nSIMT=${SIMT:-%s}\nCXX=${CXX:-c++}\n"
	         "flags=\"-std=c++17 -O1 -w -Wno-psabi -I$TEMPLATES -I$SIMT\"\n"
	         "for f in barrier block clock copy fiber hooks launch map race warp wgmma; do\n"
	         "\t[ -f simt_$f.o ] || $CXX $flags -c $SIMT/$f.cpp -o simt_$f.o\ndone\n"
	         "for k in%s; do\n\t$CXX $flags -fsanitize=thread -x c++ -c $k.cu -o $k.o\ndone\n"
	         "$CXX $flags -fsanitize=thread -c test.cpp -o test.o\n$CXX *.o -lpthread -ldl -o test\nexec ./test\n",
	         in->templates, in->simt, files);
	const char *path = path_join(r->a, r->out, "run.sh");
	bool ok = file_write(path, t.s, t.n, true) || failed(r, "cannot write %s: %s", path, strerror(errno));
	text_free(&t);
	return ok;
}

static bool write_all(Repro *r, const char *dir)
{
	Text files = {0};
	if (!file_make_dirs(r->out))
		return failed(r, "cannot make %s: %s", r->out, strerror(errno));
	bool ok = write_sources(r, dir, &files) && write_test(r) && write_script(r, files.s ? files.s : "");
	text_free(&files);
	return ok;
}

int command_repro(Arena *a, const Options *o)
{
	Words w = {.v = {0}};
	Options build;
	const char *dir = o->operands.v[0], *kernel = o->operands.v[1];
	if (!read_arguments(a, dir, &w) || !options_parse(a, &build, (int)w.v.n, w.v.v))
		return ST_INPUT;
	build.quiet = true;
	build.time = false;
	Repro r = {.a = a, .c = comp_new(a, &build), .kernel = kernel, .state = 1,
	           .out = o->out ? o->out : arena_printf(a, "repro.%s", kernel)};
	if (!driver_read(r.c) || !driver_run(r.c, "fuse"))
		return driver_status(r.c);
	if (!r.c->cuda) {
		failed(&r, "only kernels of the cuda target run alone");
		return ST_INPUT;
	}
	make_documents(&r);
	if (!find_step(&r) || !sort_buffers(&r) || !evaluate(&r) || !write_all(&r, dir))
		return ST_INPUT;
	printf("%s: run %s/run.sh\n", kernel, r.out);
	return ST_OK;
}
