/* repro_files.c - what the test of a kernel has on either target, see repro_int.h: operands and results as they lie in
 * memory, the sources of its kernels, and the outline of its program. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "base/file.h"
#include "repro_int.h"

static bool write_file(const Repro *r, const char *name, const Text *t, bool executable)
{
	const char *path = path_join(r->a, r->out, name);
	return file_write(path, t->s ? t->s : "", t->n, executable) ||
	       repro_failed(r, "cannot write %s: %s", path, strerror(errno));
}

/* ---- buffers ---- */

static void put_element(Text *t, DType type, double x)
{
	float f = (float)x;
	int32_t i = type == DT_u32 ? (int32_t)(uint32_t)x : (int32_t)x;
	uint16_t b = bf16_bits(x);
	const void *from = type == DT_f64 ? (const void *)&x : type == DT_f32 ? (const void *)&f : type == DT_bf16 ? (const void *)&b
	                                                                                                    : (const void *)&i;
	text_put(t, from, dtype_size(type));
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

static void put_rope(const Repro *r, const FnBuf *f, Text *t)
{
	for (int p = 0; p < r->tokens; p++)
		for (uint32_t i = 0; i < f->index / 2; i++) {
			double angle = p * pow(f->theta, -2.0 * i / f->index);
			put_element(t, DT_f32, cos(angle));
			put_element(t, DT_f32, sin(angle));
		}
}

static bool write_buffer(const Repro *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	const EvalTensor *x = f->val.i ? value_of(r, k) : NULL;
	Text t = {0};
	for (int64_t i = 0; x && i < repro_elements(r, k); i++)
		put_element(&t, repro_dtype(r, k), x->v[i]);
	if (f->role == BUF_ROPE)
		put_rope(r, f, &t);
	bool ok = write_file(r, arena_printf(r->a, r->mode[k] == 'r' ? "b%u.bin" : "want%u.bin", k), &t, false);
	text_free(&t);
	return ok;
}

static bool write_buffers(const Repro *r)
{
	bool ok = true;
	for (uint32_t k = 0; ok && k < r->fn->bufs.n; k++)
		if (r->mode[k] && !repro_is_work(r, k))
			ok = write_buffer(r, k);
	return ok;
}

int64_t repro_elements(const Repro *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	if (f->role == BUF_ROPE)
		return (int64_t)r->tokens * f->index;
	if (f->val.i)
		return value_of(r, k)->rows * value_of(r, k)->row;
	int64_t rows = f->rows == ROWS_NONE ? 1 : f->blocks_of ? (r->tokens + f->blocks_of - 1) / f->blocks_of : r->tokens;
	return rows * f->row_bytes;
}

DType repro_dtype(const Repro *r, uint32_t k)
{
	const FnBuf *f = &r->fn->bufs.v[k];
	return f->val.i ? graph_type(r->fn->graph, f->val)->dtype : DT_f32;
}

double repro_tolerance(const Repro *r, uint32_t k)
{
	DType t = repro_dtype(r, k);
	if (t == DT_bf16)
		return 1.0 / 128;
	return t == DT_f64 ? 1e-5 : t != DT_f32 ? 0 : r->c->compute == DT_bf16 ? 2e-3 : 2e-5;
}

/* ---- sources ---- */

/* Names of the kernels, each once, are appended to `names`, with a blank before each. */
static bool write_sources(const Repro *r, const char *extension, Text *names)
{
	for (uint32_t i = 0; i < r->fn->steps.n; i++) {
		if (!r->step[i])
			continue;
		const char *name = repro_kernel(r, &r->fn->steps.v[i])->name, *file = arena_printf(r->a, "%s.%s", name, extension);
		Text t = {0};
		char *source = file_read(r->a, arena_printf(r->a, "%s/kernels/%s", r->dir, file), NULL);
		if (!source)
			return repro_failed(r, "%s/kernels has no %s: it was made from other inputs", r->dir, file);
		text_add(&t, "%s", source);
		bool ok = write_file(r, file, &t, false);
		text_free(&t);
		if (!ok)
			return false;
		if (!names->n || !strstr(names->s, name))
			text_add(names, " %s", name);
	}
	return true;
}

/* ---- the program ---- */

static void add_kernels(const Repro *r, const ReproTarget *target, Text *t)
{
	for (uint32_t i = 0; i < r->fn->steps.n; i++)
		if (r->step[i])
			target->kernel(repro_kernel(r, &r->fn->steps.v[i])->name, t);
}

static void add_main(const Repro *r, const ReproTarget *target, Text *t)
{
	text_add(t, "%s", target->main);
	for (uint32_t k = 0; k < r->fn->bufs.n; k++)
		if (r->mode[k])
			target->declare(r, k, t);
	target->env(r, t);
	for (uint32_t i = 0; i < r->fn->steps.n; i++)
		if (r->step[i])
			target->launch(r, &r->fn->steps.v[i], t);
	for (uint32_t i = 0; i < r->nout; i++) {
		const char *name = r->fn->bufs.v[r->result[i]].name;
		target->compare(r, r->result[i], name ? name : "result", t);
	}
	text_add(t, "%s", target->end);
}

static bool write_program(const Repro *r, const ReproTarget *target)
{
	Text t = {0};
	text_add(&t, "/* Kernel %s alone, made for %s: what it computes is compared with the interpreter. */\n%s", r->kernel,
	         r->fn->name, target->include);
	add_kernels(r, target, &t);
	text_add(&t, "%s", target->helpers);
	add_main(r, target, &t);
	bool ok = write_file(r, target->test, &t, false);
	text_free(&t);
	return ok;
}

static bool write_script(const Repro *r, const ReproTarget *target, const char *kernels)
{
	Text t = {0};
	target->script(r, kernels, &t);
	bool ok = write_file(r, "run.sh", &t, true);
	text_free(&t);
	return ok;
}

bool repro_write_test(const Repro *r, const ReproTarget *target)
{
	Text names = {0};
	bool ok = write_sources(r, target->extension, &names) && write_buffers(r) && write_program(r, target) &&
	          write_script(r, target, names.s ? names.s : "");
	text_free(&names);
	return ok;
}
