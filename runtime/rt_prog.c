/* rt_prog.c - the text form of a rank program.
 *
 * One item per line: a keyword, then `name=value` words, then for instructions a note after `;`.
 * Numbers are decimal; an instruction's arguments are arena offsets. The reader accepts what the
 * printer writes and checks every index and offset, so that a damaged file is a message and not a
 * wild access.
 */
#include "rt_own.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const op_names[] = {
	"launch", "send", "recv", "counts", "rounds", "dispatch", "collect", "gather", "reduce", "zero",
	"optimizer", "gemm", "record", "wait",
};
static const char *const dtype_names[] = {"f32", "bf16", "f64", "i32", "u32"};

static const char *const buf_names[] = {"table", "value", "gradient", "received", "work"};
static const char *const act_names[] = {"F", "B", "I", "W"};

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))
enum { OPS = COUNT(op_names), DTYPES = COUNT(dtype_names), BUFS = COUNT(buf_names), ACTS = COUNT(act_names) };

const char *rt_op_name(RtOp op)
{
	return op_names[op];
}

const char *rt_act_name(RtActKind k)
{
	return act_names[k];
}

/* ---- access words ---- */

bool rt_access(const char **text, RtAccess *out)
{
	const char *s = *text + strspn(*text, " ");
	char *end;
	if (!*s || !strchr("rwa", *s) || !isdigit((unsigned char)s[1]))
		return false;
	*out = (RtAccess){.mode = *s};
	out->bytes = strtoull(s + 1, &end, 10);
	if (*end && strchr("TRS", *end))
		out->rows = *end++;
	if (out->rows && *end == '/' && isdigit((unsigned char)end[1]))
		out->block = strtoull(end + 1, &end, 10);
	*text = end;
	return *end == 0 || *end == ' ';
}

uint64_t rt_access_bytes(const RtProg *p, const RtAccess *x)
{
	uint64_t rows = x->rows == 'T' ? (uint64_t)p->tokens_max : x->rows == 'R' ? (uint64_t)p->rows_max
	                : x->rows == 'S' ? (uint64_t)p->seq_max : 1;
	if (x->block)
		rows = (rows + x->block - 1) / x->block;
	return rows * x->bytes;
}

/* ---- the scalar fields, once for printer and reader ---- */

typedef struct Field {
	const char *name;
	size_t offset;
	char kind;               /* i int, l int64, u uint64, b bool */
} Field;

#define F(name, kind) {#name, offsetof(RtProg, name), kind}
static const Field prog_fields[] = {
	F(world, 'i'), F(pp, 'i'), F(dp, 'i'), F(ep, 'i'), F(ep_shard, 'i'), F(pp_rank, 'i'),
	F(microbatches, 'i'), F(runs, 'i'), F(docs_max, 'i'), F(tokens_max, 'l'), F(seq_max, 'l'),
	F(rows_max, 'l'), F(xchs, 'i'), F(slots_max, 'l'), F(experts_max, 'l'), F(arena_bytes, 'u'),
	F(thread_scratch, 'u'), F(tokens, 'u'), F(labels, 'u'), F(loss, 'u'), F(has_tokens, 'b'),
	F(has_labels, 'b'), F(flops_per_token, 'l'), F(k_adam, 'i'), F(k_sumsq, 'i'),
	F(own, 'u'), F(k_slots, 'i'), F(k_pack, 'i'), F(k_unpack, 'i'), F(streams, 'i'), F(events, 'i'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtInstr, name), kind}
static const Field instr_fields[] = {
	F(kernel, 'i'), F(peer, 'i'), F(unit, 'i'), F(mb, 'i'), F(stage, 'i'), F(layer, 'i'), F(xch, 'i'),
	F(bal, 'i'), F(topk, 'i'), F(experts, 'i'), F(body, 'i'), F(per_slot, 'b'), F(row_bytes, 'u'),
	F(bytes, 'u'), F(stream, 'i'), F(event, 'i'), F(form, 'i'), F(rows, 'i'), F(heads, 'i'), F(nrow, 'l'),
	F(row0, 'l'), F(ncol, 'l'), F(kcol, 'l'), F(adt, 'i'), F(bdt, 'i'), F(cdt, 'i'), F(acc, 'b'),
};
#undef F
#define F(name, kind) {#name, offsetof(RtKernelInfo, name), kind}
static const Field kernel_fields[] = {F(threads, 'i'), F(shared, 'i'), F(grid, 'i'), F(per, 'i'), F(times, 'i'),
                                      F(choice, 'i'), F(choice_bytes, 'i')};
