/* template.c - see template.h. Also the lookup in the function table, which needs no file. */
#include "template.h"

#include <ctype.h>
#include <string.h>

#include "builtin.h"

static size_t name_length(const char *s)
{
	size_t n = 0;
	if (isdigit((unsigned char)s[0]))
		return 0;
	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return n;
}

bool template_next(Arena *a, const char *s, size_t *at, TemplatePart *part, bool *bad)
{
	const char *p = s + *at;
	size_t n = strcspn(p, "{}");
	*bad = false;
	if (*p == '\0')
		return false;
	if (n > 0) {
		*part = (TemplatePart){arena_strndup(a, p, n), false};
		*at += n;
		return true;
	}
	n = name_length(p + 1);
	*bad = *p == '}' || n == 0 || p[1 + n] != '}';
	*part = (TemplatePart){arena_strndup(a, p + 1, *bad ? 0 : n), true};
	*at += *bad ? strlen(p) : n + 2;
	return true;
}

static const Fn functions[] = {
#define FN(name, lo, hi, kind, sig, doc) {#name, lo, hi, FN_##kind, sig, doc},
#include "builtin.def"
#undef FN
};

const Fn *fn_find(const char *name)
{
	for (size_t i = 0; i < LEN(functions); i++)
		if (strcmp(functions[i].name, name) == 0)
			return &functions[i];
	return NULL;
}

const Fn *fn_get(FnId id)
{
	return &functions[id];
}
