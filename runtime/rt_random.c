/* rt_random.c - torch.randperm on the CPU: mt19937, then for i = 0 .. n-2 element i is swapped with
 * element i + random() mod (n - i). Source: torch 2.11, aten RandpermKernel for small n, and
 * Matsumoto and Nishimura 1998. */
#include <stdlib.h>

#include "rt_data.h"

enum { N = 624, M = 397 };

typedef struct Mt {
	uint32_t state[N];
	int next;
} Mt;

static void mt_seed(Mt *m, uint32_t seed)
{
	m->state[0] = seed;
	for (int i = 1; i < N; i++)
		m->state[i] = 1812433253u * (m->state[i - 1] ^ (m->state[i - 1] >> 30)) + (uint32_t)i;
	m->next = N;
}

static void mt_refill(Mt *m)
{
	for (int i = 0; i < N; i++) {
		uint32_t y = (m->state[i] & 0x80000000u) | (m->state[(i + 1) % N] & 0x7fffffffu);
		m->state[i] = m->state[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
	}
	m->next = 0;
}

static uint32_t mt_random(Mt *m)
{
	if (m->next == N)
		mt_refill(m);
	uint32_t y = m->state[m->next++];
	y ^= y >> 11;
	y ^= y << 7 & 0x9d2c5680u;
	y ^= y << 15 & 0xefc60000u;
	return y ^ y >> 18;
}

int64_t *rt_randperm(int64_t n, uint32_t seed)
{
	int64_t *p = malloc((size_t)(n + 1) * sizeof *p);
	Mt m;
	if (!p)
		return NULL;
	mt_seed(&m, seed);
	for (int64_t i = 0; i < n; i++)
		p[i] = i;
	for (int64_t i = 0; i + 1 < n; i++) {
		int64_t z = (int64_t)(mt_random(&m) % (uint64_t)(n - i)), t = p[i];
		p[i] = p[i + z];
		p[i + z] = t;
	}
	return p;
}