#undef F
#define F(name, kind) {#name, offsetof(RtMap, name), kind}
static const Field map_fields[] = {
	F(kernel, 'i'), F(arg, 'i'), F(dtype, 'i'), F(rows, 'i'), F(outer, 'l'), F(inner, 'l'), F(box_outer, 'i'),
	F(box_inner, 'i'),
};
#undef F

enum { PROG_FIELDS = sizeof prog_fields / sizeof *prog_fields,
       INSTR_FIELDS = sizeof instr_fields / sizeof *instr_fields,
       KERNEL_FIELDS = sizeof kernel_fields / sizeof *kernel_fields,
       MAP_FIELDS = sizeof map_fields / sizeof *map_fields };

static long long field_get(const void *base, const Field *f)
{
	const char *p = (const char *)base + f->offset;
	switch (f->kind) {
	case 'i': return *(const int *)(const void *)p;
	case 'l': return *(const int64_t *)(const void *)p;
	case 'u': return (long long)*(const uint64_t *)(const void *)p;
	default: return *(const bool *)(const void *)p;
	}
}

static void field_set(void *base, const Field *f, long long x)
{
	char *p = (char *)base + f->offset;
	switch (f->kind) {
	case 'i': *(int *)(void *)p = (int)x; break;
	case 'l': *(int64_t *)(void *)p = x; break;
	case 'u': *(uint64_t *)(void *)p = (uint64_t)x; break;
	default: *(bool *)(void *)p = x != 0;
	}
}

RtInstr rt_instr(RtOp op)
{
	return (RtInstr){.op = op, .kernel = -1, .peer = -1, .unit = -1, .mb = -1, .stage = -1, .layer = -1, .bal = -1};
}

/* ---- printing ---- */

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

/* ` name=value` for every field that differs from `none`. */
static void print_fields(Out *o, const Field *list, int n, const void *base, const void *none)
{
	for (int f = 0; f < n; f++)
		if (field_get(base, &list[f]) != field_get(none, &list[f]))
			put(o, " %s=%lld", list[f].name, field_get(base, &list[f]));
}

static void print_tables(Out *o, const RtProg *p)
{
	for (int i = 0; i < p->nsetting; i++)
		put(o, "setting %s %s\n", p->settings[i].key, p->settings[i].value);
	for (int i = 0; i < p->nconfig; i++)
		put(o, "config %s %s\n", p->config[i].key, p->config[i].value);
	for (int i = 0; i < p->nkernel; i++) {
		put(o, "kernel %s", p->kernels[i].name);
		print_fields(o, kernel_fields, KERNEL_FIELDS, &p->kernels[i], &(RtKernelInfo){0});
		put(o, " ; %s\n", p->kernels[i].access ? p->kernels[i].access : "");
	}
	for (int i = 0; i < p->nmap; i++) {
		put(o, "map");
		print_fields(o, map_fields, MAP_FIELDS, &p->maps[i], &(RtMap){0});
		put(o, "\n");
	}
	for (int i = 0; i < p->nunit; i++) {
		const RtUnit *u = &p->units[i];
		put(o, "unit %s %s %s %s trained=%d elems=%lld param=%llu grad=%llu m=%llu v=%llu master=%llu sharded=%d\n",
		    u->name,
		    u->group == RT_GROUP_EXPERT ? "expert" : "dp", dtype_names[u->dtype], dtype_names[u->stored], u->trained,
		    (long long)u->elems, (unsigned long long)u->param, (unsigned long long)u->grad,
		    (unsigned long long)u->m, (unsigned long long)u->v,
		    (unsigned long long)u->master, u->sharded);
	}
	for (int i = 0; i < p->ntensor; i++) {
		const RtTensor *t = &p->tensors[i];
		put(o, "tensor %s %s unit=%d off=%lld experts=%lld grad=%d order=%d init=%c std=%.17g ndim=%d",
		    t->name, dtype_names[t->stored], t->unit, (long long)t->off, (long long)t->experts, t->grad,
		    t->order, t->init ? t->init : 'n', t->init_std, t->ndim);
		for (int d = 0; d < t->ndim; d++)
			put(o, " %lld", (long long)t->dim[d]);
		put(o, "\n");
	}
	for (int i = 0; i < p->nbalance; i++)
		put(o, "balance tensor=%d experts=%lld\n", p->balances[i].tensor, (long long)p->balances[i].experts);
}

