/* map.h - what the shim keeps in the 128 bytes of a tensor map. */
#ifndef GLMC_SIMT_MAP_H
#define GLMC_SIMT_MAP_H

#include <stdint.h>

#include "call.h"

namespace simt {

struct Map {
	uint64_t magic;
	char *base;
	int64_t outer, inner, row_bytes;
	int32_t elem, box_outer, box_inner, swizzle;
};

/* map_of - null when the bytes are no map that simt_map_encode wrote. */
const Map *map_of(const GlmcMap *m);

}

#endif
