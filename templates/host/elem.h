/* elem.h - the elements of arrays: float, or bf16, which is the upper half of a float.
 *
 * Kernels compute in float. A bf16 value is rounded when it is made, to the nearest, of two the even one,
 * also where it is not stored: `rounded` gives the float that a bf16 holds. NaN stays NaN.
 */
#ifndef GLMC_ELEM_H
#define GLMC_ELEM_H

#include <stdint.h>
#include <string.h>

typedef struct bf16 {
	uint16_t upper;
} bf16;

static inline float rounded(float x)
{
	uint32_t u;

	memcpy(&u, &x, 4);
	u += 0x7fff + (u >> 16 & 1);
	u = x == x ? u & 0xffff0000u : 0x7fc00000u;
	memcpy(&x, &u, 4);
	return x;
}

/* float_of, bf16_of - the same value; x is rounded. */
static inline float float_of(bf16 x)
{
	uint32_t u = (uint32_t)x.upper << 16;
	float f;

	memcpy(&f, &u, 4);
	return f;
}

static inline bf16 bf16_of(float x)
{
	uint32_t u;

	memcpy(&u, &x, 4);
	return (bf16){ (uint16_t)(u >> 16) };
}

static inline float elem_same(float x)
{
	return x;
}

static inline void elem_put_float(float *p, float x)
{
	*p = x;
}

static inline void elem_put_bf16(bf16 *p, float x)
{
	*p = bf16_of(rounded(x));
}

/* elem_get(x) - an element as a float. elem_put(p, x) - x into an element, rounded if it is bf16.
 * ELEM_HALF(E) - is E bf16? */
#define elem_get(x) _Generic((x), float: elem_same, bf16: float_of)(x)
#define elem_put(p, x) _Generic((p), float *: elem_put_float, bf16 *: elem_put_bf16)(p, x)
#define ELEM_HALF(E) (sizeof(E) == 2)

#endif