static void print_step_tables(Out *o, const RtProg *p)
{
	for (int i = 0; i < p->nbuf; i++) {
		const RtBuf *b = &p->bufs[i];
		put(o, "buf %s %llu %llu %d %d %s\n", buf_names[b->kind], (unsigned long long)b->off,
		    (unsigned long long)b->bytes, b->first, b->last, b->name);
	}
	for (int i = 0; i < p->nact; i++) {
		const RtAct *x = &p->acts[i];
		put(o, "act %s %d %d %d %d\n", act_names[x->kind], x->stage, x->mb, x->first, x->count);
	}
}

static void print_instr(Out *o, const RtProg *p, const RtInstr *in)
{
	RtInstr none = rt_instr(in->op);
	put(o, "%s", op_names[in->op]);
	print_fields(o, instr_fields, INSTR_FIELDS, in, &none);
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
	for (int f = 0; f < PROG_FIELDS; f++)
		put(&o, "size %s %lld\n", prog_fields[f].name, field_get(p, &prog_fields[f]));
	print_tables(&o, p);
	print_step_tables(&o, p);
	for (int i = 0; i < p->ninstr; i++)
		print_instr(&o, p, &p->instrs[i]);
	put(&o, "end\n");
	*size = o.n;
	return o.s;
}

/* ---- reading ---- */

typedef struct In {
	RtProg *p;
	char *line;              /* the current line, NUL-terminated, cut into words */
	int number;
	char *err;
	bool ended;
	int cap_setting, cap_config, cap_kernel, cap_map, cap_unit, cap_tensor, cap_balance, cap_buf, cap_act;
	int cap_instr;
} In;

static bool fail(In *in, const char *what)
{
	snprintf(in->err, 200, "line %d: %s", in->number, what);
	return false;
}

static bool grow(void **list, int n, int *cap, size_t size)
{
	if (n < *cap)
		return true;
	int more = *cap ? *cap * 2 : 16;
	void *p = realloc(*list, (size_t)more * size);
	if (!p)
		return false;
	memset((char *)p + (size_t)*cap * size, 0, (size_t)(more - *cap) * size);
	*list = p;
	*cap = more;
	return true;
}

#define GROW(in, list, count, capacity) \
	grow((void **)(void *)&(in)->p->list, (in)->p->count, &(in)->capacity, sizeof *(in)->p->list)

/* The next blank-separated word, NULL at the end of the line. */
static char *word(In *in)
{
	char *s = in->line;
	while (*s == ' ')
		s++;
	if (!*s)
		return NULL;
	char *end = s;
	while (*end && *end != ' ')
		end++;
	in->line = *end ? end + 1 : end;
	*end = 0;
	return s;
}

static bool number(const char *s, long long *x)
{
	char *end;
	if (!s || !*s)
		return false;
	*x = (long long)(*s == '-' ? strtoll(s, &end, 10) : (long long)strtoull(s, &end, 10));
	return *end == 0;
}

static bool named_number(const char *w, const char *name, long long *x)
{
	size_t n = strlen(name);
	return w && strncmp(w, name, n) == 0 && w[n] == '=' && number(w + n + 1, x);
}

/* Index of the word in a list of names, -1. */
static int find_name(const char *w, const char *const *names, int n)
{
	for (int i = 0; w && i < n; i++)
		if (strcmp(names[i], w) == 0)
			return i;
	return -1;
}

static bool dtype(const char *w, RtDType *t)
{
	int i = find_name(w, dtype_names, DTYPES);
	*t = (RtDType)(i < 0 ? 0 : i);
	return i >= 0;
}

