/* lower_sizes.c - the sizes of the model: its defaults, changed from outside.
 *
 * Sizes are evaluated in the order of the file, so one that is computed from others follows what
 * was given for those. A value from outside must be of the default's kind; an integer will do for
 * a float, 10000.0 for an integer, and anything for `none`. `none` for a list means the default.
 */
#include <math.h>
#include <string.h>

#include "../../runtime/rt_scan.h"
#include "lower_int.h"

static Value from_outside(Lower *l, const SizeValue *s)
{
	Value v = {.kind = VK_LIST, .nlist = s->n, .def = s->span};
	switch (s->kind) {
	case SIZE_INT:
		return value_int(s->i);
	case SIZE_FLOAT:
		return value_float(s->f);
	case SIZE_BOOL:
		return value_bool(s->i != 0);
	case SIZE_STRING:
		return value_string(arena_strdup(l->arena, s->s));
	case SIZE_NONE:
		return (Value){.kind = VK_NONE};
	default:
		v.list = ARENA_ARRAY(l->arena, Value, s->n + 1);
		for (uint32_t i = 0; i < s->n; i++)
			v.list[i] = s->kind == SIZE_INTS ? value_int(s->ints[i])
			                                 : value_string(arena_strdup(l->arena, s->strings[i]));
	}
	return v;
}

static const SizeValue *given(const Lower *l, const char *name)
{
	for (uint32_t i = l->opt->nsizes; i > 0; i--)
		if (strcmp(l->opt->sizes[i - 1].name, name) == 0)
			return &l->opt->sizes[i - 1];
	return NULL;
}

static bool fits(const Value *v, const Value *usual)
{
	return v->kind == usual->kind || usual->kind == VK_NONE ||
	       (v->kind == VK_INT && usual->kind == VK_FLOAT);
}

static void misfit(Lower *l, const SizeDef *def, const SizeValue *s, const Value *v, const Value *usual)
{
	if (lower_error(l, s->span.file ? s->span : def->name.span, "`%s` is %s here, the model needs %s",
	                def->name.s, value_word(v), value_word(usual)))
		diag_note(l->diag, def->value->span, "the model says %s", value_json(l->arena, usual));
}

static void add_size(Lower *l, const SizeDef *def)
{
	const SizeValue *s = given(l, def->name.s);
	Value v = lower_expr(l, def->value);
	if (s && (s->kind == SIZE_OBJECT || s->kind == SIZE_TOO_LARGE)) {
		lower_error(l, s->span, s->kind == SIZE_OBJECT
		                            ? "`%s` is a number, a text, or a list of texts or of integers"
		                            : "the number given for `%s` is too large", s->key);
		v = value_error();
	} else if (s && !(s->kind == SIZE_NONE && v.kind == VK_LIST)) {
		Value usual = v;
		v = from_outside(l, s);
		if (v.kind == VK_FLOAT && usual.kind == VK_INT && v.u.f == floor(v.u.f) && fabs(v.u.f) < 0x1p53)
			v = value_int((int64_t)v.u.f);
		if (usual.kind != VK_ERROR && !fits(&v, &usual))
			misfit(l, def, s, &v, &usual);
		if (v.kind == VK_INT && usual.kind == VK_FLOAT)
			v = value_float((double)v.u.i);
	}
	v.name = def->name.s;
	v.def = s && s->span.file ? s->span : def->name.span;
	l->sizes[l->nsizes] = (SizeSlot){def->name.s, v, s && s->from_config};
	map_set(&l->size_index, def->name.s, l->nsizes++);
}

static void unknown_key(Lower *l, const SizeValue *s)
{
	const char **names = ARENA_ARRAY(l->arena, const char *, l->nsizes + 1);
	for (uint32_t i = 0; i < l->nsizes; i++)
		names[i] = l->sizes[i].name;
	const char *near = closest(s->key, names, l->nsizes);
	diag_warn(l->diag, s->key_span, "unknown key `%s` is passed over", s->key);
	if (near)
		diag_help(l->diag, "did you mean `%s`?", near);
}

/* Values that the model does not declare: what changes the mathematics must be as the models have it. */
static void check_unused(Lower *l)
{
	for (uint32_t i = 0; i < l->opt->nsizes; i++) {
		const SizeValue *s = &l->opt->sizes[i];
		if (!s->from_config || map_get(&l->size_index, s->name, NULL))
			continue;
		if (s->meaning == MEANS_UNKNOWN)
			unknown_key(l, s);
		else if (s->meaning == MEANS_SIZE)
			diag_warn(l->diag, s->key_span, "model `%s` has no size `%s`", l->prog->model->name.s, s->name);
		else if (s->meaning == MEANS_ONLY && !rt_json_equal(s->json, strlen(s->json), s->only))
			lower_error(l, s->span, "`%s` is %.80s, only %s is supported", s->key, s->json, s->only);
	}
}

void lower_sizes(Lower *l)
{
	const ModelDef *m = l->prog->model;
	Frame f = {.prefix = "", .sizes_only = true};
	l->frame = &f;
	l->sizes = ARENA_ARRAY(l->arena, SizeSlot, m->sizes.n + 1);
	for (uint32_t i = 0; i < m->sizes.n; i++)
		add_size(l, &m->sizes.v[i]);
	check_unused(l);
	l->frame = NULL;
}
