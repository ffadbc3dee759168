/* text.h - a growing string for dumps and generated source. */
#ifndef GLMC_TEXT_H
#define GLMC_TEXT_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Text {
	char *s;      /* NUL-terminated once anything was added; owned */
	size_t n;     /* bytes without the NUL */
	size_t cap;
} Text;

void text_add(Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_vadd(Text *t, const char *fmt, va_list ap);
void text_put(Text *t, const char *data, size_t n);
/* text_json - `s` as a JSON string, quotes included. */
void text_json(Text *t, const char *s);
void text_free(Text *t);

#endif