static bool read_size(In *in)
{
	char *name = word(in);
	long long x;
	if (!name || !number(word(in), &x))
		return fail(in, "size without a number");
	for (int f = 0; f < PROG_FIELDS; f++)
		if (strcmp(prog_fields[f].name, name) == 0) {
			field_set(in->p, &prog_fields[f], x);
			return true;
		}
	return fail(in, "unknown size");
}

static bool read_setting(In *in, RtSetting **list, int *n, int *cap)
{
	char *key = word(in);
	if (!key)
		return fail(in, "setting without a key");
	if (!grow((void **)(void *)list, *n, cap, sizeof **list))
		return fail(in, "out of memory");
	RtSetting *s = &(*list)[(*n)++];
	s->key = strdup(key);
	s->value = strdup(in->line);
	return s->key && s->value;
}

static bool read_unit(In *in)
{
	if (!GROW(in, units, nunit, cap_unit))
		return fail(in, "out of memory");
	RtUnit *u = &in->p->units[in->p->nunit];
	char *name = word(in), *group = word(in);
	long long trained, elems, param, grad, m, v, master, sharded;
	bool ok = name && group && dtype(word(in), &u->dtype) && dtype(word(in), &u->stored) && named_number(word(in), "trained", &trained) &&
	          named_number(word(in), "elems", &elems) && named_number(word(in), "param", &param) &&
	          named_number(word(in), "grad", &grad) && named_number(word(in), "m", &m) &&
	          named_number(word(in), "v", &v) && named_number(word(in), "master", &master) &&
	          named_number(word(in), "sharded", &sharded);
	if (!ok)
		return fail(in, "damaged unit");
	*u = (RtUnit){.name = strdup(name), .group = strcmp(group, "expert") == 0 ? RT_GROUP_EXPERT : RT_GROUP_DP,
	              .dtype = u->dtype, .stored = u->stored, .master = (uint64_t)master, .trained = trained != 0, .elems = elems, .param = (uint64_t)param,
	              .grad = (uint64_t)grad, .sharded = sharded != 0, .m = (uint64_t)m, .v = (uint64_t)v};
	in->p->nunit++;
	return true;
}

static bool read_tensor(In *in)
{
	if (!GROW(in, tensors, ntensor, cap_tensor))
		return fail(in, "out of memory");
	RtTensor *t = &in->p->tensors[in->p->ntensor];
	char *name = word(in);
	long long unit, off, experts, grad, order, ndim, d;
	bool ok = name && dtype(word(in), &t->stored) && named_number(word(in), "unit", &unit) &&
	          named_number(word(in), "off", &off) && named_number(word(in), "experts", &experts) &&
	          named_number(word(in), "grad", &grad) && named_number(word(in), "order", &order);
	char *init = ok ? word(in) : NULL, *std = init ? word(in) : NULL;
	ok = std && strncmp(init, "init=", 5) == 0 && strncmp(std, "std=", 4) == 0 &&
	     named_number(word(in), "ndim", &ndim) && ndim >= 0 && ndim <= 4;
	if (!ok)
		return fail(in, "damaged tensor");
	t->unit = (int)unit;
	t->off = off;
	t->experts = experts;
	t->grad = grad != 0;
	t->order = (int)order;
	t->init = init[5];
	t->init_std = strtod(std + 4, NULL);
	t->ndim = (int)ndim;
	for (int k = 0; k < t->ndim; k++) {
		if (!number(word(in), &d) || d < 1)
			return fail(in, "damaged tensor shape");
		t->dim[k] = d;
	}
	t->name = strdup(name);
	in->p->ntensor++;
	return true;
}

static bool read_balance(In *in)
{
	long long tensor, experts;
	if (!GROW(in, balances, nbalance, cap_balance))
		return fail(in, "out of memory");
	if (!named_number(word(in), "tensor", &tensor) || !named_number(word(in), "experts", &experts))
		return fail(in, "damaged balance");
	in->p->balances[in->p->nbalance++] = (RtBalance){(int)tensor, experts};
	return true;
}

/* The words `name=value` of the rest of the line. */
static bool read_fields(In *in, const Field *list, int n, void *base)
{
	for (char *w; (w = word(in));) {
		long long x;
		int f = 0;
		while (f < n && !named_number(w, list[f].name, &x))
			f++;
		if (f == n)
			return fail(in, "unknown or damaged field");
		field_set(base, &list[f], x);
	}
	return true;
}

