/* tune.h - tile parameters from a text file (--tune), in place of a template's own.
 *
 *     # kernel or template        parameter  value
 *     grouped_gemm                STAGES     4
 *     grouped_gemm_nt_4096x6144   BM         256
 *
 * The first column is the name of a template, or the readable part of a kernel's name; the latter
 * goes first. `glmc inspect DIR --tune` prints this for a build.
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
} TuneLine;

typedef struct Tune {
	VEC(TuneLine) lines;
} Tune;

/* tune_read - NULL after a message. */
Tune *tune_read(Arena *a, Diag *d, const char *path);

/* tune_value - the value for `name` of kernel `stem` of `template_`, else `usual`. t may be NULL. */
int64_t tune_value(Tune *t, const char *template_, const char *stem, const char *name, int64_t usual);

/* tune_check - lines that no kernel asked for are errors. */
bool tune_check(const Tune *t, Diag *d);

#endif
