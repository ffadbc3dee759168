/* rt_keys.h - the recipe's keys: the table of grammar/recipe.def, values, overrides.
 *
 * Shared by the compiler (which reads YAML) and by ranks (which take `--a.b.c=value` at launch).
 * Needs libc alone. A value is kept as *canonical text*: `true`, `4`, `1e-05`, `null`, a name as the
 * table spells it, `[0.9, 0.999]`. rt_key_parse makes it; the rt_value_* functions read it.
 */
#ifndef GLMC_RT_KEYS_H
#define GLMC_RT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt_value.h"

typedef enum RtKeyType {
	RT_KEY_INT, RT_KEY_FLOAT, RT_KEY_BOOL, RT_KEY_STR, RT_KEY_ENUM, RT_KEY_NAME, RT_KEY_DTYPE,
	RT_KEY_TARGET, RT_KEY_FLOATS, RT_KEY_ANY
} RtKeyType;

typedef enum RtKeyWhen {
	RT_KEY_COMPILE,          /* shapes the program */
	RT_KEY_RUN,              /* can be changed at launch */
	RT_KEY_NA,               /* accepted, no meaning here */
	RT_KEY_LATER             /* accepted, not done yet */
} RtKeyWhen;

typedef struct RtKey {
	const char *path;        /* dotted; a trailing `*` stands for any rest */
	RtKeyType type;
	RtKeyWhen when;
	const char *initial;     /* canonical text used when the key is absent */
	const char *values;      /* what is allowed, see recipe.def */
	const char *doc;
} RtKey;

enum { RT_KEY_ERR = 512 };   /* bytes of an error text, NUL included */

/* The table, in the order of recipe.def. */
int rt_key_count(void);
const RtKey *rt_key_at(int index);

/* rt_key_find - index of the key for `path`: an exact one, else one with `*`; -1 unknown. */
int rt_key_find(const char *path);

/* rt_key_is_section - `path` is a proper prefix of known keys ("distributed.pipeline"). */
bool rt_key_is_section(const char *path);

/* rt_key_closest - the known key or section that an unknown one was probably meant to be; false when
 * nothing is near. */
bool rt_key_closest(const char *path, char out[RT_KEY_ERR]);

/* rt_key_parse - checks `text` (YAML scalar, YAML flow list or command-line value) against the key
 * and returns its canonical text, malloc'd; else NULL with one message in err, which names `path`
 * and what would be right. */
char *rt_key_parse(const RtKey *key, const char *path, const char *text, char err[RT_KEY_ERR]);

/* rt_key_arg - takes one override from argv at *i: `--a.b=v`, `--a.b v` or a bare `--a.b` (true).
 * Returns false when argv[*i] is none. On success *path is malloc'd, *value points into argv or to
 * a constant, and *i is advanced past it. */
bool rt_key_arg(int argc, char *const *argv, int *i, char **path, const char **value);

/* rt_key_override - rt_key_find and rt_key_parse for a value given at launch: an unknown key, or
 * one that shapes the program, is an error with its cure. */
char *rt_key_override(const char *path, const char *value, char err[RT_KEY_ERR]);

/* rt_env_expand - replaces ${VAR}, ${VAR,default}, $VAR and ${oc.env:VAR} by the environment;
 * malloc'd, or NULL with a message when a variable is not set. */
char *rt_env_expand(const char *text, char err[RT_KEY_ERR]);

#endif
