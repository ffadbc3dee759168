/* classes.c - see classes.h. */
#include "classes.h"

#include <stdlib.h>
#include <string.h>

#include "compiler/base/file.h"

int failures;

static Model *load(Arena *a, const ModelSource *src, const LowerOptions *o)
{
	Model *m = model_load(a, diag_new(a), src, o);
	if (!m)
		exit(1);
	return m;
}

Model *load_model(Arena *a, const char *path, int64_t seq, const SizeValue *sizes, uint32_t nsizes)
{
	ModelSource src = {.path = path_join(a, GLMC_SOURCE_DIR, path), .models_dir = GLMC_SOURCE_DIR "/models"};
	LowerOptions o = {.compute = DT_f32, .storage = DT_f32, .s_max = seq, .sizes = sizes, .nsizes = nsizes};
	return load(a, &src, &o);
}

Model *load_model_text(Arena *a, const char *text, int64_t seq)
{
	ModelSource src = {.path = GLMC_SOURCE_DIR "/models/text.glm", .text = text, .len = strlen(text),
	                   .models_dir = GLMC_SOURCE_DIR "/models"};
	LowerOptions o = {.compute = DT_f32, .storage = DT_f32, .s_max = seq};
	return load(a, &src, &o);
}
