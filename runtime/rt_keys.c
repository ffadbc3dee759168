/* rt_keys.c - the key table: lookup, suggestions, command-line overrides (rt_keys.h).
 *
 * The table is grammar/recipe.def. It is short, so lookups scan it; an exact path goes before one
 * with `*`.
 */
#include "rt_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_words.h"

static const RtKey table[] = {
#define KEY(path, type, when, initial, values, doc) \
	{path, RT_KEY_##type, RT_KEY_##when, initial, values, doc},
#include "grammar/recipe.def"
#undef KEY
};

enum { KEYS = sizeof table / sizeof *table };

int rt_key_count(void)
{
	return KEYS;
}

const RtKey *rt_key_at(int index)
{
	return &table[index];
}

/* `a.*` covers `a` itself too; `a*` everything that begins with a. */
static bool wildcard_covers(const char *pattern, const char *path)
{
	size_t n = strlen(pattern) - 1;
	if (pattern[n] != '*')
		return false;
	if (!strncmp(pattern, path, n))
		return true;
	return n && pattern[n - 1] == '.' && strlen(path) == n - 1 && !strncmp(pattern, path, n - 1);
}

int rt_key_find(const char *path)
{
	if (strchr(path, '*'))
		return -1;
	for (int i = 0; i < KEYS; i++)
		if (!strcmp(table[i].path, path))
			return i;
	for (int i = 0; i < KEYS; i++)
		if (wildcard_covers(table[i].path, path))
			return i;
	return -1;
}

bool rt_key_is_section(const char *path)
{
	size_t n = strlen(path);
	for (int i = 0; i < KEYS; i++)
		if (!strncmp(table[i].path, path, n) && table[i].path[n] == '.' &&
		    strcmp(table[i].path + n, ".*"))
			return true;
	return false;
}

/* ---- suggestions */

/* The right name in the wrong section, if only one section has it; else nearly that. */
static bool same_leaf(const char *leaf, char out[RT_KEY_ERR])
{
	for (int allowed = 0; allowed <= rt_word_reach(leaf); allowed++) {
		int found = 0;
		for (int i = 0; i < KEYS; i++) {
			const char *other = rt_value_leaf(table[i].path);
			if (strlen(other) < 4 || *other == '_' || !rt_word_near(leaf, other, allowed))
				continue;
			snprintf(out, RT_KEY_ERR, "%s", table[i].path);
			found++;
		}
		if (found)
			return found == 1;
	}
	return false;
}

bool rt_key_closest(const char *path, char out[RT_KEY_ERR])
{
	const char *leaf = rt_value_leaf(path);
	int limit = rt_word_reach(leaf);
	bool found = false;
	for (int i = 0; i < KEYS; i++) {
		const char *known = table[i].path;
		for (size_t n = strcspn(known, "."); known[n - 1] != '*'; n += 1 + strcspn(known + n + 1, ".")) {
			char part[RT_WORD_MAX];
			snprintf(part, sizeof part, "%.*s", (int)n, known);
			if (rt_word_near(path, part, limit)) {
				limit = rt_word_distance(path, part) - 1;
				found = true;
				snprintf(out, RT_KEY_ERR, "%s", part);
			}
			if (!known[n])
				break;
		}
	}
	return found || same_leaf(leaf, out);
}

/* ---- overrides */

bool rt_key_arg(int argc, char *const *argv, int *i, char **path, const char **value)
{
	if (*i >= argc || strncmp(argv[*i], "--", 2) || !argv[*i][2])
		return false;
	const char *word = argv[*i] + 2, *equal = strchr(word, '=');
	*path = equal ? strndup(word, (size_t)(equal - word)) : strdup(word);
	if (!*path)
		return false;
	++*i;
	if (equal)
		*value = equal + 1;
	else if (*i < argc && strncmp(argv[*i], "--", 2))
		*value = argv[(*i)++];
	else
		*value = "true";
	return true;
}

char *rt_key_override(const char *path, const char *value, char err[RT_KEY_ERR])
{
	int index = rt_key_find(path);
	if (index < 0) {
		char near[RT_KEY_ERR];
		bool hit = rt_key_closest(path, near);
		if (rt_key_is_section(path))
			snprintf(err, RT_KEY_ERR, "`%.80s` is a section: set one of its keys", path);
		else
			snprintf(err, RT_KEY_ERR, "unknown recipe key `%.80s`%s%.200s%s", path,
			         hit ? ", did you mean `" : "", hit ? near : "", hit ? "`?" : "");
		return NULL;
	}
	if (table[index].when == RT_KEY_COMPILE) {
		snprintf(err, RT_KEY_ERR, "`%.80s` shapes the program and cannot be changed at launch: "
		         "build again with --%.80s=%.80s", path, path, value);
		return NULL;
	}
	char *text = rt_env_expand(value, err);
	char *canonical = text ? rt_key_parse(&table[index], path, text, err) : NULL;
	free(text);
	return canonical;
}

/* ---- the environment in values */

typedef struct Growing {
	char *s;
	size_t n, cap;
} Growing;

static bool grow(Growing *g, const char *s, size_t n)
{
	if (g->n + n + 1 > g->cap) {
		size_t cap = (g->n + n + 1) * 2;
		char *p = realloc(g->s, cap);
		if (!p)
			return false;
		g->s = p;
		g->cap = cap;
	}
	memcpy(g->s + g->n, s, n);
	g->n += n;
	g->s[g->n] = 0;
	return true;
}

static bool name_char(char c, bool first)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (!first && c >= '0' && c <= '9');
}

