/* rt_key_int.h - what a key allows (the column `values` of grammar/recipe.def), shared by rt_key_value.c
 * and rt_key_message.c. */
#ifndef GLMC_RT_KEY_INT_H
#define GLMC_RT_KEY_INT_H

#include "rt_keys.h"

/* One alternative: a name, `null`, a number or a range; not NUL-terminated. */
typedef struct RtAlt {
	const char *s;
	size_t n;
} RtAlt;

/* rt_alts - the alternatives of a key as a text for rt_alt_next; *partial: AutoModel has more. */
const char *rt_alts(const RtKey *key, bool *partial);
bool rt_alt_next(const char **at, RtAlt *alt);
bool rt_alt_is(RtAlt a, const char *s);
bool rt_key_has_null(const RtKey *key);

/* "1", "1..", ">0..100", "0..<1" */
typedef struct RtRange {
	double low, high;
	bool has_low, has_high, open_low, open_high, exact;
} RtRange;

RtRange rt_range(RtAlt a);

/* Messages; both return NULL. rt_key_refused: a value that AutoModel knows and we do not, or, when
 * nothing is partial, a wrong one. */
char *rt_key_wrong(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR]);
char *rt_key_refused(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR]);

#endif
