/* rt_scan.c - see rt_scan.h. */
#include "rt_scan.h"

#include <string.h>

#include "rt_value.h"

RtScan rt_scan(const char *text, size_t n)
{
	return (RtScan){.text = text, .n = n};
}

static bool wrong(RtScan *s, const char *what)
{
	if (!s->error)
		s->error = what;
	return false;
}

static int peek(RtScan *s)
{
	while (s->at < s->n && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
		s->at++;
	return s->at < s->n && !s->error ? (unsigned char)s->text[s->at] : -1;
}

static bool take(RtScan *s, char c, const char *what)
{
	if (peek(s) != c)
		return wrong(s, what);
	s->at++;
	return true;
}

bool rt_scan_open(RtScan *s, char open)
{
	char close = open == '{' ? '}' : ']';
	if (!take(s, open, open == '{' ? "expected an object" : "expected a list"))
		return false;
	if (peek(s) != close)
		return !s->error;
	s->at++;
	return false;
}

bool rt_scan_next(RtScan *s, char close)
{
	int c = peek(s);
	if (c != ',' && c != close)
		return wrong(s, close == '}' ? "expected `,` or `}`" : "expected `,` or `]`");
	s->at++;
	return c == ',';
}

static bool hex4(const char *p, unsigned *x)
{
	*x = 0;
	for (int k = 0; k < 4; k++) {
		int c = p[k], digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (digit < 0)
			return false;
		*x = *x * 16 + (unsigned)digit;
	}
	return true;
}

/* One escaped character, ASCII only: names and texts that matter here are ASCII. */
static int escape(RtScan *s)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned x;
	if (s->at >= s->n)
		return -1;
	char c = s->text[s->at++];
	if (c == 'u' && s->n - s->at >= 4 && hex4(s->text + s->at, &x)) {
		s->at += 4;
		return x < 128 ? (int)x : '?';
	}
	const char *hit = c ? strchr(from, c) : NULL;
	return hit ? to[hit - from] : -1;
}

bool rt_scan_string(RtScan *s, char *out, size_t size)
{
	size_t n = 0;
	if (!take(s, '"', "expected a text in quotes"))
		return false;
	for (;;) {
		if (s->at >= s->n)
			return wrong(s, "a text without an end");
		size_t begin = s->at;
		int c = (unsigned char)s->text[s->at++];
		if (c == '"')
			break;
		bool escaped = c == '\\', control = c < 32;
		if (escaped)
			c = escape(s);
		if (control || c < 0) {
			s->at = begin;
			return wrong(s, escaped ? "an escape that JSON does not have" : "a text without an end on its line");
		}
		if (out && n + 1 >= size)
			return wrong(s, "a text that is too long");
		if (out)
			out[n++] = (char)c;
	}
	if (out)
		out[n] = 0;
	return true;
}

bool rt_scan_key(RtScan *s, char *out, size_t size)
{
	if (peek(s) != '"')
		return wrong(s, "expected a name in quotes");
	return rt_scan_string(s, out, size) && take(s, ':', "expected `:`");
}

bool rt_scan_int(RtScan *s, int64_t *x)
{
	bool minus = peek(s) == '-';
	size_t at = s->at + minus, begin = at;
	uint64_t v = 0;
	for (; at < s->n && s->text[at] >= '0' && s->text[at] <= '9'; at++) {
		if (v > (uint64_t)INT64_MAX / 10 - 1)
			return wrong(s, "a number that is too large");
		v = v * 10 + (uint64_t)(s->text[at] - '0');
	}
	if (at == begin || (at < s->n && strchr(".eE", s->text[at]) && s->text[at]))
		return wrong(s, "expected an integer");
	s->at = at;
	*x = minus ? -(int64_t)v : (int64_t)v;
	return !s->error;
}

static size_t digits(const RtScan *s, size_t at)
{
	while (at < s->n && s->text[at] >= '0' && s->text[at] <= '9')
		at++;
	return at;
}

/* -1.5e-3; the end of it, `at` when there is none. */
static size_t number_end(const RtScan *s, size_t at)
{
	size_t p = at + (at < s->n && s->text[at] == '-'), end = digits(s, p);
	if (end == p)
		return at;
	if (end < s->n && s->text[end] == '.') {
		p = end + 1;
		end = digits(s, p);
		if (end == p)
			return at;
	}
	if (end < s->n && (s->text[end] | 32) == 'e') {
		p = end + 1;
		p += p < s->n && (s->text[p] == '-' || s->text[p] == '+');
		end = digits(s, p);
		if (end == p)
			return at;
	}
	return end;
}

static bool part_of_word(const RtScan *s, size_t at)
{
	if (at >= s->n || !s->text[at])
		return false;
	char lower = (char)(s->text[at] | 32);
	return strchr("+-._", s->text[at]) || (s->text[at] >= '0' && s->text[at] <= '9') || (lower >= 'a' && lower <= 'z');
}

/* A number, true, false or null. */
static bool skip_word(RtScan *s)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t end = number_end(s, s->at);
	for (int k = 0; k < 3 && end == s->at; k++) {
		size_t n = strlen(words[k]);
		if (s->n - s->at >= n && memcmp(s->text + s->at, words[k], n) == 0)
			end = s->at + n;
	}
	if (end == s->at || part_of_word(s, end))
		return wrong(s, part_of_word(s, s->at) ? "neither a number nor true, false or null" : "expected a value");
	s->at = end;
	return true;
}

static bool skip(RtScan *s, int depth)
{
	int c = peek(s);
	if (depth > 64)
		return wrong(s, "nested too deep");
	if (c == '"')
		return rt_scan_string(s, NULL, 0);
	if (c != '{' && c != '[')
		return c >= 0 ? skip_word(s) : wrong(s, "expected a value");
	char close = c == '{' ? '}' : ']';
	for (bool more = rt_scan_open(s, (char)c); more; more = rt_scan_next(s, close)) {
		if (c == '{' && !rt_scan_key(s, NULL, 0))
			return false;
		if (!skip(s, depth + 1))
			return false;
	}
	return !s->error;
}

bool rt_scan_skip(RtScan *s)
{
	return skip(s, 0);
}

bool rt_scan_value(RtScan *s, const char **begin, size_t *size)
{
	peek(s);
	size_t at = s->at;
	if (!skip(s, 0))
		return false;
	*begin = s->text + at;
	*size = s->at - at;
	return true;
}

bool rt_scan_end(RtScan *s)
{
	return peek(s) < 0 && !s->error;
}

static bool equal_numbers(const char *a, size_t n, const char *b)
{
	double x, y;
	char copy[64];
	if (n >= sizeof copy)
		return false;
	memcpy(copy, a, n);
	copy[n] = 0;
	return rt_text_float(copy, &x) && rt_text_float(b, &y) && x == y;
}

bool rt_json_equal(const char *a, size_t n, const char *b)
{
	bool inside = false;     /* of a text, in both alike */
	size_t i = 0;
	if (equal_numbers(a, n, b))
		return true;
	for (;; i++, b++) {
		while (!inside && i < n && a[i] && strchr(" \t\r\n", a[i]))
			i++;
		while (!inside && *b && strchr(" \t\r\n", *b))
			b++;
		if (i == n || !*b || a[i] != *b)
			return i == n && !*b;
		if (*b == '\\' && inside && i + 1 < n && b[1] == a[i + 1]) {
			i++;
			b++;
		} else if (*b == '"') {
			inside = !inside;
		}
	}
}
