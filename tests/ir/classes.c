/* classes.c - see classes.h. */
#include "classes.h"

#include <stdlib.h>

#include "compiler/base/file.h"

int failures;

Model *load_model(Arena *a, const char *path, int64_t seq, const SizeValue *sizes, uint32_t nsizes)
{
	ModelSource src = {.path = path_join(a, GLMC_SOURCE_DIR, path), .models_dir = GLMC_SOURCE_DIR "/models"};
	LowerOptions o = {.compute = DT_f32, .storage = DT_f32, .s_max = seq, .sizes = sizes, .nsizes = nsizes};
	Model *m = model_load(a, diag_new(a), &src, &o);
	if (!m)
		exit(1);
	return m;
}
