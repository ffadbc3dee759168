/* mem_plan.h - offsets for buffers whose lifetimes are known. */
#ifndef GLMC_MEM_PLAN_H
#define GLMC_MEM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/arena.h"

typedef struct MemItem {
	uint64_t bytes;          /* 0: needs no place */
	int birth, death;        /* live at instructions birth .. death-1 */
	uint64_t offset;         /* result */
} MemItem;

/* mem_plan - places all items so that no two live ones overlap; returns the bytes needed. `peak_at`
 * (may be NULL): an instruction at which the sum of the live items is largest. Offsets are
 * multiples of `align`. */
uint64_t mem_plan(Arena *a, MemItem *items, uint32_t n, uint64_t align, int *peak_at);

#endif
