/* test_random.c - the order of rows equals torch.randperm(n, generator seeded with `seed`).
 *
 * Expected: torch 2.15 on the CPU; the hash is FNV-1a over the whole permutation, one number a step. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/rt_data.h"

typedef struct Expected {
	int64_t n;
	uint32_t seed;
	int64_t first[6];
	uint64_t hash;
} Expected;

static const Expected expected[] = {
	{1, 0, {0}, 0xaf63bd4c8601b7df},
	{2, 1, {1, 0}, 0x82f2207b4e88cc4},
	{10, 42, {2, 6, 1, 8, 4, 5}, 0xb3b37708c70ce962},
	{100, 1234, {75, 67, 30, 51, 48, 19}, 0x4fef7de468085d97},
	{1000, 1235, {83, 677, 104, 766, 459, 622}, 0x3c8c8462c8e531b},
	{39905, 1234, {8010, 31316, 31928, 16308, 10903, 29469}, 0x70b9372f4f481cb5},
};

static int check(const Expected *e)
{
	int64_t *p = rt_randperm(e->n, e->seed);
	uint64_t h = 0xcbf29ce484222325;
	int failed = 0;
	for (int64_t i = 0; i < e->n; i++) {
		h = (h ^ (uint64_t)p[i]) * 0x100000001b3;
		failed |= i < 6 && p[i] != e->first[i];
	}
	failed |= h != e->hash;
	if (failed)
		printf("FAILED randperm(%lld, seed %u)\n", (long long)e->n, e->seed);
	free(p);
	return failed;
}

int main(void)
{
	int failed = 0;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		failed += check(&expected[i]);
	printf("%zu permutations, %d failures\n", sizeof expected / sizeof *expected, failed);
	return failed != 0;
}
