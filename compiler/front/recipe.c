/* recipe.c - YAML events to dotted keys.
 *
 * The reader walks libyaml's events with the dotted path of the mapping it is in. A mapping must be
 * a section of the key table, a scalar or a list a key of it. Lists become the text `[a, b]` and go
 * through the same value check as everything else. Aliases are refused: nothing in a recipe needs
 * them, and they can make a small file large.
 */
#include "recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "../../runtime/rt_keys.h"
#include "../base/file.h"
#include "../base/text.h"

enum { MAX_DEPTH = 32, MAX_BYTES = 1 << 20 };

typedef struct Reader {
	Recipe *r;
	yaml_parser_t parser;
	yaml_event_t event;
	uint32_t file;
	bool failed;             /* the YAML itself is wrong: stop */
} Reader;

static Span mark_span(const Reader *y, yaml_mark_t begin, yaml_mark_t end)
{
	uint32_t b = (uint32_t)begin.index, e = (uint32_t)end.index;
	return (Span){y->file, b, e > b ? e : b + 1};
}

static Span event_span(const Reader *y)
{
	return mark_span(y, y->event.start_mark, y->event.end_mark);
}

/* The next event; false after a message when the text is no YAML. */
static bool next(Reader *y)
{
	yaml_event_delete(&y->event);
	if (yaml_parser_parse(&y->parser, &y->event)) {
		if (y->event.type != YAML_ALIAS_EVENT)
			return true;
		diag_error(y->r->diag, event_span(y), "aliases are not supported in a recipe");
		diag_help(y->r->diag, "write the value out");
	} else {
		const char *what = y->parser.problem ? y->parser.problem : "not YAML";
		diag_error(y->r->diag, mark_span(y, y->parser.problem_mark, y->parser.problem_mark), "%s", what);
		if (strstr(what, "tab") || strstr(what, "start any token"))
			diag_help(y->r->diag, "YAML is indented with blanks, not with tabs");
	}
	y->failed = true;
	return false;
}

static const char *scalar(const Reader *y)
{
	return (const char *)y->event.data.scalar.value;
}

static void unknown_key(Recipe *r, Span at, const char *path)
{
	const char *near = rt_key_closest(path);
	diag_error(r->diag, at, "unknown recipe key `%s`", path);
	if (near)
		diag_help(r->diag, "did you mean `%s`?", near);
	else
		diag_help(r->diag, "`glmc --keys` lists the keys");
}

static bool set_value(Recipe *r, Span key_at, Span at, const char *path, const char *text)
{
	char err[RT_KEY_ERR];
	int known = rt_key_find(path);
	if (known < 0) {
		if (rt_key_is_section(path) && (rt_value_null(text) || strcmp(text, "~") == 0 || !*text))
			return true;
		unknown_key(r, key_at, path);
		return false;
	}
	if (rt_key_at(known)->type == RT_KEY_ANY)
		text = "null";
	char *expanded = rt_env_expand(text, err);
	char *canonical = expanded ? rt_key_parse(rt_key_at(known), path, expanded, err) : NULL;
	free(expanded);
	if (!canonical) {
		diag_error(r->diag, at, "%s", err);
		return false;
	}
	RecipeValue v = {arena_strdup(r->arena, path), arena_strdup(r->arena, canonical), at};
	free(canonical);
	int64_t old;
	if (map_get(&r->index, path, &old)) {
		r->values.v[old] = v;
	} else {
		map_set(&r->index, path, r->values.n);
		vec_push(r->arena, &r->values, v);
	}
	return true;
}

static bool skip_node(Reader *y)
{
	int depth = 0;
	do {
		yaml_event_type_t t = y->event.type;
		depth += t == YAML_MAPPING_START_EVENT || t == YAML_SEQUENCE_START_EVENT;
		depth -= t == YAML_MAPPING_END_EVENT || t == YAML_SEQUENCE_END_EVENT;
		if (depth && !next(y))
			return false;
	} while (depth);
	return true;
}

/* A list of scalars as `[a, b]`. */
static bool read_list(Reader *y, Span key_at, const char *path)
{
	Text t = {0};
	Span at = event_span(y);
	int known = rt_key_find(path);
	bool ok = true;
	if (known >= 0 && rt_key_at(known)->type == RT_KEY_ANY)
		return skip_node(y) && set_value(y->r, key_at, at, path, "null");
	text_add(&t, "[");
	for (ok = next(y); ok && y->event.type != YAML_SEQUENCE_END_EVENT; ok = next(y)) {
		if (y->event.type != YAML_SCALAR_EVENT) {
			diag_error(y->r->diag, event_span(y), "`%s` is a list of plain values", path);
			ok = skip_node(y);
			break;
		}
		text_add(&t, "%s%s", t.n > 1 ? ", " : "", scalar(y));
	}
	text_add(&t, "]");
	if (ok && y->event.type == YAML_SEQUENCE_END_EVENT) {
		at.end = (uint32_t)y->event.end_mark.index;
		set_value(y->r, key_at, at, path, t.s);
	}
	text_free(&t);
	return !y->failed;
}

static bool read_mapping(Reader *y, const char *prefix, int depth);

