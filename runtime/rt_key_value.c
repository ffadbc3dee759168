/* rt_key_value.c - rt_key_parse: the value of a recipe key, checked and made canonical.
 *
 * AutoModel reads YAML with PyYAML and then evaluates every string leaf as a Python literal, so a
 * value means the same quoted or not, in the file or on the command line: `1e-5` is a number,
 * `none` and `null` are null. Here the key's type decides instead of the text, which gives the same
 * values without guessing and refuses what would be read differently by YAML and Python (`010`).
 */
#include "rt_key_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_TEXT = 4096, MAX_LIST = 4096 };

static bool is_one_of(const char *s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(s, names[i]))
			return true;
	return false;
}

static bool in_range(RtRange r, double x)
{
	if (r.has_low && (r.open_low ? x <= r.low : x < r.low))
		return false;
	return !r.has_high || (r.open_high ? x < r.high : x <= r.high);
}

static bool number_allowed(const RtKey *key, double x)
{
	RtAlt a;
	bool any = false, partial;
	for (const char *at = rt_alts(key, &partial); rt_alt_next(&at, &a);) {
		if (rt_alt_is(a, "null"))
			continue;
		any = true;
		if (in_range(rt_range(a), x))
			return true;
	}
	return !any && !partial;
}

static char *own(const char *s, char err[RT_KEY_ERR])
{
	char *copy = strdup(s);
	if (!copy)
		snprintf(err, RT_KEY_ERR, "out of memory");
	return copy;
}

/* ---- one function per type */

static char *take_int(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	int64_t x;
	char out[32];
	if (!rt_text_int(text, &x))
		return rt_key_wrong(key, path, text, err);
	if (!number_allowed(key, (double)x))
		return rt_key_refused(key, path, text, err);
	snprintf(out, sizeof out, "%lld", (long long)x);
	return own(out, err);
}

static char *take_float(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	double x;
	char out[32];
	if (!rt_text_float(text, &x))
		return rt_key_wrong(key, path, text, err);
	if (!number_allowed(key, x))
		return rt_key_refused(key, path, text, err);
	rt_print_float(x, out);
	return own(out, err);
}

/* PyYAML's words, and Python's. */
static int bool_word(const char *s)
{
	static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
	static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
	if (is_one_of(s, yes, sizeof yes / sizeof *yes))
		return 1;
	return is_one_of(s, no, sizeof no / sizeof *no) ? 0 : -1;
}

static char *take_bool(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	int b = bool_word(text);
	if (b < 0)
		return rt_key_wrong(key, path, text, err);
	const char *word = b ? "true" : "false";
	if (key->values[0] == '=' && strcmp(key->values + 1, word))
		return rt_key_refused(key, path, word, err);
	return own(word, err);
}

static char *take_name(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	RtAlt a;
	const char *word = text;
	int b = bool_word(text);
	for (const char *at = rt_alts(key, NULL); rt_alt_next(&at, &a);) {
		if (b >= 0 && rt_alt_is(a, b ? "true" : "false"))
			word = b ? "true" : "false";
		if (strlen(word) != a.n || rt_alt_is(a, "null"))
			continue;
		if (key->type == RT_KEY_NAME ? strncasecmp(a.s, word, a.n) : memcmp(a.s, word, a.n))
			continue;
		char *copy = strndup(a.s, a.n);
		if (!copy)
			snprintf(err, RT_KEY_ERR, "out of memory");
		return copy;
	}
	return rt_key_refused(key, path, text, err);
}

static char *take_dtype(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	static const char *const names[][2] = {
	    {"float32", "float32"}, {"fp32", "float32"}, {"float", "float32"}, {"bfloat16", "bfloat16"},
	    {"bf16", "bfloat16"}, {"float16", "float16"}, {"fp16", "float16"}, {"half", "float16"},
	    {"float64", "float64"}, {"double", "float64"}, {"auto", "auto"}};
	const char *word = strncmp(text, "torch.", 6) ? text : text + 6;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(word, names[i][0]))
			return take_name(key, path, names[i][1], err);
	return rt_key_wrong(key, path, text, err);
}

static char *take_str(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	if (key->values[0] == '=')
		return rt_key_refused(key, path, text, err);
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 32 || *p == 127) {
			snprintf(err, RT_KEY_ERR, "`%.80s` must not hold control characters", path);
			return NULL;
		}
	}
	return own(text, err);
}

static char *take_floats(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	const char *alts = rt_alts(key, NULL), *star = strchr(alts, '*');
	int count = 0, want = 0;
	while (star > alts && star[-1] >= '0' && star[-1] <= '9')
		star--;
	want = atoi(star);
	star = strchr(star, '*') + 1;
	RtRange r = rt_range((RtAlt){star, strcspn(star, "|")});
	size_t n = strlen(text), size = n * 26 + 8;
	if (n < 2 || !((text[0] == '[' && text[n - 1] == ']') || (text[0] == '(' && text[n - 1] == ')')))
		return rt_key_wrong(key, path, text, err);
	char *out = malloc(size);
	if (!out)
		return own(text, err);
	strcpy(out, "[");
	size_t used = 1;
	const char *at = text + 1 + strspn(text + 1, " \t"), *end = text + n - 1;
	bool ok = true;
	while (ok && at < end) {
		double x = 0;
		char number[32];
		ok = count++ < MAX_LIST && rt_text_element(&at, &x) && in_range(r, x) && (*at == ',' || at == end);
		rt_print_float(x, number);
		used += (size_t)snprintf(out + used, size - used, "%s%s", used > 1 ? ", " : "", number);
		at += *at == ',';
		at += strspn(at, " \t");
	}
	if (!ok || (want && count != want)) {
		free(out);
		return rt_key_wrong(key, path, text, err);
	}
	strcpy(out + used, "]");
	return out;
}

static bool null_word(const char *s)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL", "none", "None"};
	return is_one_of(s, words, sizeof words / sizeof *words);
}

/* Without surrounding blanks, and without one pair of quotes around plain text. */
static char *trimmed(const char *text)
{
	text += strspn(text, " \t");
	size_t n = strlen(text);
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
		n--;
	if (n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0] &&
	    !memchr(text + 1, text[0], n - 2) && !memchr(text, '\\', n)) {
		text++;
		n -= 2;
	}
	return strndup(text, n);
}

char *rt_key_parse(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	static char *(*const take[])(const RtKey *, const char *, const char *, char *) = {
	    take_int, take_float, take_bool, take_str, take_name, take_name, take_dtype,
	    take_name, take_floats, take_str};
	err[0] = 0;
	if (strlen(text) > MAX_TEXT && key->type != RT_KEY_FLOATS) {
		snprintf(err, RT_KEY_ERR, "the value of `%.80s` is too long (more than %d bytes)", path,
		         MAX_TEXT);
		return NULL;
	}
	if (key->type == RT_KEY_ANY)
		return own(text, err);
	char *word = trimmed(text), *value;
	if (!word)
		return own("", err);
	if (!null_word(word))
		value = take[key->type](key, path, word, err);
	else if (rt_key_has_null(key))
		value = own("null", err);
	else
		value = rt_key_refused(key, path, "null", err);
	free(word);
	return value;
}
