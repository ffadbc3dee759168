/* rt_prog_read.c - rt_prog_read: a rank program from its text. */
#include "rt_prog_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Number of the word in an enumeration, -1 when it is none. */
static int find_name(const char *w, RtNames names)
{
	for (int i = 0; w && i < names.n; i++)
		if (strcmp(names.name[i], w) == 0)
			return i;
	return -1;
}

static bool dtype(const char *w, RtDType *t)
{
	int i = find_name(w, rt_dtype_names);
	*t = (RtDType)(i < 0 ? 0 : i);
	return i >= 0;
}

/* ---- fields ---- */

/* The word `name=value` of any of the fields. */
static bool set_field(In *in, RtFields fields, void *base, const char *w)
{
	long long x;
	for (const RtField *f = fields.list; f < fields.list + fields.n; f++)
		if (named_number(w, f->name, &x)) {
			rt_field_set(base, f, x);
			return true;
		}
	return fail(in, "unknown or damaged field");
}

/* The rest of the line. */
static bool read_fields(In *in, RtFields fields, void *base)
{
	for (char *w; (w = word(in));)
		if (!set_field(in, fields, base, w))
			return false;
	return true;
}

/* All fields, in their order. */
static bool read_all_fields(In *in, RtFields fields, void *base)
{
	long long x;
	for (const RtField *f = fields.list; f < fields.list + fields.n; f++) {
		if (!named_number(word(in), f->name, &x))
			return false;
		rt_field_set(base, f, x);
	}
	return true;
}

/* ---- lines ---- */

static bool read_model(In *in)
{
	free(in->p->model);
	in->p->model = strdup(in->line);
	return true;
}

static bool read_size(In *in)
{
	char *name = word(in);
	long long x;
	if (!name || !number(word(in), &x))
		return fail(in, "size without a number");
	for (const RtField *f = rt_prog_fields.list; f < rt_prog_fields.list + rt_prog_fields.n; f++)
		if (strcmp(f->name, name) == 0) {
			rt_field_set(in->p, f, x);
			return true;
		}
	return fail(in, "unknown size");
}

static bool read_pair(In *in, RtSetting *s)
{
	char *key = word(in);
	if (!key)
		return fail(in, "setting without a key");
	s->key = strdup(key);
	s->value = strdup(in->line);
	return (s->key && s->value) || fail(in, "out of memory");
}

static bool read_setting(In *in)
{
	if (!GROW(in, settings, nsetting, cap_setting))
		return fail(in, "out of memory");
	return read_pair(in, &in->p->settings[in->p->nsetting++]);
}

static bool read_config(In *in)
{
	if (!GROW(in, config, nconfig, cap_config))
		return fail(in, "out of memory");
	return read_pair(in, &in->p->config[in->p->nconfig++]);
}

static bool read_unit(In *in)
{
	if (!GROW(in, units, nunit, cap_unit))
		return fail(in, "out of memory");
	RtUnit *u = &in->p->units[in->p->nunit];
	char *name = word(in), *group = word(in);
	if (!name || !group || !dtype(word(in), &u->dtype) || !dtype(word(in), &u->stored) ||
	    !read_all_fields(in, rt_unit_fields, u))
		return fail(in, "damaged unit");
	u->name = strdup(name);
	u->group = strcmp(group, "expert") == 0 ? RT_GROUP_EXPERT : RT_GROUP_DP;
	in->p->nunit++;
	return true;
}

/* "init=n std=0.02 ndim=2 8 16" */
static bool read_law_and_shape(In *in, RtTensor *t)
{
	char *init = word(in), *std = init ? word(in) : NULL;
	long long ndim, d;
	if (!std || strncmp(init, "init=", 5) != 0 || strncmp(std, "std=", 4) != 0 ||
	    !named_number(word(in), "ndim", &ndim) || ndim < 0 || ndim > 4)
		return fail(in, "damaged tensor");
	t->init = init[5];
	t->init_std = strtod(std + 4, NULL);
	t->ndim = (int)ndim;
	for (int k = 0; k < t->ndim; k++) {
		if (!number(word(in), &d) || d < 1)
			return fail(in, "damaged tensor shape");
		t->dim[k] = d;
	}
	return true;
}

