/* recipe.c - YAML events to dotted keys.
 *
 * The reader walks libyaml's events with the dotted path of the mapping it is in. A mapping must be
 * a section of the key table, a scalar or a list a key of it. Lists become the text `[a, b]` and go
 * through the same value check as everything else. Aliases are refused: nothing in a recipe needs
 * them, and they can make a small file large.
 */
#include "recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "../../runtime/rt_keys.h"
#include "../base/text.h"

enum { MAX_DEPTH = 32, MAX_BYTES = 1 << 20 };

typedef struct Reader {
	Recipe *r;
	yaml_parser_t parser;
	yaml_event_t event;
	uint32_t file;
	size_t n;                /* bytes of the text */
	size_t seen_chars, seen_bytes;   /* the same place, counted in both ways */
	bool failed;             /* the YAML itself is wrong: stop */
} Reader;

/* libyaml counts characters, spans count bytes. Marks mostly go forward, so the last place is kept. */
static uint32_t byte_of(Reader *y, size_t character)
{
	const char *text = y->r->source;
	if (character < y->seen_chars)
		y->seen_chars = y->seen_bytes = 0;
	while (y->seen_chars < character && y->seen_bytes < y->n) {
		y->seen_bytes++;
		while (y->seen_bytes < y->n && ((unsigned char)text[y->seen_bytes] & 0xC0) == 0x80)
			y->seen_bytes++;
		y->seen_chars++;
	}
	return (uint32_t)y->seen_bytes;
}

static Span mark_span(Reader *y, yaml_mark_t begin, yaml_mark_t end)
{
	uint32_t b = byte_of(y, begin.index), e = byte_of(y, end.index);
	return (Span){y->file, b, e > b ? e : b + 1};
}

static Span event_span(Reader *y)
{
	return mark_span(y, y->event.start_mark, y->event.end_mark);
}

static void syntax_error(Reader *y)
{
	const yaml_parser_t *p = &y->parser;
	const char *what = p->problem ? p->problem : "not YAML";
	Diag *d = y->r->diag;
	if (p->error == YAML_READER_ERROR) {
		uint32_t at = (uint32_t)(p->problem_offset < y->n ? p->problem_offset : y->n);
		diag_error(d, (Span){y->file, at, at + 1}, "%s", what);
		return;
	}
	diag_error(d, mark_span(y, p->problem_mark, p->problem_mark), "%s", what);
	if (p->context && p->context_mark.index != p->problem_mark.index)
		diag_note(d, mark_span(y, p->context_mark, p->context_mark), "%s", p->context);
	if (strstr(what, "tab") || strstr(what, "start any token"))
		diag_help(d, "YAML is indented with blanks, not with tabs");
	else if (strstr(what, "expected key"))
		diag_help(d, "the keys of a section stand in one column");
}

/* Values say what they are without tags, and nothing is ever made or executed. */
static void refuse_tag(Reader *y)
{
	const yaml_event_t *e = &y->event;
	const char *tag = (const char *)(e->type == YAML_SCALAR_EVENT         ? e->data.scalar.tag
	                                 : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
	                                 : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.tag
	                                                                        : NULL);
	static const char standard[] = "tag:yaml.org,2002:";
	static const char *const known[] = {"str", "int", "float", "bool", "null", "seq", "map"};
	bool plain = !tag || strcmp(tag, "!") == 0;
	for (size_t i = 0; i < LEN(known) && !plain; i++)
		plain = strncmp(tag, standard, sizeof standard - 1) == 0 && strcmp(tag + sizeof standard - 1, known[i]) == 0;
	if (!plain)
		diag_error(y->r->diag, event_span(y), "the tag `%.80s` is not supported: a recipe makes no objects", tag);
}

/* The next event; false after a message when the text is no YAML. */
static bool next(Reader *y)
{
	yaml_event_delete(&y->event);
	if (!yaml_parser_parse(&y->parser, &y->event)) {
		syntax_error(y);
		y->failed = true;
		return false;
	}
	if (y->event.type == YAML_ALIAS_EVENT) {
		diag_error(y->r->diag, event_span(y), "aliases are not supported in a recipe");
		diag_help(y->r->diag, "write the value out");
		y->failed = true;
		return false;
	}
	refuse_tag(y);
	return true;
}

static const char *scalar(const Reader *y)
{
	return (const char *)y->event.data.scalar.value;
}

