/* bf16.h - the bfloat16 nearest to a number, of two the even one. NaN stays NaN. */
#ifndef GLMC_BF16_H
#define GLMC_BF16_H

#include <stdint.h>
#include <string.h>

/* bf16_bits - its 16 bits, the upper half of a float's. */
static inline uint16_t bf16_bits(double x)
{
	float f = (float)x;
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	if (f != f)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* bf16_round - its value. */
static inline double bf16_round(double x)
{
	uint32_t u = (uint32_t)bf16_bits(x) << 16;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

#endif
