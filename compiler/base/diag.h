/* diag.h - source files, spans and diagnostics in the shape
 *
 *   model.glm:41:9: error: cannot multiply `f32[T,6144]` by `f32[2048,6144]`: inner sizes differ
 *      41 |     q = rms_norm(q_a) @ w_qb
 *         |         ^^^^^^^^^^^^^
 *   model.glm:17:5: note: `w_qb` is declared here
 *   help: transpose the weight with '
 *
 * Messages are lower case and have no full stop. Errors are collected: a pass goes on to the next
 * statement and the driver stops after it when diag_errors() > 0. After 20 errors the process
 * ends with status 1.
 */
#ifndef GLMC_DIAG_H
#define GLMC_DIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"

typedef struct Source {
	const char *path;        /* as given by the user */
	const char *text;        /* NUL-terminated */
	uint32_t len;
	uint32_t *line;          /* where each begins */
	uint32_t nlines;
} Source;

typedef struct Span {
	uint32_t file;           /* index + 1 into Diag.sources; 0: no place in a file */
	uint32_t begin, end;     /* byte offsets, end exclusive */
} Span;

typedef struct Diag Diag;

Diag *diag_new(Arena *a);

/* diag_quiet - from now on nothing is printed, and the process does not end after 20 errors. */
void diag_quiet(Diag *d);

/* diag_add_source - registers a file's text (kept, not copied); returns its Span.file. */
uint32_t diag_add_source(Diag *d, const char *path, const char *text, uint32_t len);
const Source *diag_source(const Diag *d, uint32_t file);

/* diag_line_col - 1-based line and column of a span's begin. */
void diag_line_col(const Diag *d, Span s, uint32_t *line, uint32_t *col);

void diag_error(Diag *d, Span s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_warn(Diag *d, Span s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Span s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_help(Diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint32_t diag_errors(const Diag *d);

/* diag_read - a whole file, NUL-terminated; NULL with the error "cannot read WHAT PATH: reason" at `s`. `what` is
 * "", or "the recipe " .. */
char *diag_read(Diag *d, Arena *a, Span s, const char *what, const char *path, size_t *size);

/* ice - our own fault: prints and exits with status 70. */
_Noreturn void ice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* closest - the candidate nearest to `word` in edit distance when near enough, else NULL. */
const char *closest(const char *word, const char *const *candidates, uint32_t n);

#endif
