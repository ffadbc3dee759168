/* rt_value.c - numbers as YAML and Python write them, and canonical text read back (rt_value.h).
 *
 * Decimal integers may carry underscores; `010` is refused, because YAML 1.1 reads it as eight and
 * Python not at all. Floats follow Python's grammar; infinite and nan are no setting of a training
 * run and are refused.
 */
#include "rt_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies digits without the underscores that Python allows between them; false when too long. */
static bool strip_underscores(const char *s, char out[64])
{
	size_t n = 0;
	for (size_t i = 0; s[i]; i++) {
		bool between = i && s[i] == '_' && strchr("0123456789abcdefABCDEF", s[i - 1]) &&
		               s[i + 1] && strchr("0123456789abcdefABCDEF", s[i + 1]);
		if (between)
			continue;
		if (n == 63)
			return false;
		out[n++] = s[i];
	}
	out[n] = 0;
	return n > 0;
}

bool rt_text_int(const char *text, int64_t *value)
{
	char s[64];
	if (!strip_underscores(text, s))
		return false;
	const char *digits = s + (s[0] == '-' || s[0] == '+');
	int base = 10;
	if (digits[0] == '0' && digits[1]) {
		base = digits[1] == 'x' || digits[1] == 'X' ? 16 : 0;
		if (!base)
			return false;
		digits += 2;
	}
	const char *set = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
	if (!*digits || digits[strspn(digits, set)])
		return false;
	errno = 0;
	*value = strtoll(s, NULL, base);
	return errno == 0;
}

bool rt_text_float(const char *text, double *value)
{
	char s[64];
	int64_t whole;
	if (rt_text_int(text, &whole)) {
		*value = (double)whole;
		return true;
	}
	if (!strip_underscores(text, s))
		return false;
	const char *p = s + (s[0] == '-' || s[0] == '+');
	size_t before = strspn(p, "0123456789"), after = 0;
	p += before;
	if (*p == '.') {
		after = strspn(++p, "0123456789");
		p += after;
	}
	if (!before && !after)
		return false;
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		if (!strspn(p, "0123456789"))
			return false;
		p += strspn(p, "0123456789");
	}
	if (*p)
		return false;
	*value = strtod(s, NULL);
	return isfinite(*value);
}

void rt_print_float(double x, char out[32])
{
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(out, 32, "%.*g", digits, x);
		if (strtod(out, NULL) == x)
			break;
	}
	if (!strpbrk(out, ".e"))
		strcat(out, ".0");
}

bool rt_text_element(const char **at, double *x)
{
	char word[64];
	const char *p = *at + strspn(*at, " \t");
	size_t n = strcspn(p, ",)] \t");
	if (!n || n >= sizeof word)
		return false;
	memcpy(word, p, n);
	word[n] = 0;
	*at = p + n + strspn(p + n, " \t");
	return rt_text_float(word, x);
}

bool rt_value_null(const char *text)
{
	return !text || !strcmp(text, "null");
}

int64_t rt_value_int(const char *text)
{
	int64_t x = 0;
	return text && rt_text_int(text, &x) ? x : 0;
}

double rt_value_float(const char *text)
{
	double x = 0;
	return text && rt_text_float(text, &x) ? x : 0;
}

bool rt_value_bool(const char *text)
{
	return text && !strcmp(text, "true");
}

int rt_value_floats(const char *text, double *out, int max)
{
	int n = 0;
	if (!text || *text != '[')
		return 0;
	for (const char *p = text + 1; *p && *p != ']';) {
		double x;
		if (!rt_text_element(&p, &x))
			break;
		if (n < max)
			out[n] = x;
		n++;
		p += *p == ',';
	}
	return n;
}

const char *rt_value_leaf(const char *text)
{
	const char *dot = strrchr(text, '.');
	return dot ? dot + 1 : text;
}
