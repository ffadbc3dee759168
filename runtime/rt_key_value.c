/* rt_key_value.c - rt_key_parse: the value of a recipe key, checked and made canonical.
 *
 * AutoModel reads YAML with PyYAML and then evaluates every string leaf as a Python literal, so a
 * value means the same quoted or not, in the file or on the command line: `1e-5` is a number,
 * `none` and `null` are null. Here the key's type decides instead of the text, which gives the same
 * values without guessing and refuses what would be read differently by YAML and Python (`010`).
 */
#include "rt_keys.h"
#include "rt_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_TEXT = 4096, MAX_LIST = 4096 };

/* One alternative of RtKey.values. */
typedef struct Alt {
	const char *s;
	size_t n;
} Alt;

static bool next_alt(const char **at, Alt *alt)
{
	if (!**at)
		return false;
	alt->s = *at;
	alt->n = strcspn(*at, "|");
	*at += alt->n + ((*at)[alt->n] == '|');
	return true;
}

static const char *alts_of(const RtKey *key, bool *partial)
{
	bool p = key->values[0] == '=';
	if (partial)
		*partial = p;
	return key->values + p;
}

static bool alt_is(Alt a, const char *s)
{
	return strlen(s) == a.n && !memcmp(a.s, s, a.n);
}

static bool has_null(const RtKey *key)
{
	Alt a;
	for (const char *at = alts_of(key, NULL); next_alt(&at, &a);)
		if (alt_is(a, "null"))
			return true;
	return false;
}

static bool is_one_of(const char *s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(s, names[i]))
			return true;
	return false;
}

/* ---- ranges: "1", "1..", ">0..100", "0..<1" */

typedef struct Range {
	double low, high;
	bool has_low, has_high, open_low, open_high, exact;
} Range;

