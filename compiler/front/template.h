/* template.h - strings with `{name}` in them: weight names and prefixes. */
#ifndef GLMC_TEMPLATE_H
#define GLMC_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/arena.h"

/* One piece: literal text, or the name in braces. */
typedef struct TemplatePart {
	const char *text;        /* in the arena */
	bool is_name;
} TemplatePart;

/* template_next - the piece at *at, which moves behind it; false at the end. A brace without its
 * partner or with something else than a name in it gives *bad. */
bool template_next(Arena *a, const char *s, size_t *at, TemplatePart *part, bool *bad);

#endif
