/* classes.h - models as the passes see them, and the checks of this folder. */
#ifndef GLMC_TESTS_CLASSES_H
#define GLMC_TESTS_CLASSES_H

#include <stdio.h>

#include "compiler/front/lower.h"

/* load_model - lowers a model file of the source tree for documents of `seq` tokens; `sizes` as --config
 * would give them. Ends the process when it has errors. */
Model *load_model(Arena *a, const char *path, int64_t seq, const SizeValue *sizes, uint32_t nsizes);

/* load_model_text - the same from the text of a model file. */
Model *load_model_text(Arena *a, const char *text, int64_t seq);

extern int failures;

#define CHECK(what, ...) \
	do { \
		if (!(what)) { \
			failures++; \
			fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
			fprintf(stderr, __VA_ARGS__); \
			fprintf(stderr, "\n"); \
		} \
	} while (0)

#endif