static Range range_of(Alt a)
{
	char s[64];
	Range r = {0};
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

static bool in_range(Range r, double x)
{
	if (r.has_low && (r.open_low ? x <= r.low : x < r.low))
		return false;
	return !r.has_high || (r.open_high ? x < r.high : x <= r.high);
}

static bool number_allowed(const RtKey *key, double x)
{
	Alt a;
	bool any = false, partial;
	for (const char *at = alts_of(key, &partial); next_alt(&at, &a);) {
		if (alt_is(a, "null"))
			continue;
		any = true;
		if (in_range(range_of(a), x))
			return true;
	}
	return !any && !partial;
}

/* ---- messages */

static void add(char *out, size_t size, const char *text)
{
	size_t n = strlen(out);
	snprintf(out + n, size - n, "%s", text);
}

static void describe_range(Range r, char out[160])
{
	if (r.exact) {
		snprintf(out, 160, "%g", r.low);
		return;
	}
	const char *low = r.open_low ? "above" : r.has_high ? "from" : "of at least";
	const char *high = r.open_high ? "below" : r.has_low ? "to" : "of at most";
	out[0] = 0;
	if (r.has_low)
		snprintf(out, 160, "%s %.17g%s", low, r.low, r.has_high ? " " : "");
	if (r.has_high)
		snprintf(out + strlen(out), 160 - strlen(out), "%s %.17g", high, r.high);
}

/* Writes what `values` allows, as the end of "must be ...". */
static void describe(const RtKey *key, char *out, size_t size)
{
	static const char *const kinds[] = {"an integer", "a number", "true or false", "a string",
	                                    "one of", "one of", "one of", "one of", "a list of", "any value"};
	bool partial, number = key->type == RT_KEY_INT || key->type == RT_KEY_FLOAT, first = true;
	Alt a;
	char piece[160];
	out[0] = 0;
	add(out, size, kinds[key->type]);
	for (const char *at = alts_of(key, &partial); next_alt(&at, &a);) {
		if (alt_is(a, "null") || !a.n)
			continue;
		if (key->type == RT_KEY_FLOATS) {
			Alt rest = {strchr(a.s, '*') + 1, a.n - (size_t)(strchr(a.s, '*') + 1 - a.s)};
			describe_range(range_of(rest), piece);
			if (atoi(a.s))
				snprintf(out + strlen(out), size - strlen(out), " %d", atoi(a.s));
			add(out, size, " numbers");
		} else if (number) {
			describe_range(range_of(a), piece);
		} else {
			snprintf(piece, sizeof piece, "%.*s", (int)a.n, a.s);
		}
		add(out, size, first || number ? " " : ", ");
		add(out, size, piece);
		first = false;
	}
	if (has_null(key))
		add(out, size, " or null");
}

static char *wrong(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	char expected[RT_KEY_ERR - 180];
	describe(key, expected, sizeof expected);
	snprintf(err, RT_KEY_ERR, "`%.80s` must be %s, not `%.40s%s`", path, expected, text,
	         strlen(text) > 40 ? "..." : "");
	return NULL;
}

/* A value that AutoModel knows and we do not; or, when nothing is partial, a wrong one. */
static char *refused(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	bool partial, any = false;
	Alt a;
	const char *alts = alts_of(key, &partial);
	if (!partial)
		return wrong(key, path, text, err);
	if (!strcmp(alts, "null")) {
		snprintf(err, RT_KEY_ERR, "`%.80s` is not supported yet: %s", path, key->doc);
		return NULL;
	}
	snprintf(err, RT_KEY_ERR, "`%.80s: %.40s` is not supported yet, only", path, text);
	for (const char *at = alts; next_alt(&at, &a);) {
		add(err, RT_KEY_ERR, any ? " or " : " ");
		char piece[80];
		snprintf(piece, sizeof piece, "%.*s", (int)a.n, a.s);
		add(err, RT_KEY_ERR, piece);
		any = true;
	}
	return NULL;
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
		return wrong(key, path, text, err);
	if (!number_allowed(key, (double)x))
		return refused(key, path, text, err);
	snprintf(out, sizeof out, "%lld", (long long)x);
	return own(out, err);
}

static char *take_float(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	double x;
	char out[32];
	if (!rt_text_float(text, &x))
		return wrong(key, path, text, err);
	if (!number_allowed(key, x))
		return refused(key, path, text, err);
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
		return wrong(key, path, text, err);
	const char *word = b ? "true" : "false";
	if (key->values[0] == '=' && strcmp(key->values + 1, word))
		return refused(key, path, word, err);
	return own(word, err);
}

static char *take_name(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	Alt a;
	const char *word = text;
	int b = bool_word(text);
	for (const char *at = alts_of(key, NULL); next_alt(&at, &a);) {
		if (b >= 0 && alt_is(a, b ? "true" : "false"))
			word = b ? "true" : "false";
		if (strlen(word) != a.n || alt_is(a, "null"))
			continue;
		if (key->type == RT_KEY_NAME ? strncasecmp(a.s, word, a.n) : memcmp(a.s, word, a.n))
			continue;
		char *copy = strndup(a.s, a.n);
		if (!copy)
			snprintf(err, RT_KEY_ERR, "out of memory");
		return copy;
	}
	return refused(key, path, text, err);
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
	return wrong(key, path, text, err);
}

static char *take_str(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR])
{
	if (key->values[0] == '=')
		return refused(key, path, text, err);
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
	const char *alts = alts_of(key, NULL), *star = strchr(alts, '*');
	int count = 0, want = 0;
	while (star > alts && star[-1] >= '0' && star[-1] <= '9')
		star--;
	want = atoi(star);
	star = strchr(star, '*') + 1;
	Range r = range_of((Alt){star, strcspn(star, "|")});
	size_t n = strlen(text), size = n * 26 + 8;
	if (n < 2 || !((text[0] == '[' && text[n - 1] == ']') || (text[0] == '(' && text[n - 1] == ')')))
		return wrong(key, path, text, err);
	char *out = malloc(size);
	if (!out)
		return own(text, err);
	strcpy(out, "[");
	size_t used = 1;
	const char *at = text + 1 + strspn(text + 1, " \t");
	while (at < text + n - 1) {
		double x;
		char number[32];
		if (count++ == MAX_LIST || !rt_text_element(&at, &x) || !in_range(r, x) || (*at != ',' && at != text + n - 1))
			break;
		rt_print_float(x, number);
		used += (size_t)snprintf(out + used, size - used, "%s%s", used > 1 ? ", " : "", number);
		at += *at == ',';
		at += strspn(at, " \t");
	}
	if (at != text + n - 1 || (want && count != want)) {
		free(out);
		return wrong(key, path, text, err);
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
	else if (has_null(key))
		value = own("null", err);
	else
		value = refused(key, path, "null", err);
	free(word);
	return value;
}