static void unknown_key(Recipe *r, Span at, const char *path)
{
	char near[RT_KEY_ERR];
	diag_error(r->diag, at, "unknown recipe key `%s`", path);
	if (rt_key_closest(path, near))
		diag_help(r->diag, "did you mean `%s`?", near);
	else
		diag_help(r->diag, "`glmc --keys` lists the keys");
}

static bool set_value(Recipe *r, Span key_at, Span at, const char *path, const char *text)
{
	char err[RT_KEY_ERR];
	int known = rt_key_find(path);
	if (known < 0) {
		bool section = rt_key_is_section(path);
		if (section && (rt_value_null(text) || strcmp(text, "~") == 0 || !*text))
			return true;
		if (section)
			diag_error(r->diag, key_at, "`%s` is a section: it holds keys, not a value", path);
		else
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

/* A list or a section where the key takes one value. */
static bool misfit(Reader *y, Span key_at, const char *path, const char *what)
{
	int known = rt_key_find(path);
	if (known < 0)
		unknown_key(y->r, key_at, path);
	else if (rt_key_at(known)->type == RT_KEY_ANY || strcmp(rt_key_at(known)->values, "=null") == 0)
		set_value(y->r, key_at, key_at, path, what);
	else
		diag_error(y->r->diag, key_at, "`%s` takes one value, not a %s", path, what);
	return skip_node(y);
}

/* A list of scalars as `[a, b]`. */
static bool read_list(Reader *y, Span key_at, const char *path)
{
	Text t = {0};
	Span at = event_span(y);
	int known = rt_key_find(path);
	bool plain = true;
	if (known < 0 || rt_key_at(known)->type != RT_KEY_FLOATS)
		return misfit(y, key_at, path, "list");
	text_add(&t, "[");
	while (next(y) && y->event.type != YAML_SEQUENCE_END_EVENT) {
		if (y->event.type == YAML_SCALAR_EVENT) {
			text_add(&t, "%s%s", t.n > 1 ? ", " : "", scalar(y));
			continue;
		}
		if (plain)
			diag_error(y->r->diag, event_span(y), "`%s` is a list of plain values", path);
		plain = false;
		if (!skip_node(y))
			break;
	}
	text_add(&t, "]");
	if (!y->failed && plain) {
		at.end = byte_of(y, y->event.end_mark.index);
		set_value(y->r, key_at, at, path, t.s);
	}
	text_free(&t);
	return !y->failed;
}

static bool read_mapping(Reader *y, const char *prefix, int depth);

static bool read_value(Reader *y, Span key_at, const char *path, int depth)
{
	switch (y->event.type) {
	case YAML_SCALAR_EVENT: {
		bool quoted = y->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		const char *text = !quoted && !*scalar(y) ? "null" : scalar(y);
		set_value(y->r, key_at, event_span(y), path, text);
		return true;
	}
	case YAML_SEQUENCE_START_EVENT: return read_list(y, key_at, path);
	case YAML_MAPPING_START_EVENT:
		return rt_key_is_section(path) ? read_mapping(y, path, depth + 1) : misfit(y, key_at, path, "section");
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
		diag_help(y->r->diag, "a line is `key: value`, with a blank after the colon");
		return false;
	}
	return read_mapping(y, "", 0);
}

/* Nothing follows the mapping but the end. */
static void read_end(Reader *y)
{
	while (next(y) && y->event.type != YAML_STREAM_END_EVENT) {
		if (y->event.type != YAML_DOCUMENT_START_EVENT)
			continue;
		diag_error(y->r->diag, event_span(y), "a recipe is one document, this begins another");
		return;
	}
}

Recipe *recipe_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n)
{
	Reader y = {.r = ARENA_NEW(a, Recipe), .n = n};
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
	yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
	if (read_document(&y) && y.event.type != YAML_STREAM_END_EVENT)
		read_end(&y);
	yaml_event_delete(&y.event);
	yaml_parser_delete(&y.parser);
	return diag_errors(d) == errors ? y.r : NULL;
}

Recipe *recipe_load(Arena *a, Diag *d, const char *path)
{
	size_t n = 0;
	char *text = diag_read(d, a, (Span){0}, "the recipe ", path, &n);
	return text ? recipe_parse(a, d, path, text, n) : NULL;
}

bool recipe_has(const char *key)
{
	return rt_key_find(key) >= 0 || rt_key_is_section(key);
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
		diag_note(r->diag, (Span){0}, "%s: %s", what, t.s);
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
