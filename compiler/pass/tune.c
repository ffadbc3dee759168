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

/* The line that gives the same parameter another value; NULL when there is none. */
static const TuneLine *set_before(const Tune *t, const TuneLine *l)
{
	for (uint32_t i = 0; i < t->lines.n; i++) {
		const TuneLine *k = &t->lines.v[i];
		if (strcmp(k->kernel, l->kernel) == 0 && strcmp(k->name, l->name) == 0 && k->value != l->value)
			return k;
	}
	return NULL;
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
	TuneLine l = {kernel, name, n, span, false, NULL};
	const TuneLine *before = set_before(t, &l);
	if (before) {
		diag_error(d, span, "%s of %s has two values", name, kernel);
		diag_note(d, before->span, "the first is here");
		return false;
	}
	vec_push(a, &t->lines, l);
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
	const char *nul = memchr(text, 0, size);
	bool ok = !nul;
	if (nul)
		diag_error(d, (Span){file, (uint32_t)(nul - text), (uint32_t)(nul - text) + 1}, "unexpected byte 0x00");
	for (const char *line = text; *line;) {
		const char *end = strchr(line, '\n');
		end = end ? end : line + strlen(line);
		Span span = {file, (uint32_t)(line - text), (uint32_t)(end - text)};
		ok &= read_line(a, d, t, span, line, end);
		line = *end ? end + 1 : end;
	}
	return ok ? t : NULL;
}

static bool names(const TuneLine *l, const char *template_, const char *stem, const char *name)
{
	return strcmp(l->name, name) == 0 && (strcmp(l->kernel, stem) == 0 || strcmp(l->kernel, template_) == 0);
}

int64_t tune_value(Tune *t, const char *template_, const char *stem, const char *name, int64_t usual)
{
	int64_t value = usual;
	bool exact = false;
	for (uint32_t i = 0; t && i < t->lines.n; i++) {
		TuneLine *l = &t->lines.v[i];
		bool own = strcmp(l->kernel, stem) == 0;
		if (!names(l, template_, stem, name))
			continue;
		l->used = true;
		if (own || !exact)
			value = l->value;
		exact |= own;
	}
	return value;
}

void tune_refuse(Tune *t, const char *template_, const char *stem, const char *name, const char *wanted)
{
	for (uint32_t i = 0; i < t->lines.n; i++)
		if (names(&t->lines.v[i], template_, stem, name))
			t->lines.v[i].wanted = wanted;
}

bool tune_check(const Tune *t, Diag *d)
{
	bool ok = true;
	for (uint32_t i = 0; t && i < t->lines.n; i++) {
		const TuneLine *l = &t->lines.v[i];
		if (l->used && !l->wanted)
			continue;
		if (l->wanted)
			diag_error(d, l->span, "%s of %s must be %s", l->name, l->kernel, l->wanted);
		else
			diag_error(d, l->span, "no kernel of this build is called `%s` or has a parameter `%s`", l->kernel, l->name);
		ok = false;
	}
	return ok;
}
