/* lower.c - lowering from the outside: limits, messages, and the three steps sizes, parts, classes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lower_int.h"
#include "resolve.h"

/* A block is lowered once per call and layer, its errors are told once. */
static bool first_report(Lower *l, Span at)
{
	const char *key = arena_printf(l->arena, "%u:%u:%u", at.file, at.begin, at.end);
	if (map_get(&l->reported, key, NULL))
		return false;
	map_set(&l->reported, key, 1);
	return true;
}

bool lower_error(Lower *l, Span at, const char *fmt, ...)
{
	va_list ap;
	Text t = {0};
	l->failed = true;
	if (!first_report(l, at))
		return false;
	va_start(ap, fmt);
	text_vadd(&t, fmt, ap);
	va_end(ap);
	diag_error(l->diag, at, "%s", t.s);
	text_free(&t);
	for (const Frame *f = l->frame; f && f->block; f = f->up)
		diag_note(l->diag, f->call, "in this call of `%s`", f->block);
	return true;
}

const char *lower_describe(Lower *l, const Value *v)
{
	if (v->kind == VK_TENSOR)
		return arena_printf(l->arena, "`%s`", type_text(l->arena, lower_type(l, v)));
	return value_word(v);
}

void lower_note_operand(Lower *l, const Value *v)
{
	if (v->kind == VK_TENSOR && v->name && v->def.file)
		diag_note(l->diag, v->def, "`%s` is %s, from here", v->name, lower_describe(l, v));
}

void lower_note_operands(Lower *l, const Value *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		bool told = false;
		for (uint32_t k = 0; k < i; k++)
			told |= v[k].def.file == v[i].def.file && v[k].def.begin == v[i].def.begin;
		if (!told)
			lower_note_operand(l, &v[i]);
	}
}

static void note_size(Lower *l, const char *name, Map *told)
{
	int64_t i;
	if (map_get(told, name, NULL) || !map_get(&l->size_index, name, &i) || i >= l->nsizes)
		return;
	map_set(told, name, 1);
	const Value *v = &l->sizes[i].value;
	if (v->kind != VK_ERROR)
		diag_note(l->diag, v->def, "`%s` is %s here", name, value_json(l->arena, v));
}

static void note_sizes(Lower *l, const Expr *e, Map *told)
{
	if (!e)
		return;
	if (e->kind == EX_NAME)
		note_size(l, e->s, told);
	note_sizes(l, e->a, told);
	note_sizes(l, e->b, told);
	note_sizes(l, e->c, told);
	for (uint32_t i = 0; i < e->list.n; i++)
		note_sizes(l, e->list.v[i], told);
}

void lower_note_sizes(Lower *l, const Expr *e)
{
	Map told = map_new(l->arena);
	note_sizes(l, e, &told);
}

bool lower_step(Lower *l, Span at)
{
	uint64_t most = l->opt->steps_max ? l->opt->steps_max : MAX_STEPS;
	if (++l->steps <= most)
		return true;
	if (!l->stopped)
		lower_error(l, at, "the model takes more than %llu steps to evaluate", (unsigned long long)most);
	l->stopped = true;
	return false;
}

Model *model_lower(Arena *a, Diag *d, const Program *p, const LowerOptions *opt)
{
	Lower l = {.arena = a, .diag = d, .prog = p, .opt = opt};
	Parts parts = {.index = map_new(a)};
	l.size_index = map_new(a);
	l.block_index = map_new(a);
	l.reported = map_new(a);
	for (uint32_t i = 0; i < p->blocks.n; i++)
		map_set(&l.block_index, p->blocks.v[i]->name.s, i);
	lower_sizes(&l);
	if (l.failed || !lower_parts(&l, &parts) || l.stopped)
		return NULL;
	Model *m = model_classes(&l, &parts);
	return l.failed ? NULL : m;
}

Model *model_load(Arena *a, Diag *d, const ModelSource *src, const LowerOptions *opt)
{
	Program *p = program_load(a, d, src, true);
	if (!p || !resolve_program(a, d, p))
		return NULL;
	return model_lower(a, d, p, opt);
}
