/* layout.h - the persistent part of a rank's memory: parameter units and their tensors. */
#ifndef GLMC_LAYOUT_H
#define GLMC_LAYOUT_H

#include "program.h"

enum { ALIGN_BYTES = 256 };      /* every buffer starts at a multiple of it */

static inline uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* Where weight w of instance i lies: unit -1 when the rank does not compute with it. */
typedef struct WeightPlace {
	int unit;
	int64_t off;             /* elements in the unit */
	int tensor;              /* index of its RtTensor */
} WeightPlace;

typedef struct Layout {
	VEC(RtUnit) units;
	VEC(RtTensor) tensors;
	WeightPlace **place;     /* [instance][weight]; NULL for instances of other ranks */
	PlanBytes bytes;         /* parameters, gradients, optimizer */
	uint64_t end;            /* first free byte of the arena */
} Layout;

RtDType plan_dtype(DType t);

Layout layout_rank(Arena *a, const PlanInput *in, int pp_rank);

#endif