static bool read_value(Reader *y, Span key_at, const char *path, int depth)
{
	int known = rt_key_find(path);
	switch (y->event.type) {
	case YAML_SCALAR_EVENT: {
		bool quoted = y->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		const char *text = !quoted && !*scalar(y) ? "null" : scalar(y);
		set_value(y->r, key_at, event_span(y), path, text);
		return true;
	}
	case YAML_SEQUENCE_START_EVENT: return read_list(y, key_at, path);
	case YAML_MAPPING_START_EVENT:
		if (rt_key_is_section(path))
			return read_mapping(y, path, depth + 1);
		if (known < 0)
			unknown_key(y->r, key_at, path);
		else if (rt_key_at(known)->type != RT_KEY_ANY)
			diag_error(y->r->diag, key_at, "`%s` takes one value, not a section", path);
		return skip_node(y);
	default: return false;
	}
}

static bool read_mapping(Reader *y, const char *prefix, int depth)
{
	Map seen = map_new(y->r->arena);
	if (depth > MAX_DEPTH) {
		diag_error(y->r->diag, event_span(y), "nested too deeply");
		y->failed = true;
		return false;
	}
	while (next(y) && y->event.type != YAML_MAPPING_END_EVENT) {
		Span at = event_span(y);
		if (y->event.type != YAML_SCALAR_EVENT) {
			diag_error(y->r->diag, at, "a key must be a plain name");
			y->failed = true;
			return false;
		}
		const char *path = arena_printf(y->r->arena, "%s%s%s", prefix, *prefix ? "." : "", scalar(y));
		int64_t before;
		bool twice = map_get(&seen, path, &before);
		if (twice) {
			diag_error(y->r->diag, at, "`%s` stands here twice", path);
			diag_note(y->r->diag, (Span){y->file, (uint32_t)before, (uint32_t)before + (at.end - at.begin)},
			          "the first one is here");
		}
		map_set(&seen, path, at.begin);
		if (!next(y) || !(twice ? skip_node(y) : read_value(y, at, path, depth)))
			return false;
	}
	return !y->failed;
}

static bool read_document(Reader *y)
{
	do {
		if (!next(y))
			return false;
	} while (y->event.type == YAML_STREAM_START_EVENT || y->event.type == YAML_DOCUMENT_START_EVENT);
	if (y->event.type == YAML_STREAM_END_EVENT)
		return true;
	if (y->event.type != YAML_MAPPING_START_EVENT) {
		diag_error(y->r->diag, event_span(y), "a recipe is a mapping of keys to values");
		return false;
	}
	return read_mapping(y, "", 0);
}

Recipe *recipe_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n)
{
	Reader y = {.r = ARENA_NEW(a, Recipe)};
	uint32_t errors = diag_errors(d);
	*y.r = (Recipe){.arena = a, .diag = d, .path = path, .source = text, .index = map_new(a)};
	y.file = diag_add_source(d, path, text, (uint32_t)n);
	if (n > MAX_BYTES) {
		diag_error(d, (Span){0}, "%s: a recipe of more than %d bytes", path, MAX_BYTES);
		return NULL;
	}
	if (!yaml_parser_initialize(&y.parser))
		return NULL;
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, n);
	read_document(&y);
	yaml_event_delete(&y.event);
	yaml_parser_delete(&y.parser);
	return diag_errors(d) == errors ? y.r : NULL;
}

Recipe *recipe_load(Arena *a, Diag *d, const char *path)
{
	size_t n = 0;
	char *text = file_read(a, path, &n);
	if (!text) {
		diag_error(d, (Span){0}, "cannot read the recipe %s: %s", path, strerror(errno));
		return NULL;
	}
	return recipe_parse(a, d, path, text, n);
}

bool recipe_override(Recipe *r, const char *key, const char *value)
{
	return set_value(r, (Span){0}, (Span){0}, key, value);
}

const char *recipe_text(const Recipe *r, const char *key)
{
	int64_t i;
	if (map_get(&r->index, key, &i))
		return r->values.v[i].text;
	int known = rt_key_find(key);
	if (known < 0)
		ice("recipe key %s is not in the table", key);
	return rt_key_at(known)->initial;
}

bool recipe_null(const Recipe *r, const char *key)
{
	return rt_value_null(recipe_text(r, key));
}

int64_t recipe_int(const Recipe *r, const char *key)
{
	return rt_value_int(recipe_text(r, key));
}

double recipe_float(const Recipe *r, const char *key)
{
	return rt_value_float(recipe_text(r, key));
}

bool recipe_bool(const Recipe *r, const char *key)
{
	return rt_value_bool(recipe_text(r, key));
}

Span recipe_span(const Recipe *r, const char *key)
{
	int64_t i;
	return map_get(&r->index, key, &i) ? r->values.v[i].span : (Span){0};
}

static void list_keys(const Recipe *r, RtKeyWhen when, const char *what)
{
	Text t = {0};
	for (uint32_t i = 0; i < r->values.n; i++) {
		int known = rt_key_find(r->values.v[i].key);
		if (known >= 0 && rt_key_at(known)->when == when)
			text_add(&t, "%s%s", t.n ? ", " : "", r->values.v[i].key);
	}
	if (t.n)
		fprintf(stderr, "note: %s: %s\n", what, t.s);
	text_free(&t);
}

void recipe_notes(const Recipe *r)
{
	list_keys(r, RT_KEY_NA, "not applicable here");
	list_keys(r, RT_KEY_LATER, "accepted, not done yet");
}

void recipe_keys(void)
{
	static const char *const when[] = {"build", "launch", "not applicable", "not done yet"};
	for (int i = 0; i < rt_key_count(); i++) {
		const RtKey *k = rt_key_at(i);
		printf("%-52s %-14s default %-12s %s\n", k->path, when[k->when], k->initial, k->doc);
	}
}
