/* config.h - a Hugging Face config.json as sizes for a model. */
#ifndef GLMC_CONFIG_H
#define GLMC_CONFIG_H

#include "lower.h"

typedef struct Config {
	SizeValue *sizes;        /* in the order of the file; rope_theta is taken out of rope_parameters */
	uint32_t n;
	const char *dtype;       /* "float32", "bfloat16" as the file says; NULL: it does not */
	const char *architecture;        /* class of the model, NULL: not given */
} Config;

/* config_load - NULL after diag_error. Every key gives a size; what becomes of those that the model does
 * not have is in SizeValue.meaning: keys that change the mathematics (another scoring_func, biases, tied
 * embeddings) are errors then, keys without meaning here are passed over, unknown ones warned of. */
Config *config_load(Arena *a, Diag *d, const char *path);
Config *config_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n);

#endif
