/* map.cpp - tensor maps: the rules of cuTensorMapEncodeTiled for two dimensions. */
#include "map.h"

#include <cstring>

#include "simt.h"

namespace simt {

static const uint64_t MAGIC = 0x676c6d632d6d6170u;

const Map *map_of(const GlmcMap *m)
{
	const Map *map = (const Map *)(const void *)m->opaque;
	return map->magic == MAGIC ? map : nullptr;
}

}

extern "C" const char *simt_map_encode(GlmcMap *m, int elem, void *base, int64_t outer, int64_t inner,
                                       int64_t row_bytes, int box_outer, int box_inner, int swizzle)
{
	static_assert(sizeof(simt::Map) <= sizeof m->opaque, "");
	simt::Map map = {simt::MAGIC, (char *)base, outer, inner, row_bytes, elem, box_outer, box_inner, swizzle};
	if (elem != 2 && elem != 4)
		return "elements have 2 or 4 bytes";
	if ((uintptr_t)base % 16)
		return "the base address is a multiple of 16";
	if (outer < 1 || inner < 1 || outer > (int64_t)1 << 32 || inner > (int64_t)1 << 32)
		return "dimensions are 1 .. 2^32";
	if (row_bytes % 16 || row_bytes < inner * elem)
		return "rows are a multiple of 16 bytes apart, and do not overlap";
	if (box_outer < 1 || box_inner < 1 || box_outer > 256 || box_inner > 256)
		return "box dimensions are 1 .. 256";
	if (box_inner * elem % 16)
		return "a row of the box is a multiple of 16 bytes";
	if (swizzle == SIMT_SWIZZLE_128 && box_inner * elem > 128)
		return "a row of the box has at most 128 bytes under the 128-byte swizzle";
	if (swizzle != SIMT_SWIZZLE_128 && swizzle != SIMT_SWIZZLE_NONE)
		return "only no swizzle and the 128-byte swizzle are known";
	memset(m->opaque, 0, sizeof m->opaque);
	memcpy(m->opaque, &map, sizeof map);
	return nullptr;
}
