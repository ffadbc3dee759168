/* tune.c - see tune.h. */
#include "tune.h"

#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word before `end`; *at moves behind it. NULL at the end or at a comment. */
static const char *word(Arena *a, const char **at, const char *end)
{
	while (*at < end && is_blank(**at))
		++*at;
	const char *begin = *at;
	if (begin == end || *begin == '#')
		return NULL;
	while (*at < end && !is_blank(**at))
		++*at;
	return arena_strndup(a, begin, (size_t)(*at - begin));
}

static bool read_line(Arena *a, Diag *d, Tune *t, Span span, const char *at, const char *end)
{
	const char *kernel = word(a, &at, end);
	if (!kernel)
		return true;
	const char *name = word(a, &at, end), *value = word(a, &at, end);
	char *stop = NULL;
	long long n = value ? strtoll(value, &stop, 10) : 0;
	if (!value || *stop || n < 0 || word(a, &at, end)) {
		diag_error(d, span, "expected a kernel, a parameter and a number");
		return false;
	}
	vec_push(a, &t->lines, ((TuneLine){kernel, name, n, span, false}));
	return true;
}

Tune *tune_read(Arena *a, Diag *d, const char *path)
{
	size_t size = 0;
	char *text = diag_read(d, a, (Span){0}, "", path, &size);
	if (!text)
		return NULL;
	Tune *t = ARENA_NEW(a, Tune);
	uint32_t file = diag_add_source(d, path, text, (uint32_t)size);
	bool ok = true;
	for (const char *line = text; *line;) {
		const char *end = strchr(line, '\n');
		end = end ? end : line + strlen(line);
		Span span = {file, (uint32_t)(line - text), (uint32_t)(end - text)};
		ok &= read_line(a, d, t, span, line, end);
		line = *end ? end + 1 : end;
	}
	return ok ? t : NULL;
}

int64_t tune_value(Tune *t, const char *template_, const char *stem, const char *name, int64_t usual)
{
	int64_t value = usual;
	bool exact = false;
	for (uint32_t i = 0; t && i < t->lines.n; i++) {
		TuneLine *l = &t->lines.v[i];
		bool own = strcmp(l->kernel, stem) == 0;
		if (strcmp(l->name, name) != 0 || (!own && strcmp(l->kernel, template_) != 0))
			continue;
		l->used = true;
		if (own || !exact)
			value = l->value;
		exact |= own;
	}
	return value;
}

bool tune_check(const Tune *t, Diag *d)
{
	bool ok = true;
	for (uint32_t i = 0; t && i < t->lines.n; i++) {
		if (t->lines.v[i].used)
			continue;
		diag_error(d, t->lines.v[i].span, "no kernel of this build is called `%s` or has a parameter `%s`",
		           t->lines.v[i].kernel, t->lines.v[i].name);
		ok = false;
	}
	return ok;
}
