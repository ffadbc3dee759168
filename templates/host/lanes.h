/* lanes.h - vectors of VW floats, by the vector extension of gcc and clang.
 *
 * VW is 16 with AVX-512, 8 with AVX, else 4 (SSE2, NEON, anything). The kernels that use
 * it sum in an order that does not depend on VW. Loads and stores need no alignment.
 * Elements are float or bf16 (elem.h); v_get and v_put take pointers to either.
 */
#ifndef GLMC_LANES_H
#define GLMC_LANES_H

#include <stdint.h>

#include "elem.h"

#if defined(__AVX512F__)
#define VW 16
#elif defined(__AVX__)
#define VW 8
#else
#define VW 4
#endif

#define V_INLINE static inline __attribute__((always_inline))

typedef float Vf __attribute__((vector_size(VW * 4)));
typedef int32_t Vi __attribute__((vector_size(VW * 4)));
typedef uint32_t Vu __attribute__((vector_size(VW * 4)));
typedef uint16_t Vh __attribute__((vector_size(VW * 2)));
typedef float VfMemory __attribute__((vector_size(VW * 4), aligned(4), may_alias));
typedef uint16_t VhMemory __attribute__((vector_size(VW * 2), aligned(2), may_alias));

V_INLINE Vf v_load(const float *p)
{
	return *(const VfMemory *)p;
}

V_INLINE void v_store(float *p, Vf v)
{
	*(VfMemory *)p = v;
}

V_INLINE Vf v_set(float x)
{
	return x - (Vf){ 0 };
}

/* v_rounded - `rounded` of every lane. */
V_INLINE Vf v_rounded(Vf x)
{
	Vu u = (Vu)x, number = (Vu)(x == x);

	u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
	return (Vf)((u & number) | (0x7fc00000u & ~number));
}

V_INLINE Vf v_load_bf16(const bf16 *p)
{
	return (Vf)(__builtin_convertvector(*(const VhMemory *)p, Vu) << 16);
}

V_INLINE void v_store_bf16(bf16 *p, Vf v)
{
	*(VhMemory *)p = __builtin_convertvector((Vu)v_rounded(v) >> 16, Vh);
}

#define v_get(p) _Generic((p), const float *: v_load, const bf16 *: v_load_bf16)(p)
#define v_put(p, v) _Generic((p), float *: v_store, bf16 *: v_store_bf16)(p, v)

/* v_max - a > b ? a : b, lane by lane: b where one of them is NaN. */
V_INLINE Vf v_max(Vf a, Vf b)
{
	Vi greater = (Vi)(a > b);

	return (Vf)(((Vi)a & greater) | ((Vi)b & ~greater));
}

#if VW == 16

/* V_PARTS - of each 128-bit part the elements a, b, c, d of x and y (those of y count from 16).
 * V_JOIN - the parts i and i + 2 of x, then of y. */
#define V_PARTS(x, y, a, b, c, d) \
	__builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, \
	                        c + 12, d + 12)
#define V_PART(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
#define V_JOIN(x, y, i) __builtin_shufflevector(x, y, V_PART(i), V_PART(i + 2), V_PART(i + 4), V_PART(i + 6))

/* v_transpose - element j of t[i] becomes element i of t[j]: pairs, then fours within the 128-bit
 * parts of a vector, then the parts, all by shuffles of one instruction. */
V_INLINE void v_transpose(Vf *t)
{
	Vf a[16], b[16];

#pragma GCC unroll 8
	for (int i = 0; i < 16; i += 2) {
		a[i] = V_PARTS(t[i], t[i + 1], 0, 16, 1, 17);
		a[i + 1] = V_PARTS(t[i], t[i + 1], 2, 18, 3, 19);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
		for (int k = 0; k < 2; k++) {
			b[i + 2 * k] = V_PARTS(a[i + k], a[i + k + 2], 0, 1, 16, 17);
			b[i + 2 * k + 1] = V_PARTS(a[i + k], a[i + k + 2], 2, 3, 18, 19);
		}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
		for (int k = 0; k < 16; k += 8) {
			a[i + k] = V_JOIN(b[i + k], b[i + k + 4], 0);
			a[i + k + 4] = V_JOIN(b[i + k], b[i + k + 4], 1);
		}
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) {
		t[i] = V_JOIN(a[i], a[i + 8], 0);
		t[i + 8] = V_JOIN(a[i], a[i + 8], 1);
	}
}

#else

/* V_LOW, V_HIGH - the lower (upper) halves of a and b, element by element in turn. */
#if VW == 8
#define V_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define V_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define V_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define V_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* v_round - one of the log2(VW) equal steps of a transpose: each interleaves vector i with
 * i + VW/2, which rotates the index (row, column), taken as bits, by one. */
V_INLINE void v_round(Vf *to, const Vf *from)
{
#pragma GCC unroll 8
	for (int i = 0; i < VW / 2; i++) {
		to[2 * i] = V_LOW(from[i], from[i + VW / 2]);
		to[2 * i + 1] = V_HIGH(from[i], from[i + VW / 2]);
	}
}

/* v_transpose - element j of t[i] becomes element i of t[j]. */
V_INLINE void v_transpose(Vf *t)
{
	Vf u[VW];

	v_round(u, t);
	v_round(t, u);
	if (VW == 8) {
		v_round(u, t);
#pragma GCC unroll 8
		for (int i = 0; i < VW; i++)
			t[i] = u[i];
	}
}

#endif

#endif
