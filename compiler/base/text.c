/* text.c - see text.h. Growth doubles; out of memory ends the process with status 7. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

static void reserve(Text *t, size_t extra)
{
	size_t need = t->n + extra + 1;
	if (need <= t->cap)
		return;
	size_t cap = t->cap ? t->cap : 256;
	while (cap < need)
		cap *= 2;
	t->s = realloc(t->s, cap);
	if (!t->s) {
		fprintf(stderr, "glmc: out of memory (%zu bytes asked)\n", cap);
		exit(ST_MEMORY);
	}
	t->cap = cap;
}

void text_put(Text *t, const char *data, size_t n)
{
	reserve(t, n);
	memcpy(t->s + t->n, data, n);
	t->n += n;
	t->s[t->n] = 0;
}

void text_vadd(Text *t, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	reserve(t, (size_t)n);
	vsnprintf(t->s + t->n, (size_t)n + 1, fmt, ap);
	t->n += (size_t)n;
}

void text_add(Text *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	text_vadd(t, fmt, ap);
	va_end(ap);
}

void text_free(Text *t)
{
	free(t->s);
	*t = (Text){0};
}

void text_json(Text *t, const char *s)
{
	text_add(t, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			text_add(t, "\\%c", *s);
		else if ((unsigned char)*s < 32)
			text_add(t, "\\u%04x", (unsigned)*s);
		else
			text_put(t, s, 1);
	}
	text_add(t, "\"");
}