static bool read_kernel(In *in)
{
	char *name = word(in), *access = strchr(in->line, ';');
	if (!name || !access || !GROW(in, kernels, nkernel, cap_kernel))
		return fail(in, "damaged kernel");
	*access++ = 0;
	RtKernelInfo *k = &in->p->kernels[in->p->nkernel++];
	k->name = strdup(name);
	k->access = strdup(access + (*access == ' '));
	const char *text = k->access;
	for (RtAccess x; text && rt_access(&text, &x);)
		;
	if (!text || *text)
		return fail(in, "damaged access of a kernel");
	return k->name && read_fields(in, kernel_fields, KERNEL_FIELDS, k);
}

static bool read_map(In *in)
{
	if (!GROW(in, maps, nmap, cap_map))
		return fail(in, "out of memory");
	return read_fields(in, map_fields, MAP_FIELDS, &in->p->maps[in->p->nmap++]);
}

static bool read_ints(In *in, long long *x, int n)
{
	for (int i = 0; i < n; i++)
		if (!number(word(in), &x[i]))
			return false;
	return true;
}

static bool is_index(long long x)
{
	return x >= 0 && x < INT32_MAX;
}

static bool read_buf(In *in)
{
	long long x[4];
	if (!GROW(in, bufs, nbuf, cap_buf))
		return fail(in, "out of memory");
	int kind = find_name(word(in), buf_names, BUFS);
	bool ok = kind >= 0 && read_ints(in, x, 4) && is_index(x[2]) && is_index(x[3]);
	char *name = ok ? word(in) : NULL;
	if (!name)
		return fail(in, "damaged buffer");
	in->p->bufs[in->p->nbuf++] = (RtBuf){(RtBufKind)kind, (uint64_t)x[0], (uint64_t)x[1], (int)x[2], (int)x[3],
	                                     strdup(name)};
	return true;
}

static bool read_act(In *in)
{
	long long x[4];
	if (!GROW(in, acts, nact, cap_act))
		return fail(in, "out of memory");
	int kind = find_name(word(in), act_names, ACTS);
	if (kind < 0 || !read_ints(in, x, 4) || !is_index(x[0]) || !is_index(x[1]) || !is_index(x[2]) ||
	    !is_index(x[3]))
		return fail(in, "damaged action");
	in->p->acts[in->p->nact++] = (RtAct){(RtActKind)kind, (int)x[0], (int)x[1], (int)x[2], (int)x[3]};
	return true;
}

static bool instr_word(In *in, RtInstr *i, char *w, int *mode)
{
	long long x;
	if (strcmp(w, "arg") == 0 || strcmp(w, "int") == 0) {
		*mode = w[0];
		return true;
	}
	char *equals = strchr(w, '=');
	if (!equals) {
		if (!number(w, &x))
			return fail(in, "a word that is no number");
		if (*mode == 'a') {
			uint64_t *arg = realloc(i->arg, (size_t)(i->narg + 1) * sizeof *arg);
			if (!arg)
				return fail(in, "out of memory");
			i->arg = arg;
			i->arg[i->narg++] = (uint64_t)x;
			return true;
		}
		if (*mode != 'i' || i->nint == RT_MAX_INTS)
			return fail(in, "too many numbers");
		i->n[i->nint++] = x;
		return true;
	}
	*equals = 0;
	for (int f = 0; f < INSTR_FIELDS; f++)
		if (strcmp(instr_fields[f].name, w) == 0 && number(equals + 1, &x)) {
			field_set(i, &instr_fields[f], x);
			return true;
		}
	return fail(in, "unknown field of an instruction");
}

static bool read_instr(In *in, RtOp op)
{
	if (!GROW(in, instrs, ninstr, cap_instr))
		return fail(in, "out of memory");
	RtInstr *i = &in->p->instrs[in->p->ninstr++];
	*i = rt_instr(op);
	char *note = strchr(in->line, ';');
	if (note) {
		*note++ = 0;
		char *colon = strstr(note, ": ");
		bool kernel = op == RT_LAUNCH && colon;
		i->note = strdup(kernel ? colon + 2 : note + (*note == ' '));
	}
	int mode = 0;
	for (char *w; (w = word(in));)
		if (!instr_word(in, i, w, &mode))
			return false;
	return true;
}

