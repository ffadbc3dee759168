/* rt_scan.h - a pull reader for JSON that is large, flat and not to be trusted: rows of token ids,
 * safetensors headers. Nothing is allocated; values are taken in order or skipped.
 *
 *   RtScan s = rt_scan(text, n);
 *   for (bool more = rt_scan_open(&s, '{'); more; more = rt_scan_next(&s, '}'))
 *       if (rt_scan_key(&s, name, sizeof name)) ... rt_scan_int(&s, &x) or rt_scan_skip(&s);
 *   if (s.error) printf("byte %zu: %s", s.at, s.error);
 *
 * After an error every call returns false.
 */
#ifndef GLMC_RT_SCAN_H
#define GLMC_RT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct RtScan {
	const char *text;
	size_t n, at;            /* bytes; position */
	const char *error;       /* what is wrong at `at`; NULL while all is well */
} RtScan;

RtScan rt_scan(const char *text, size_t n);

/* rt_scan_open - takes `open`, '{' or '['; true when an element follows. */
bool rt_scan_open(RtScan *s, char open);

/* rt_scan_next - after an element: takes `,` and returns true, or takes `close` and returns false. */
bool rt_scan_next(RtScan *s, char close);

/* rt_scan_key - a member's name and the colon, into out (an error when it is longer). */
bool rt_scan_key(RtScan *s, char *out, size_t size);

bool rt_scan_string(RtScan *s, char *out, size_t size);
bool rt_scan_int(RtScan *s, int64_t *x);

/* rt_scan_skip - any value, at most 64 levels deep. */
bool rt_scan_skip(RtScan *s);

/* rt_scan_value - skips a value and gives its text without blanks around it. */
bool rt_scan_value(RtScan *s, const char **begin, size_t *size);

/* rt_json_equal - the value a[n] equals the value b: numbers by value, all else by text, where blanks
 * between tokens do not count. */
bool rt_json_equal(const char *a, size_t n, const char *b);

/* rt_scan_end - true when nothing but blanks is left. */
bool rt_scan_end(RtScan *s);

#endif
