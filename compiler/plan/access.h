/* access.h - which bytes of the arena an instruction reads and writes. */
#ifndef GLMC_ACCESS_H
#define GLMC_ACCESS_H

#include "../../runtime/rt_prog.h"
#include "../base/vec.h"

typedef struct Range {
	uint64_t off, bytes;
	bool read, write;
} Range;

typedef VEC(Range) Ranges;

/* access_list - the ranges of every instruction of a program, p->ninstr lists. Those of RT_OPTIMIZER, which
 * touches everything, and of RT_ROUNDS are empty. */
Ranges *access_list(Arena *a, const RtProg *p);

#endif
