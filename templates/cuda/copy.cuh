/* copy.cuh - copies rows of memory, a warp per row.
 *
 * The widest access that divides `bytes` is taken, up to 16; `to` and `from` are aligned to it. Four
 * accesses of a lane are under way at a time.
 */
#ifndef GLMC_COPY_CUH
#define GLMC_COPY_CUH

#include "dev.cuh"

constexpr int COPY_DEPTH = 4;

template <class T> DEV void copy_elems(T *to, const T *from, i64 n)
{
	for (i64 i = lane_id(); i < n; i += COPY_DEPTH * WARP) {
		T v[COPY_DEPTH];
		UNROLL
		for (int k = 0; k < COPY_DEPTH; k++)
			if (i + k * WARP < n)
				v[k] = from[i + k * WARP];
		UNROLL
		for (int k = 0; k < COPY_DEPTH; k++)
			if (i + k * WARP < n)
				to[i + k * WARP] = v[k];
	}
}

/* copy_row - by all lanes of a warp; `bytes` is even. */
DEV void copy_row(void *to, const void *from, i64 bytes)
{
	if (bytes % 16 == 0)
		copy_elems((u32x4 *)to, (const u32x4 *)from, bytes / 16);
	else if (bytes % 4 == 0)
		copy_elems((u32 *)to, (const u32 *)from, bytes / 4);
	else
		copy_elems((u16 *)to, (const u16 *)from, bytes / 2);
}

/* zero_row - as copy_row, of zeros. */
DEV void zero_row(void *to, i64 bytes)
{
	if (bytes % 16 == 0)
		for (i64 i = lane_id(); i < bytes / 16; i += WARP)
			((u32x4 *)to)[i] = u32x4{0, 0, 0, 0};
	else
		for (i64 i = lane_id(); i < bytes / 2; i += WARP)
			((u16 *)to)[i] = 0;
}

#endif
