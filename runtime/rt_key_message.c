/* rt_key_message.c - what a recipe key allows, and the messages about a value that it does not. */
#include "rt_key_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_words.h"

/* ---- alternatives and ranges */

bool rt_alt_next(const char **at, RtAlt *alt)
{
	if (!**at)
		return false;
	alt->s = *at;
	alt->n = strcspn(*at, "|");
	*at += alt->n + ((*at)[alt->n] == '|');
	return true;
}

const char *rt_alts(const RtKey *key, bool *partial)
{
	bool p = key->values[0] == '=';
	if (partial)
		*partial = p;
	return key->values + p;
}

bool rt_alt_is(RtAlt a, const char *s)
{
	return strlen(s) == a.n && !memcmp(a.s, s, a.n);
}

bool rt_key_has_null(const RtKey *key)
{
	RtAlt a;
	for (const char *at = rt_alts(key, NULL); rt_alt_next(&at, &a);)
		if (rt_alt_is(a, "null"))
			return true;
	return false;
}

RtRange rt_range(RtAlt a)
{
	char s[64];
	RtRange r = {0};
	snprintf(s, sizeof s, "%.*s", (int)a.n, a.s);
	char *dots = strstr(s, "..");
	if (!dots) {
		r.low = r.high = strtod(s, NULL);
		r.has_low = r.has_high = r.exact = true;
		return r;
	}
	*dots = 0;
	const char *low = s, *high = dots + 2;
	r.open_low = *low == '>';
	low += r.open_low;
	r.open_high = *high == '<';
	high += r.open_high;
	r.has_low = *low;
	r.has_high = *high;
	r.low = strtod(low, NULL);
	r.high = strtod(high, NULL);
	return r;
}

/* ---- texts of bounded size */

typedef struct Line {
	char *s;
	size_t size;
} Line;

static void add(Line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(Line *l, const char *fmt, ...)
{
	va_list ap;
	size_t n = strlen(l->s);
	va_start(ap, fmt);
	vsnprintf(l->s + n, l->size - n, fmt, ap);
	va_end(ap);
}

static void add_range(Line *l, RtRange r)
{
	if (r.exact)
		add(l, "%.17g", r.low);
	else if (r.has_low && r.has_high && !r.open_low && !r.open_high)
		add(l, "from %.17g to %.17g", r.low, r.high);
	else {
		if (r.has_low)
			add(l, "%s %.17g", r.open_low ? "above" : "of at least", r.low);
		if (r.has_high)
			add(l, "%s%s %.17g", r.has_low ? " and " : "", r.open_high ? "below" : "at most", r.high);
	}
}

static void add_list_of(Line *l, RtAlt a)
{
	const char *star = memchr(a.s, '*', a.n);
	int count = atoi(a.s);
	add(l, "a list of ");
	if (count)
		add(l, "%d ", count);
	add(l, "numbers ");
	add_range(l, rt_range((RtAlt){star + 1, a.n - (size_t)(star + 1 - a.s)}));
}

static bool is_number(const RtKey *key)
{
	return key->type == RT_KEY_INT || key->type == RT_KEY_FLOAT;
}

/* Of a class, the part that tells it apart. */
static RtAlt leaf(const RtKey *key, RtAlt a)
{
	size_t n = a.n;
	if (key->type != RT_KEY_TARGET || strlen(key->values) < 200)
		return a;
	while (n && a.s[n - 1] != '.')
		n--;
	return (RtAlt){a.s + n, a.n - n};
}

/* The alternatives as `a, b or c`, null last, each once. */
static void add_alternatives(Line *l, const RtKey *key)
{
	RtAlt a, all[32];
	int n = 0;
	for (const char *at = rt_alts(key, NULL); rt_alt_next(&at, &a);) {
		bool known = rt_alt_is(a, "null") || !a.n || n == 31;
		a = leaf(key, a);
		for (int k = 0; k < n; k++)
			known |= all[k].n == a.n && !memcmp(all[k].s, a.s, a.n);
		if (!known)
			all[n++] = a;
	}
	if (rt_key_has_null(key))
		all[n++] = (RtAlt){"null", 4};
	for (int k = 0; k < n; k++) {
		add(l, "%s", !k ? "" : k + 1 < n ? ", " : " or ");
		if (is_number(key) && !rt_alt_is(all[k], "null"))
			add_range(l, rt_range(all[k]));
		else if (key->type == RT_KEY_FLOATS && !rt_alt_is(all[k], "null"))
			add_list_of(l, all[k]);
		else
			add(l, "%.*s", (int)all[k].n, all[k].s);
	}
}

/* ---- messages */

/* A name that was nearly hit, or the class of that name in its right module. */
static void add_suggestion(Line *l, const RtKey *key, const char *text)
{
	RtAlt a;
	char name[200];
	if (key->type != RT_KEY_ENUM && key->type != RT_KEY_NAME && key->type != RT_KEY_TARGET)
		return;
	for (const char *at = rt_alts(key, NULL); rt_alt_next(&at, &a);) {
		snprintf(name, sizeof name, "%.*s", (int)a.n, a.s);
		bool near = key->type == RT_KEY_TARGET ? !strcmp(rt_value_leaf(name), rt_value_leaf(text))
		                                       : rt_word_distance(name, text) <= rt_word_reach(text);
		if (near) {
			add(l, ", did you mean `%s`?", name);
			return;
		}
	}
}

static const char *kind(const RtKey *key)
{
	static const char *const kinds[] = {"an integer ", "a number ", "true or false", "a text", "one of ",
	                                    "one of ", "one of ", "one of ", "", "any value"};
	return kinds[key->type];
}

static bool leading_zero(const RtKey *key, const char *text)
{
	return is_number(key) && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

char *rt_key_wrong(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	Line l = {err, RT_KEY_ERR};
	bool plain = key->type == RT_KEY_BOOL || key->type == RT_KEY_STR;
	int shown = key->type == RT_KEY_TARGET ? 100 : 40;
	snprintf(err, RT_KEY_ERR, "`%.80s` must be %s", path, kind(key));
	if (!plain)
		add_alternatives(&l, key);
	else if (rt_key_has_null(key))
		add(&l, " or null");
	add(&l, ", not `%.*s%s`", shown, text, strlen(text) > (size_t)shown ? "..." : "");
	if (leading_zero(key, text))
		add(&l, ": YAML reads a leading 0 as octal");
	add_suggestion(&l, key, text);
	return NULL;
}

char *rt_key_refused(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	Line l = {err, RT_KEY_ERR};
	bool partial;
	const char *alts = rt_alts(key, &partial);
	if (!partial)
		return rt_key_wrong(key, path, text, err);
	if (!strcmp(alts, "null")) {
		snprintf(err, RT_KEY_ERR, "`%.80s` is not supported yet: %s", path, key->doc);
		return NULL;
	}
	snprintf(err, RT_KEY_ERR, "`%.80s: %.100s` is not supported yet, only ", path, text);
	add_alternatives(&l, key);
	add_suggestion(&l, key, text);
	return NULL;
}
