/* vmath.h - elementary functions in float32 that compilers vectorise: no branches, no calls.
 *
 * Errors against the exact value: vm_exp 1 ulp for results that are normal numbers (below, 0;
 * arguments above 88.7 give the value at 88.7); vm_sigmoid and vm_silu 3 ulp; vm_tanh 3 ulp;
 * vm_erf 5e-7 absolute. Method: range reduction by powers of two and polynomials.
 */
#ifndef GLMC_VMATH_H
#define GLMC_VMATH_H

#include <stdint.h>

typedef union VmBits {
	float f;
	int32_t i;
} VmBits;

static inline float vm_min(float a, float b)
{
	return a < b ? a : b;
}

static inline float vm_max(float a, float b)
{
	return a > b ? a : b;
}

static inline float vm_exp(float x)
{
	const float in = vm_max(vm_min(x, 88.7f), -87.3f);
	const float big = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
	const float n = (in * 1.44269504f + big) - big;
	const float r = (in - n * 0.693359375f) + n * 2.12194440e-4f;
	float p = 1.9875691500e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	const float y = (p * r * r + r) + 1.0f;
	VmBits scale;
	scale.i = ((int32_t)n + 127) << 23;
	return x < -87.3f ? 0.0f : x != x ? x : y * scale.f;
}

static inline float vm_sigmoid(float x)
{
	return 1.0f / (1.0f + vm_exp(-x));
}

static inline float vm_silu(float x)
{
	return x * vm_sigmoid(x);
}

static inline float vm_tanh(float x)
{
	const float z = x * x, a = x < 0 ? -x : x;
	float p = -5.70498872745e-3f;
	p = p * z + 2.06390887954e-2f;
	p = p * z - 5.37397155531e-2f;
	p = p * z + 1.33314422036e-1f;
	p = p * z - 3.33332819422e-1f;
	const float small = p * z * x + x, large = 1.0f - 2.0f / (vm_exp(2.0f * a) + 1.0f);
	return a < 0.625f ? small : x < 0 ? -large : large;
}

static inline float vm_erf(float in)
{
	const float x = vm_max(vm_min(in, 4.0f), -4.0f), z = x * x;
	float p = -2.72614225801306e-10f, q = -1.45660718464996e-05f;
	p = p * z + 2.77068142495902e-08f;
	p = p * z - 2.10102402082508e-06f;
	p = p * z - 5.69250639462346e-05f;
	p = p * z - 7.34990630326855e-04f;
	p = p * z - 2.95459980854025e-03f;
	p = p * z - 1.60960333262415e-02f;
	q = q * z - 2.13374055278905e-04f;
	q = q * z - 1.68282697438203e-03f;
	q = q * z - 7.37332916720468e-03f;
	q = q * z - 1.42647390514189e-02f;
	return x * p / q;
}

static inline float vm_sqrt(float x)
{
	return __builtin_sqrtf(x);
}

static inline float vm_rsqrt(float x)
{
	return 1.0f / __builtin_sqrtf(x);
}

static inline float vm_relu(float x)
{
	return x > 0 ? x : 0;
}

static inline float vm_step(float x)
{
	return x > 0 ? 1.0f : 0.0f;
}

#endif
