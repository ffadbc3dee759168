/* builtin.h - the table of the language's functions (builtin.def). */
#ifndef GLMC_BUILTIN_H
#define GLMC_BUILTIN_H

#include <stdint.h>

typedef enum FnKind { FN_TENSOR, FN_NUMBER, FN_BOTH, FN_EFFECT } FnKind;

typedef enum FnId {
#define FN(name, lo, hi, kind, sig, doc) FN_##name,
#include "builtin.def"
#undef FN
	FN_COUNT
} FnId;

typedef struct Fn {
	const char *name;
	uint32_t lo, hi;         /* number of arguments */
	FnKind kind;
	const char *sig, *doc;
} Fn;

/* fn_find - the function of that name, or NULL. fn_get - by id. */
const Fn *fn_find(const char *name);
const Fn *fn_get(FnId id);

#endif
