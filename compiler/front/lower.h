/* lower.h - syntax tree to layer classes: AST to GRAPH.
 *
 * Lowering runs the forward of the model with tensors as graph nodes and everything else as
 * values: sizes, conditions, indices and names are gone afterwards. Each layer is lowered by
 * itself; layers with equal bodies share a class; carried values that nobody reads are dropped.
 *
 *   Program *p = program_load(arena, diag, &source, true);
 *   Model *m = p && resolve_program(arena, diag, p) ? model_lower(arena, diag, p, &opt) : NULL;
 *
 * model_load does the three in a row.
 */
#ifndef GLMC_LOWER_H
#define GLMC_LOWER_H

#include "../ir/model.h"
#include "scan_parse.h"

/* A size given from outside: by a config.json or by the recipe. */
typedef enum SizeKind {
	SIZE_INT, SIZE_FLOAT, SIZE_BOOL, SIZE_STRING, SIZE_NONE, SIZE_STRINGS, SIZE_INTS,
	SIZE_OBJECT, SIZE_TOO_LARGE      /* no size can be that */
} SizeKind;

/* What happens to a value whose name the model does not declare. */
typedef enum SizeMeaning {
	MEANS_SIZE,              /* a warning when it comes from a config.json */
	MEANS_ONLY,              /* an error unless it equals `only` */
	MEANS_NOTHING,
	MEANS_UNKNOWN            /* a warning */
} SizeMeaning;

typedef struct SizeValue {
	const char *name;
	SizeKind kind;
	int64_t i;               /* SIZE_INT, SIZE_BOOL */
	double f;                /* SIZE_FLOAT */
	const char *s;           /* SIZE_STRING */
	const char *const *strings;   /* SIZE_STRINGS */
	const int64_t *ints;     /* SIZE_INTS */
	uint32_t n;              /* elements of a list */
	SizeMeaning meaning;
	const char *key;         /* its name in the config.json */
	const char *json, *only; /* the value as it stands there; MEANS_ONLY: the one that is supported */
	Span span, key_span;     /* where it is given, for messages; file 0: nowhere */
	bool from_config;        /* by --config (else by the recipe) */
} SizeValue;

typedef struct LowerOptions {
	DType compute;           /* of activations: DT_f32 or DT_bf16 */
	DType storage;           /* of weights: DT_f32 or DT_bf16; buffers are always float32 */
	int64_t s_max;           /* longest document, tokens: the width of selections */
	const SizeValue *sizes;  /* later ones win */
	uint32_t nsizes;
	uint64_t steps_max;      /* expressions evaluated in all; 0: MAX_STEPS */
} LowerOptions;

/* Limits against hostile input. */
enum {
	MAX_LAYERS = 10000,
	MAX_PART_NODES = 20000,          /* operators of one layer */
	MAX_CLASS_NODES = 400000,        /* operators of all classes */
	MAX_STEPS = 20000000             /* expressions evaluated in all */
};

/* model_lower - all classes and instances, in `a`; NULL after diag_error. */
Model *model_lower(Arena *a, Diag *d, const Program *p, const LowerOptions *opt);

/* model_load - program_load, resolve_program, model_lower. */
Model *model_load(Arena *a, Diag *d, const ModelSource *src, const LowerOptions *opt);

#endif
