/* tune.h - tile parameters from a text file (--tune), in place of a template's own.
 *
 *     # kernel or template        parameter  value
 *     grouped_gemm                STAGES     4
 *     grouped_nt_6144x2048        TILE_N     128
 *
 * The first column is the name of a template, or the readable part of a kernel's name; the latter
 * goes first. `glmc inspect DIR --tiles` prints this for a build.
 */
#ifndef GLMC_TUNE_H
#define GLMC_TUNE_H

#include "../base/diag.h"
#include "../base/vec.h"

typedef struct TuneLine {
	const char *kernel, *name;
	int64_t value;
	Span span;
	bool used;
	const char *wanted;      /* what the parameter can be, when it cannot be this */
} TuneLine;

typedef struct Tune {
	VEC(TuneLine) lines;
} Tune;

/* tune_read - NULL after a message. */
Tune *tune_read(Arena *a, Diag *d, const char *path);

/* tune_value - the value for `name` of kernel `stem` of `template_`, else `usual`. t may be NULL. */
int64_t tune_value(Tune *t, const char *template_, const char *stem, const char *name, int64_t usual);

/* tune_refuse - says of the lines that gave this value what it can be. */
void tune_refuse(Tune *t, const char *template_, const char *stem, const char *name, const char *wanted);

/* tune_check - lines that no kernel asked for, and refused ones, are errors. */
bool tune_check(const Tune *t, Diag *d);

#endif
