/* rt_store.c - see rt_store.h. */
#include "rt_store.h"

#include <string.h>

static uint16_t bf16_of(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof u);
	if (x != x)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static float float_of(uint16_t b)
{
	uint32_t u = (uint32_t)b << 16;
	float x;
	memcpy(&x, &u, sizeof x);
	return x;
}

void rt_round(float *x, int64_t n, RtDType t)
{
	for (int64_t i = 0; t == RT_bf16 && i < n; i++)
		x[i] = float_of(bf16_of(x[i]));
}

void rt_store(Rt *rt, uint64_t off, RtDType t, int64_t first, const float *x, int64_t n)
{
	static uint16_t narrow[RT_STORE_MAX];
	char *to = (char *)rt_at(rt, off) + (size_t)first * rt_dtype_bytes(t);
	for (int64_t i = 0; t == RT_bf16 && i < n; i++)
		narrow[i] = bf16_of(x[i]);
	rt_dev_put(rt, 0, to, t == RT_bf16 ? (const void *)narrow : x, (size_t)n * rt_dtype_bytes(t));
}

void rt_fetch(Rt *rt, uint64_t off, RtDType t, int64_t first, float *x, int64_t n)
{
	static uint16_t narrow[RT_STORE_MAX];
	const char *from = (char *)rt_at(rt, off) + (size_t)first * rt_dtype_bytes(t);
	rt_dev_get(rt, 0, t == RT_bf16 ? (void *)narrow : x, from, (size_t)n * rt_dtype_bytes(t));
	for (int64_t i = 0; t == RT_bf16 && i < n; i++)
		x[i] = float_of(narrow[i]);
}