static bool read_tensor(In *in)
{
	if (!GROW(in, tensors, ntensor, cap_tensor))
		return fail(in, "out of memory");
	RtTensor *t = &in->p->tensors[in->p->ntensor];
	char *name = word(in);
	if (!name || !dtype(word(in), &t->stored) || !read_all_fields(in, rt_tensor_fields, t))
		return fail(in, "damaged tensor");
	if (!read_law_and_shape(in, t))
		return false;
	t->name = strdup(name);
	in->p->ntensor++;
	return true;
}

static bool read_balance(In *in)
{
	if (!GROW(in, balances, nbalance, cap_balance))
		return fail(in, "out of memory");
	if (!read_all_fields(in, rt_balance_fields, &in->p->balances[in->p->nbalance]))
		return fail(in, "damaged balance");
	in->p->nbalance++;
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
	return k->name && read_fields(in, rt_kernel_fields, k);
}

static bool read_map(In *in)
{
	if (!GROW(in, maps, nmap, cap_map))
		return fail(in, "out of memory");
	return read_fields(in, rt_map_fields, &in->p->maps[in->p->nmap++]);
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
	int kind = find_name(word(in), rt_buf_names);
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
	int kind = find_name(word(in), rt_act_names);
	if (kind < 0 || !read_ints(in, x, 4) || !is_index(x[0]) || !is_index(x[1]) || !is_index(x[2]) ||
	    !is_index(x[3]))
		return fail(in, "damaged action");
	in->p->acts[in->p->nact++] = (RtAct){(RtActKind)kind, (int)x[0], (int)x[1], (int)x[2], (int)x[3]};
	return true;
}

/* A number after the word `arg` or `int`, which `mode` tells. */
static bool add_number(In *in, RtInstr *i, const char *w, int mode)
{
	long long x;
	if (!number(w, &x))
		return fail(in, "a word that is no number");
	if (mode == 'a') {
		uint64_t *arg = realloc(i->arg, (size_t)(i->narg + 1) * sizeof *arg);
		if (!arg)
			return fail(in, "out of memory");
		i->arg = arg;
		i->arg[i->narg++] = (uint64_t)x;
		return true;
	}
	if (mode != 'i' || i->nint == RT_MAX_INTS)
		return fail(in, "too many numbers");
	i->n[i->nint++] = x;
	return true;
}

static bool instr_word(In *in, RtInstr *i, const char *w, int *mode)
{
	if (strcmp(w, "arg") == 0 || strcmp(w, "int") == 0) {
		*mode = w[0];
		return true;
	}
	return strchr(w, '=') ? set_field(in, rt_instr_fields, i, w) : add_number(in, i, w, *mode);
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
	static const struct { const char *keyword; bool (*read)(In *in); } items[] = {
		{"model", read_model}, {"size", read_size}, {"setting", read_setting}, {"config", read_config},
		{"kernel", read_kernel}, {"map", read_map}, {"unit", read_unit}, {"tensor", read_tensor},
		{"balance", read_balance}, {"buf", read_buf}, {"act", read_act},
	};
	char *keyword = word(in);
	if (!keyword)
		return fail(in, "empty line");
	if (strcmp(keyword, "end") == 0)
		return in->ended = true;
	for (size_t k = 0; k < sizeof items / sizeof *items; k++)
		if (strcmp(items[k].keyword, keyword) == 0)
			return items[k].read(in);
	int op = find_name(keyword, rt_op_names);
	return op >= 0 ? read_instr(in, (RtOp)op) : fail(in, "unknown keyword");
}

/* All lines of a text, which is cut. */
static bool read_lines(In *in, char *next)
{
	while (!in->ended && *next) {
		char *line = next, *end = strchr(line, '\n');
		in->number++;
		next = end ? end + 1 : line + strlen(line);
		if (end)
			*end = 0;
		in->line = line;
		bool ok = in->number > 1 ? read_line(in) : strcmp(line, "glmc-program 1") == 0 ||
		                                           fail(in, "not a glmc program of version 1");
		if (!ok)
			return false;
	}
	return in->ended || fail(in, "the program is cut off");
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
		ok = read_lines(&in, copy) && rt_prog_check(in.p, err);
	}
	free(copy);
	if (ok)
		return in.p;
	rt_prog_free(in.p);
	return NULL;
}
