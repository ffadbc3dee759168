/* rt_value.h - the values of settings as text.
 *
 * *Canonical text* is how a checked value is kept: `true`, `4`, `1e-05`, `null`, a name as the key
 * table spells it, `[0.9, 0.999]`. rt_key_parse (rt_keys.h) makes it.
 */
#ifndef GLMC_RT_VALUE_H
#define GLMC_RT_VALUE_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers as the user may write them; the whole text must be one. False: not a number, or out of
 * range. rt_text_int: decimal with optional sign and underscores, or 0x. rt_text_float: those, and
 * Python's decimal floats; never infinite or nan. */
bool rt_text_int(const char *text, int64_t *value);
bool rt_text_float(const char *text, double *value);

/* rt_text_element - one number of a list: skips blanks, reads up to `,` `)` `]` or the end, and
 * moves *at there. */
bool rt_text_element(const char **at, double *x);

/* rt_print_float - the shortest text that reads back as the same double, always with a point or an
 * exponent. */
void rt_print_float(double x, char out[32]);

/* Reading canonical text. rt_value_null: NULL and "null". The others need a value of their kind,
 * which rt_key_parse guarantees; anything else reads as 0 or false. */
bool rt_value_null(const char *text);
int64_t rt_value_int(const char *text);
double rt_value_float(const char *text);
bool rt_value_bool(const char *text);

/* rt_value_floats - reads a list; at most `max` numbers into out; returns how many there are. */
int rt_value_floats(const char *text, double *out, int max);

/* rt_value_leaf - the part after the last dot: of a `_target_`, the class. */
const char *rt_value_leaf(const char *text);

#endif