static bool read_line(In *in)
{
	char *kind = word(in);
	if (!kind)
		return fail(in, "empty line");
	if (strcmp(kind, "end") == 0)
		return in->ended = true;
	if (strcmp(kind, "model") == 0) {
		free(in->p->model);
		in->p->model = strdup(in->line);
		return true;
	}
	if (strcmp(kind, "size") == 0)
		return read_size(in);
	if (strcmp(kind, "setting") == 0)
		return read_setting(in, &in->p->settings, &in->p->nsetting, &in->cap_setting);
	if (strcmp(kind, "config") == 0)
		return read_setting(in, &in->p->config, &in->p->nconfig, &in->cap_config);
	if (strcmp(kind, "kernel") == 0)
		return read_kernel(in);
	if (strcmp(kind, "map") == 0)
		return read_map(in);
	if (strcmp(kind, "unit") == 0)
		return read_unit(in);
	if (strcmp(kind, "tensor") == 0)
		return read_tensor(in);
	if (strcmp(kind, "balance") == 0)
		return read_balance(in);
	if (strcmp(kind, "buf") == 0)
		return read_buf(in);
	if (strcmp(kind, "act") == 0)
		return read_act(in);
	int op = find_name(kind, op_names, OPS);
	return op >= 0 ? read_instr(in, (RtOp)op) : fail(in, "unknown keyword");
}

/* ---- validation ---- */

static bool bad(char *err, const char *what, int index)
{
	snprintf(err, 200, "%s %d is out of range", what, index);
	return false;
}

static bool check_mesh(const RtProg *p, char *err)
{
	bool ok = p->pp >= 1 && p->dp >= 1 && p->ep >= 1 && p->ep_shard >= 1 && p->world == p->pp * p->dp &&
	          p->dp == p->ep * p->ep_shard && p->pp_rank >= 0 && p->pp_rank < p->pp && p->microbatches >= 1 &&
	          p->runs >= 1 && p->docs_max >= 1 && p->tokens_max >= 1 && p->seq_max >= 1 && p->model &&
	          p->microbatches < 1 << 20 && p->tokens_max < (int64_t)1 << 32 && p->rows_max >= 0 &&
	          p->xchs >= 0 && p->xchs <= 64 && p->slots_max >= 0 && p->slots_max < (int64_t)1 << 31 &&
	          p->experts_max >= 0 && p->experts_max < 1 << 20 && p->docs_max < 1 << 20 && p->ep < 1 << 16 &&
	          p->experts_max % p->ep == 0;
	if (!ok)
		snprintf(err, 200, "the sizes of the program do not fit together");
	return ok;
}

static bool inside(const RtProg *p, uint64_t off, uint64_t bytes)
{
	return off <= p->arena_bytes && bytes <= p->arena_bytes - off;
}

static bool check_tables(const RtProg *p, char *err)
{
	for (int i = 0; i < p->nunit; i++) {
		const RtUnit *u = &p->units[i];
		uint64_t size = u->dtype == RT_bf16 ? 2 : 4, stored = u->stored == RT_bf16 ? 2 : 4, n = (uint64_t)u->elems;
		int members = u->group == RT_GROUP_EXPERT ? p->ep_shard : p->dp;
		bool ok = u->elems >= 0 && u->elems < (int64_t)1 << 44 && u->elems % members == 0 &&
		          inside(p, u->param, n * size);
		if (ok && u->trained)
			ok = inside(p, u->grad, (u->sharded ? n / (uint64_t)members : n) * 4) && inside(p, u->m, n / (uint64_t)members * stored) &&
			     inside(p, u->v, n / (uint64_t)members * stored);
		if (ok && u->stored != u->dtype)
			ok = u->master && inside(p, u->master, n / (uint64_t)members * stored);
		if (!ok)
			return bad(err, "unit", i);
	}
	for (int i = 0; i < p->ntensor; i++) {
		const RtTensor *t = &p->tensors[i];
		int64_t n = 1, local = t->experts ? t->experts / p->ep : 1;
		for (int d = 0; d < t->ndim; d++) {
			if (t->dim[d] > ((int64_t)1 << 40) / n)
				return bad(err, "tensor", i);
			n *= t->dim[d];
		}
		bool ok = t->unit >= -1 && t->unit < p->nunit && t->off >= 0 && t->experts >= 0 &&
		          t->experts % p->ep == 0 && t->experts < 1 << 20;
		if (!ok || (t->unit >= 0 && t->off + n * local > p->units[t->unit].elems))
			return bad(err, "tensor", i);
	}
	for (int i = 0; i < p->nbalance; i++) {
		const RtBalance *b = &p->balances[i];
		if (b->tensor < 0 || b->tensor >= p->ntensor || b->experts < 1 || b->experts > 1 << 20 ||
		    p->tensors[b->tensor].unit < 0)
			return bad(err, "balance", i);
	}
	return true;
}

