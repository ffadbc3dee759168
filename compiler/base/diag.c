/* diag.c - see diag.h. */
#include "diag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/rt_words.h"
#include "file.h"
#include "status.h"
#include "vec.h"

enum { MAX_ERRORS = 20, MAX_EXCERPT = 100 };

struct Diag {
	Arena *arena;
	VEC(Source) sources;
	uint32_t errors;
	bool quiet;
};

Diag *diag_new(Arena *a)
{
	Diag *d = ARENA_NEW(a, Diag);
	d->arena = a;
	return d;
}

void diag_quiet(Diag *d)
{
	d->quiet = true;
}

uint32_t diag_add_source(Diag *d, const char *path, const char *text, uint32_t len)
{
	VEC(uint32_t) lines = {0};
	vec_push(d->arena, &lines, 0);
	for (uint32_t i = 0; i < len; i++)
		if (text[i] == '\n')
			vec_push(d->arena, &lines, i + 1);
	vec_push(d->arena, &d->sources, ((Source){arena_strdup(d->arena, path), text, len, lines.v, lines.n}));
	return d->sources.n;
}

const Source *diag_source(const Diag *d, uint32_t file)
{
	return file && file <= d->sources.n ? &d->sources.v[file - 1] : NULL;
}

void diag_line_col(const Diag *d, Span s, uint32_t *line, uint32_t *col)
{
	const Source *src = diag_source(d, s.file);
	*line = *col = 1;
	if (!src)
		return;
	uint32_t at = s.begin < src->len ? s.begin : src->len, lo = 0, hi = src->nlines;
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (src->line[mid] <= at)
			lo = mid;
		else
			hi = mid;
	}
	*line = lo + 1;
	for (uint32_t i = src->line[lo]; i < at; i++)
		*col += ((unsigned char)src->text[i] & 0xC0) != 0x80;
}

static void print_excerpt(const Diag *d, Span s, uint32_t line)
{
	const Source *src = diag_source(d, s.file);
	uint32_t begin = s.begin > src->len ? src->len : s.begin, end = begin;
	while (begin > 0 && src->text[begin - 1] != '\n' && s.begin - begin < MAX_EXCERPT)
		begin--;
	while (end < src->len && src->text[end] != '\n' && end - begin < 2 * MAX_EXCERPT)
		end++;
	while (begin < s.begin && ((unsigned char)src->text[begin] & 0xC0) == 0x80)
		begin++;
	fprintf(stderr, "%5u | ", line);
	for (uint32_t i = begin; i < end; i++) {
		unsigned char c = (unsigned char)src->text[i];
		fputc(c < 32 && c != '\t' ? '?' : c, stderr);
	}
	fprintf(stderr, "\n      | ");
	for (uint32_t i = begin; i < s.begin && i < end; i++)
		if (((unsigned char)src->text[i] & 0xC0) != 0x80)
			fputc(src->text[i] == '\t' ? '\t' : ' ', stderr);
	uint32_t carets = 0;
	for (uint32_t i = s.begin; i < s.end && i < end; i++)
		carets += ((unsigned char)src->text[i] & 0xC0) != 0x80;
	for (uint32_t i = 0; i < (carets ? carets : 1); i++)
		fputc('^', stderr);
	fputc('\n', stderr);
}

static void report(const Diag *d, Span s, const char *kind, const char *fmt, va_list ap)
{
	const Source *src = diag_source(d, s.file);
	uint32_t line = 0, col = 0;
	if (d->quiet)
		return;
	fflush(stdout);
	if (src) {
		diag_line_col(d, s, &line, &col);
		fprintf(stderr, "%s:%u:%u: ", src->path, line, col);
	} else {
		fprintf(stderr, "glmc: ");
	}
	fprintf(stderr, "%s: ", kind);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	if (src)
		print_excerpt(d, s, line);
}

void diag_error(Diag *d, Span s, const char *fmt, ...)
{
	va_list ap;
	if (d->errors == MAX_ERRORS && !d->quiet) {
		fprintf(stderr, "glmc: %d errors, stopping here\n", MAX_ERRORS);
		exit(ST_INPUT);
	}
	d->errors++;
	va_start(ap, fmt);
	report(d, s, "error", fmt, ap);
	va_end(ap);
}

void diag_warn(Diag *d, Span s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	report(d, s, "warning", fmt, ap);
	va_end(ap);
}

void diag_note(Diag *d, Span s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	report(d, s, "note", fmt, ap);
	va_end(ap);
}

void diag_help(Diag *d, const char *fmt, ...)
{
	va_list ap;
	if (d->quiet)
		return;
	va_start(ap, fmt);
	fprintf(stderr, "help: ");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

uint32_t diag_errors(const Diag *d)
{
	return d->errors;
}

char *diag_read(Diag *d, Arena *a, Span s, const char *what, const char *path, size_t *size)
{
	char *text = file_read(a, path, size);
	if (!text)
		diag_error(d, s, "cannot read %s%s: %s", what, path, strerror(errno));
	return text;
}

void ice(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "glmc: internal error: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\nhelp: this is a fault of glmc, please report it with the model and the recipe\n");
	va_end(ap);
	exit(ST_BUG);
}

const char *closest(const char *word, const char *const *candidates, uint32_t n)
{
	const char *best = NULL;
	int limit = rt_word_reach(word);
	for (uint32_t i = 0; i < n && limit >= 0; i++) {
		int distance = rt_word_distance(word, candidates[i]);
		if (distance > limit)
			continue;
		limit = distance - 1;
		best = candidates[i];
	}
	return best;
}