/* Length of NAME(.NAME)* at s, 0 for none; a last dot does not belong to it. */
static size_t name_length(const char *s)
{
	size_t n = 0;
	if (!name_char(s[0], true))
		return 0;
	for (;;) {
		while (name_char(s[n], false))
			n++;
		if (s[n] != '.' || !name_char(s[n + 1], false))
			return n;
		n++;
	}
}

static bool put_variable(Growing *g, const char *name, size_t n, const char *fallback,
                         size_t nfallback, char err[RT_KEY_ERR])
{
	char key[256];
	snprintf(key, sizeof key, "%.*s", (int)n, name);
	const char *value = n < sizeof key ? getenv(key) : NULL;
	if (value)
		return grow(g, value, strlen(value));
	if (fallback)
		return grow(g, fallback, nfallback);
	snprintf(err, RT_KEY_ERR, "environment variable `%.200s` is not set: set it, or write "
	         "${%.200s,DEFAULT}", key, key);
	return false;
}

static void trim(const char **s, size_t *n)
{
	while (*n && (**s == ' ' || **s == '\t'))
		++*s, --*n;
	while (*n && ((*s)[*n - 1] == ' ' || (*s)[*n - 1] == '\t'))
		--*n;
}

/* The part between ${ and }. */
static bool put_braced(Growing *g, const char *s, size_t n, char err[RT_KEY_ERR])
{
	trim(&s, &n);
	if (n >= 7 && !memcmp(s, "oc.env:", 7)) {
		s += 7;
		n -= 7;
		trim(&s, &n);
	}
	const char *comma = memchr(s, ',', n), *fallback = comma ? comma + 1 : NULL;
	size_t nfallback = comma ? n - (size_t)(comma - s) - 1 : 0, nname = comma ? (size_t)(comma - s) : n;
	trim(&s, &nname);
	if (fallback)
		trim(&fallback, &nfallback);
	return put_variable(g, s, nname, fallback, nfallback, err);
}

char *rt_env_expand(const char *text, char err[RT_KEY_ERR])
{
	Growing g = {0};
	err[0] = 0;
	bool ok = grow(&g, "", 0);
	while (ok && *text) {
		size_t plain = strcspn(text, "$"), n;
		const char *end;
		ok = grow(&g, text, plain);
		text += plain;
		if (!ok || !*text)
			break;
		if (text[1] == '{' && (end = strchr(text, '}')) && end > text + 2) {
			ok = put_braced(&g, text + 2, (size_t)(end - text) - 2, err);
			text = end + 1;
		} else if ((n = name_length(text + 1))) {
			ok = put_variable(&g, text + 1, n, NULL, 0, err);
			text += 1 + n;
		} else {
			ok = grow(&g, text++, 1);
		}
	}
	if (ok)
		return g.s;
	free(g.s);
	if (!err[0])
		snprintf(err, RT_KEY_ERR, "out of memory");
	return NULL;
}