/* What --replay-selections may write lies inside the arena. */
static bool choice_fits(const RtProg *p, const RtInstr *i)
{
	const RtKernelInfo *k = &p->kernels[i->kernel];
	return !k->choice || (k->choice <= i->narg && inside(p, i->arg[k->choice - 1],
	                                                     (uint64_t)k->choice_bytes * (uint64_t)p->tokens_max));
}

static bool check_instr(const RtProg *p, int at, char *err)
{
	const RtInstr *i = &p->instrs[at];
	bool ok = i->mb >= -1 && i->mb < p->microbatches && i->bal >= -1 && i->bal < p->nbalance &&
	          i->narg <= RT_MAX_ARGS;
	for (int k = 0; k < i->narg; k++)
		ok = ok && i->arg[k] <= p->arena_bytes;
	switch (i->op) {
	case RT_LAUNCH: ok = ok && i->kernel >= 0 && i->kernel < p->nkernel && choice_fits(p, i); break;
	case RT_SEND:
	case RT_RECV:
		ok = ok && i->peer >= 0 && i->peer < p->pp && i->narg == 1 && i->mb >= 0 &&
		     inside(p, i->arg[0], i->row_bytes * (uint64_t)p->tokens_max);
		break;
	case RT_COUNTS:
		ok = ok && i->narg == 1 && i->xch >= 0 && i->xch < p->xchs && i->topk >= 1 && i->mb >= 0 &&
		     i->experts >= 1 && i->experts <= p->experts_max && i->topk * p->tokens_max <= p->slots_max;
		break;
	case RT_ROUNDS:
		ok = ok && i->xch >= 0 && i->xch < p->xchs && i->body >= 0 && at + i->body < p->ninstr;
		break;
	case RT_DISPATCH:
	case RT_COLLECT: ok = ok && i->narg == 2 && i->xch >= 0 && i->xch < p->xchs; break;
	case RT_GATHER: ok = ok && i->unit >= 0 && i->unit < p->nunit; break;
	case RT_REDUCE:
		ok = ok && i->unit >= 0 && i->unit < p->nunit && i->narg == p->units[i->unit].sharded &&
		     (!i->narg || inside(p, i->arg[0], (uint64_t)p->units[i->unit].elems * 4));
		break;
	case RT_ZERO:
		ok = ok && i->narg == 1 && inside(p, i->arg[0], i->bytes) && i->unit >= -1 && i->unit < p->nunit &&
		     (i->unit >= 0 || !i->acc) && (i->unit < 0 || (p->units[i->unit].sharded && i->bytes == (uint64_t)p->units[i->unit].elems * 4));
		break;
	case RT_OPTIMIZER: break;
	case RT_GEMM:
		ok = ok && i->narg == 3 && i->form >= 0 && i->form <= 2 && i->rows >= 0 && i->rows <= RT_ROWS_R &&
		     i->ncol > 0 && i->kcol > 0 && i->heads >= 0 && i->nrow >= 0 && i->row0 >= 0;
		break;
	case RT_RECORD:
	case RT_WAIT: ok = ok && i->event >= 0 && i->event < p->events; break;
	}
	ok = ok && i->stream >= 0 && (i->stream == 0 || i->stream < p->streams);
	return ok || bad(err, "an operand of instruction", at);
}

