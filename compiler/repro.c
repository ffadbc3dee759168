/* repro.c - `glmc repro DIR KERNEL [-o OUT]`: a kernel of a build folder alone, with data and the results that the
 * interpreter expects: for the cuda target a C++ test that runs on the CPU shim and on a GPU, for the host target a C
 * test.
 *
 * The passes run again from the inputs that the manifest names, in the folder where the build was started. A step of a
 * function is an operator's, or that of a cluster of row code; other kernels that share working memory with it belong
 * to the test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../runtime/rt_scan.h"
#include "base/file.h"
#include "base/status.h"
#include "ir/subgraph.h"
#include "pass/cluster.h"
#include "repro_int.h"

static const double most_bytes = 4e9;    /* of the interpreter's values */

bool repro_failed(const Repro *r, const char *fmt, ...)
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

/* The command line and the folder it was given in. */
typedef struct Start {
	VEC(char *) words;
	char folder[4096];       /* "": not recorded */
} Start;

static bool read_words(Arena *a, RtScan *s, Start *start)
{
	const char *value;
	size_t n;
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']')) {
		if (!rt_scan_value(s, &value, &n) || n < 2)
			return false;
		vec_push(a, &start->words, arena_strndup(a, value + 1, n - 2));
	}
	return !s->error;
}

static bool read_start(Arena *a, const char *dir, Start *start)
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
		bool ok = strcmp(key, "arguments") == 0 ? read_words(a, &s, start)
		          : strcmp(key, "folder") == 0  ? rt_scan_string(&s, start->folder, sizeof start->folder)
		                                        : rt_scan_skip(&s);
		if (!ok)
			break;
	}
	if (!s.error && start->words.n)
		return true;
	fprintf(stderr, "glmc: error: %s/manifest.json does not say how it was built\n", dir);
	return false;
}

/* ---- which steps ---- */

static char access_of(const Repro *r, const Step *s, uint32_t k)
{
	const char *text = repro_kernel(r, s)->launch.access;
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
				return repro_failed(r, "it shares working memory with %s, it cannot run alone",
				                    s->kind == STEP_GEMM ? "a product of cuBLASLt" : "an exchange between ranks");
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
			if (s->kind == STEP_LAUNCH && strcmp(repro_kernel(r, s)->name, r->kernel) == 0)
				return take_steps(r, k);
		}
	}
	return repro_failed(r, "no layer of the model runs this kernel; it is the runtime's own, or of another build");
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
		if (r->nin == REPRO_BUFS || r->nout == REPRO_BUFS)
			return repro_failed(r, "more than %d operands", REPRO_BUFS);
		if (r->mode[k] == 'r')
			r->input[r->nin++] = k;
		else
			r->result[r->nout++] = k;
	}
	return true;
}

/* ---- what the interpreter makes of it ---- */

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
	SubgraphInput in[REPRO_BUFS];
	Val out[REPRO_BUFS];
	for (uint32_t k = 0; k < r->nin; k++)
		in[k] = (SubgraphInput){r->fn->bufs.v[r->input[k]].val, arena_printf(r->a, "b%u", r->input[k])};
	for (uint32_t k = 0; k < r->nout; k++)
		out[k] = r->fn->bufs.v[r->result[k]].val;
	r->part = subgraph_cut(r->a, r->fn->graph, in, r->nin, out, r->nout, r->c->mesh.ep, r->at);
	if (bytes_of_part(r) > most_bytes)
		return repro_failed(r, "the interpreter would need %.1f GB", bytes_of_part(r) / 1e9);
	EvalInput *data = ARENA_ARRAY(r->a, EvalInput, REPRO_BUFS + 1);
	EvalEnv *env = ARENA_NEW(r->a, EvalEnv);
	*env = (EvalEnv){.tokens = r->tokens, .ndoc = r->ndoc, .cu = r->cu, .inputs = data, .bf16 = r->c->compute == DT_bf16};
	for (uint32_t i = 0; i < r->part->nodes.n; i++) {
		Val v = r->part->nodes.v[i].out[0];
		if (r->part->nodes.v[i].op == OP_input)
			data[env->ninputs++] = (EvalInput){graph_val(r->part, v)->name, repro_fill(r, v)};
	}
	r->want = graph_eval(r->a, r->part, env);
	return true;
}

/* Reads the build's inputs from where it was started. */
static bool read_inputs(Repro *r, const Start *start)
{
	if (*start->folder && chdir(start->folder) != 0)
		fprintf(stderr, "glmc: error: cannot go to %s: %s\n", start->folder, strerror(errno));
	else if (driver_read(r->c))
		return true;
	fprintf(stderr, "help: a test is made from the inputs of %s, as they were when it was built in %s: bring them "
	                "back, or build again\n", r->dir, *start->folder ? start->folder : "this folder");
	return false;
}

int command_repro(Arena *a, const Options *o)
{
	Start start = {.folder = ""};
	Options build;
	const char *dir = o->operands.v[0], *kernel = o->operands.v[1], *here = path_current(a);
	const char *out = o->out ? o->out : arena_printf(a, "repro.%s", kernel);
	if (!read_start(a, dir, &start) || !options_parse(a, &build, (int)start.words.n, start.words.v))
		return ST_INPUT;
	build.quiet = true;
	build.time = false;
	Repro r = {.a = a, .c = comp_new(a, &build), .kernel = kernel, .dir = path_join(a, here, dir), .state = 1,
	           .out = path_join(a, here, out)};
	if (!read_inputs(&r, &start) || !driver_run(r.c, "fuse"))
		return driver_status(r.c);
	repro_make_documents(&r);
	if (!find_step(&r) || !sort_buffers(&r) || !evaluate(&r))
		return ST_INPUT;
	if (!file_make_dirs(r.out)) {
		repro_failed(&r, "cannot make %s: %s", r.out, strerror(errno));
		return ST_INPUT;
	}
	if (!repro_write_test(&r, r.c->cuda ? &repro_cuda : &repro_host))
		return ST_INPUT;
	printf("%s: run %s/run.sh\n", kernel, out);
	return ST_OK;
}
