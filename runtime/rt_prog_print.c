/* rt_prog_print.c - rt_prog_print: a rank program as text. */
#include "rt_prog_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Out {
	char *s;
	size_t n, cap;
} Out;

static void put(Out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(Out *o, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (o->n + (size_t)n + 1 > o->cap) {
		o->cap = (o->n + (size_t)n + 1) * 2;
		char *s = realloc(o->s, o->cap);
		if (!s)
			abort();
		o->s = s;
	}
	vsnprintf(o->s + o->n, (size_t)n + 1, fmt, again);
	va_end(again);
	o->n += (size_t)n;
}

/* ` name=value` for every field, with `none` for those that differ from it. */
static void put_fields(Out *o, RtFields fields, const void *base, const void *none)
{
	for (const RtField *f = fields.list; f < fields.list + fields.n; f++)
		if (!none || rt_field_get(base, f) != rt_field_get(none, f))
			put(o, " %s=%lld", f->name, rt_field_get(base, f));
}

static void print_settings(Out *o, const char *keyword, const RtSetting *s, int n)
{
	for (int i = 0; i < n; i++)
		put(o, "%s %s %s\n", keyword, s[i].key, s[i].value);
}

static void print_kernels(Out *o, const RtProg *p)
{
	for (int i = 0; i < p->nkernel; i++) {
		put(o, "kernel %s", p->kernels[i].name);
		put_fields(o, rt_kernel_fields, &p->kernels[i], &(RtKernelInfo){0});
		put(o, " ; %s\n", p->kernels[i].access ? p->kernels[i].access : "");
	}
	for (int i = 0; i < p->nmap; i++) {
		put(o, "map");
		put_fields(o, rt_map_fields, &p->maps[i], &(RtMap){0});
		put(o, "\n");
	}
}

static const char *dtype_name(RtDType t)
{
	return rt_dtype_names.name[t];
}

static void print_unit(Out *o, const RtUnit *u)
{
	put(o, "unit %s %s %s %s", u->name, u->group == RT_GROUP_EXPERT ? "expert" : "dp", dtype_name(u->dtype),
	    dtype_name(u->stored));
	put_fields(o, rt_unit_fields, u, NULL);
	put(o, "\n");
}

static void print_tensor(Out *o, const RtTensor *t)
{
	put(o, "tensor %s %s", t->name, dtype_name(t->stored));
	put_fields(o, rt_tensor_fields, t, NULL);
	put(o, " init=%c std=%.17g ndim=%d", t->init ? t->init : 'n', t->init_std, t->ndim);
	for (int d = 0; d < t->ndim; d++)
		put(o, " %lld", (long long)t->dim[d]);
	put(o, "\n");
}

static void print_parameters(Out *o, const RtProg *p)
{
	for (int i = 0; i < p->nunit; i++)
		print_unit(o, &p->units[i]);
	for (int i = 0; i < p->ntensor; i++)
		print_tensor(o, &p->tensors[i]);
	for (int i = 0; i < p->nbalance; i++) {
		put(o, "balance");
		put_fields(o, rt_balance_fields, &p->balances[i], NULL);
		put(o, "\n");
	}
}

static void print_buffers(Out *o, const RtProg *p)
{
	for (int i = 0; i < p->nbuf; i++) {
		const RtBuf *b = &p->bufs[i];
		put(o, "buf %s %llu %llu %d %d %s\n", rt_buf_names.name[b->kind], (unsigned long long)b->off,
		    (unsigned long long)b->bytes, b->first, b->last, b->name);
	}
	for (int i = 0; i < p->nact; i++) {
		const RtAct *x = &p->acts[i];
		put(o, "act %s %d %d %d %d\n", rt_act_name(x->kind), x->stage, x->mb, x->first, x->count);
	}
}

static void print_instr(Out *o, const RtProg *p, const RtInstr *in)
{
	RtInstr none = rt_instr(in->op);
	put(o, "%s", rt_op_name(in->op));
	put_fields(o, rt_instr_fields, in, &none);
	if (in->narg)
		put(o, " arg");
	for (int k = 0; k < in->narg; k++)
		put(o, " %llu", (unsigned long long)in->arg[k]);
	if (in->nint)
		put(o, " int");
	for (int k = 0; k < in->nint; k++)
		put(o, " %lld", (long long)in->n[k]);
	put(o, " ;");
	if (in->kernel >= 0)
		put(o, " %s:", p->kernels[in->kernel].name);
	put(o, " %s\n", in->note ? in->note : "");
}

char *rt_prog_print(const RtProg *p, size_t *size)
{
	Out o = {0};
	put(&o, "glmc-program 1\nmodel %s\n", p->model);
	for (const RtField *f = rt_prog_fields.list; f < rt_prog_fields.list + rt_prog_fields.n; f++)
		put(&o, "size %s %lld\n", f->name, rt_field_get(p, f));
	print_settings(&o, "setting", p->settings, p->nsetting);
	print_settings(&o, "config", p->config, p->nconfig);
	print_kernels(&o, p);
	print_parameters(&o, p);
	print_buffers(&o, p);
	for (int i = 0; i < p->ninstr; i++)
		print_instr(&o, p, &p->instrs[i]);
	put(&o, "end\n");
	*size = o.n;
	return o.s;
}
