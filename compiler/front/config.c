/* config.c - see config.h. One table says what each key means. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "../../runtime/rt_scan.h"
#include "../../runtime/rt_value.h"
#include "../base/map.h"

enum { MAX_BYTES = 1 << 22, MAX_LIST = 20000 };

typedef struct KeyInfo {
	const char *name;
	const char *only;        /* the one value that is supported; NULL any */
	const char *size;        /* what it gives; NULL: has no meaning here */
} KeyInfo;

static const KeyInfo keys[] = {
#define ONLY(name, size, value) {name, value, size},
#define SIZE(name, size) {name, NULL, size},
#define NONE(name) {name, NULL, NULL},
#include "grammar/config.def"
#undef ONLY
#undef SIZE
#undef NONE
};

typedef struct Reader {
	Arena *a;
	Diag *d;
	RtScan s;
	uint32_t file;
	VEC(SizeValue) out;
	Map seen;                /* key to its byte */
	const char *dtype, *architecture;
} Reader;

static Span here(const Reader *r, size_t begin)
{
	return (Span){r->file, (uint32_t)begin, (uint32_t)(r->s.at > begin ? r->s.at : begin + 1)};
}

static const KeyInfo *find_key(const char *name)
{
	for (uint32_t i = 0; i < LEN(keys); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

/* A list of texts or of integers; any other is an object. */
static bool read_elements(Reader *r, SizeValue *v, size_t begin)
{
	VEC(const char *) texts = {0};
	VEC(int64_t) ints = {0};
	char text[256];
	RtScan s = rt_scan(r->s.text, r->s.at);
	s.at = begin;
	for (bool more = rt_scan_open(&s, '['); more && texts.n + ints.n < MAX_LIST; more = rt_scan_next(&s, ']')) {
		int64_t x;
		size_t back = s.at;
		if (rt_scan_int(&s, &x)) {
			vec_push(r->a, &ints, x);
			continue;
		}
		s.error = NULL;
		s.at = back;
		if (!rt_scan_string(&s, text, sizeof text))
			break;
		vec_push(r->a, &texts, arena_strdup(r->a, text));
	}
	v->kind = s.error || (texts.n && ints.n) ? SIZE_OBJECT : ints.n ? SIZE_INTS : SIZE_STRINGS;
	v->strings = texts.v;
	v->ints = ints.v;
	v->n = texts.n + ints.n;
	return true;
}

/* Some sizes have two names; both may be given when they agree. */
static void add_size(Reader *r, const SizeValue *v)
{
	for (uint32_t k = 0; k < r->out.n; k++) {
		const SizeValue *old = &r->out.v[k];
		if (strcmp(old->name, v->name) != 0)
			continue;
		if (!rt_json_equal(old->json, strlen(old->json), v->json)) {
			diag_error(r->d, v->span, "`%s` gives `%s` another value", v->key, v->name);
			diag_note(r->d, old->span, "the first one is here");
		}
		return;
	}
	vec_push(r->a, &r->out, *v);
}

static bool is_integer(const char *text)
{
	return text[strspn(text, "-0123456789")] == 0;
}

/* The value v->json, which begins at `begin`, as a size. */
static bool read_size(Reader *r, SizeValue *v, size_t begin)
{
	const char *text = v->json;
	if (text[0] == '[')
		return read_elements(r, v, begin);
	if (text[0] == '"') {
		v->kind = SIZE_STRING;
		v->s = arena_strndup(r->a, text + 1, strlen(text) - 2);
	} else if (strcmp(text, "null") == 0) {
		v->kind = SIZE_NONE;
	} else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
		v->kind = SIZE_BOOL;
		v->i = text[0] == 't';
	} else if (rt_text_int(text, &v->i)) {
		v->kind = SIZE_INT;
	} else if (!is_integer(text) && rt_text_float(text, &v->f)) {
		v->kind = SIZE_FLOAT;
	} else {
		v->kind = text[0] == '{' ? SIZE_OBJECT : SIZE_TOO_LARGE;
	}
	return true;
}

/* The first text of a list or a text; NULL when it is something else. */
static const char *first_text(Reader *r, const char *value)
{
	char text[128];
	RtScan s = rt_scan(value, strlen(value));
	bool ok = (value[0] != '[' || rt_scan_open(&s, '[')) && rt_scan_string(&s, text, sizeof text);
	return ok ? arena_strdup(r->a, text) : NULL;
}

static bool member(Reader *r, const char *name, Span key_at)
{
	const char *begin;
	size_t n;
	const KeyInfo *k = find_key(name);
	if (!rt_scan_value(&r->s, &begin, &n))
		return false;
	SizeValue v = {.name = name, .key = name, .from_config = true, .key_span = key_at};
	v.span = here(r, (size_t)(begin - r->s.text));
	v.json = arena_strndup(r->a, begin, n);
	v.meaning = !k ? MEANS_UNKNOWN : k->only ? MEANS_ONLY : k->size ? MEANS_SIZE : MEANS_NOTHING;
	v.only = k ? k->only : NULL;
	if (k && k->size)
		v.name = k->size;
	if (strcmp(name, "torch_dtype") == 0 || strcmp(name, "dtype") == 0)
		r->dtype = first_text(r, v.json);
	if (strcmp(name, "architectures") == 0)
		r->architecture = first_text(r, v.json);
	if (!read_size(r, &v, (size_t)(begin - r->s.text)))
		return false;
	add_size(r, &v);
	return true;
}

static int peek(Reader *r)
{
	while (r->s.at < r->s.n && r->s.text[r->s.at] && strchr(" \t\r\n", r->s.text[r->s.at]))
		r->s.at++;
	return r->s.at < r->s.n ? (unsigned char)r->s.text[r->s.at] : -1;
}

/* The key at the reader; *twice: it was there before. */
static bool read_key(Reader *r, const char *prefix, const char **name, Span *at, bool *twice)
{
	char key[128];
	int64_t before;
	peek(r);
	size_t begin = r->s.at;
	if (!rt_scan_key(&r->s, key, sizeof key))
		return false;
	*name = arena_printf(r->a, "%s%s", prefix, key);
	*at = (Span){r->file, (uint32_t)begin, (uint32_t)(begin + strlen(key) + 2)};
	*twice = map_get(&r->seen, *name, &before);
	if (*twice) {
		diag_error(r->d, *at, "`%s` stands here twice", *name);
		diag_note(r->d, (Span){r->file, (uint32_t)before, (uint32_t)before + (at->end - at->begin)},
		          "the first one is here");
	}
	map_set(&r->seen, *name, (int64_t)begin);
	return true;
}

static bool object(Reader *r, const char *prefix)
{
	const char *name;
	Span at;
	bool twice, ok = true;
	for (bool more = rt_scan_open(&r->s, '{'); ok && more; more = ok && rt_scan_next(&r->s, '}')) {
		if (!read_key(r, prefix, &name, &at, &twice))
			return false;
		if (twice)
			ok = rt_scan_skip(&r->s);
		else if (strcmp(name, "rope_parameters") == 0 && peek(r) == '{')
			ok = object(r, "rope_parameters.");
		else
			ok = member(r, name, at);
	}
	return ok && !r->s.error;
}

Config *config_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n)
{
	Reader r = {.a = a, .d = d, .s = rt_scan(text, n), .seen = map_new(a)};
	uint32_t errors = diag_errors(d);
	r.file = diag_add_source(d, path, text, (uint32_t)n);
	if (n > MAX_BYTES) {
		diag_error(d, (Span){0}, "%s: a config.json of more than %d bytes", path, MAX_BYTES);
		return NULL;
	}
	if (!object(&r, "") || !rt_scan_end(&r.s))
		diag_error(d, here(&r, r.s.at < n ? r.s.at : n), "%s", r.s.error ? r.s.error : "more after the object");
	if (diag_errors(d) != errors)
		return NULL;
	Config *c = ARENA_NEW(a, Config);
	c->sizes = r.out.v;
	c->n = r.out.n;
	c->dtype = r.dtype;
	c->architecture = r.architecture;
	return c;
}

Config *config_load(Arena *a, Diag *d, const char *path)
{
	size_t n = 0;
	char *text = diag_read(d, a, (Span){0}, "the configuration ", path, &n);
	return text ? config_parse(a, d, path, text, n) : NULL;
}