static bool check_step_tables(const RtProg *p, char *err)
{
	for (int i = 0; i < p->nbuf; i++) {
		const RtBuf *b = &p->bufs[i];
		if (!inside(p, b->off, b->bytes) || b->first > b->last || b->last >= p->ninstr)
			return bad(err, "buffer", i);
	}
	for (int i = 0; i < p->nact; i++) {
		const RtAct *x = &p->acts[i];
		if (x->mb >= p->microbatches || x->count > p->ninstr || x->first > p->ninstr - x->count)
			return bad(err, "action", i);
	}
	return true;
}

static bool check_kernels(const RtProg *p, char *err)
{
	int use[] = {p->k_adam, p->k_sumsq, p->k_slots, p->k_pack, p->k_unpack};
	for (size_t i = 0; i < sizeof use / sizeof *use; i++)
		if (use[i] < 0 || use[i] >= p->nkernel)
			return bad(err, "kernel of the runtime", use[i]);
	for (int i = 0; i < p->nkernel; i++)
		if (p->kernels[i].times < 0 || p->kernels[i].times > 1 << 20 || p->kernels[i].choice_bytes < 0 ||
		    p->kernels[i].choice < 0 || p->kernels[i].choice > RT_MAX_ARGS)
			return bad(err, "kernel", i);
	return true;
}

static bool check_own(const RtProg *p, char *err)
{
	if (p->own <= p->arena_bytes && inside(p, p->own, rt_own(p).bytes))
		return true;
	snprintf(err, 200, "the memory of the runtime is outside the arena");
	return false;
}

static bool check_prog(const RtProg *p, char *err)
{
	if (!check_mesh(p, err) || !check_tables(p, err) || !check_step_tables(p, err) || !check_kernels(p, err) ||
	    !check_own(p, err))
		return false;
	for (int i = 0; i < p->nmap; i++)
		if (p->maps[i].kernel < 0 || p->maps[i].kernel >= p->nkernel || p->maps[i].arg < 0)
			return bad(err, "map", i);
	for (int i = 0; i < p->ninstr; i++)
		if (!check_instr(p, i, err))
			return false;
	return true;
}

RtProg *rt_prog_read(const char *text, size_t size, char err[200])
{
	In in = {.p = calloc(1, sizeof(RtProg)), .err = err};
	char *copy = malloc(size + 1);
	bool ok = in.p && copy && memchr(text, 0, size) == NULL;
	snprintf(err, 200, "not a text");
	if (ok) {
		memcpy(copy, text, size);
		copy[size] = 0;
	}
	char *next = copy;
	while (ok && !in.ended && *next) {
		char *line = next, *end = strchr(line, '\n');
		in.number++;
		next = end ? end + 1 : line + strlen(line);
		if (end)
			*end = 0;
		in.line = line;
		if (in.number == 1)
			ok = strcmp(line, "glmc-program 1") == 0 || fail(&in, "not a glmc program of version 1");
		else
			ok = read_line(&in);
	}
	if (ok && !in.ended)
		ok = fail(&in, "the program is cut off");
	ok = ok && check_prog(in.p, err);
	free(copy);
	if (ok)
		return in.p;
	rt_prog_free(in.p);
	return NULL;
}

static void free_settings(RtSetting *s, int n)
{
	for (int i = 0; i < n; i++) {
		free(s[i].key);
		free(s[i].value);
	}
	free(s);
}

void rt_prog_free(RtProg *p)
{
	if (!p)
		return;
	free(p->model);
	free_settings(p->settings, p->nsetting);
	free_settings(p->config, p->nconfig);
	for (int i = 0; i < p->nkernel; i++) {
		free(p->kernels[i].name);
		free(p->kernels[i].access);
	}
	for (int i = 0; i < p->nbuf; i++)
		free(p->bufs[i].name);
	for (int i = 0; i < p->nunit; i++)
		free(p->units[i].name);
	for (int i = 0; i < p->ntensor; i++)
		free(p->tensors[i].name);
	for (int i = 0; i < p->ninstr; i++) {
		free(p->instrs[i].arg);
		free(p->instrs[i].note);
	}
	free(p->kernels);
	free(p->maps);
	free(p->bufs);
	free(p->acts);
	free(p->units);
	free(p->tensors);
	free(p->balances);
	free(p->instrs);
	free(p);
}
