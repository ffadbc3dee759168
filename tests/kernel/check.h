/* check.h - inputs and comparisons for kernel tests. A failed comparison is printed and counted;
 * check_done ends a test with the status. Include in one file of a program.
 */
#ifndef GLMC_TEST_CHECK_H
#define GLMC_TEST_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of the generator and the number of failures, in one place for one test program. */
typedef struct CheckState {
	uint64_t random;
	int failures;
} CheckState;

static inline CheckState *check_state(void)
{
	static CheckState state = { .random = 1 };

	return &state;
}

static inline uint32_t check_random(void)
{
	CheckState *s = check_state();

	s->random = s->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(s->random >> 32);
}

/* check_values - n floats, uniform in (-range, range). */
static inline float *check_values(size_t n, float range)
{
	float *p = calloc(n + 1, sizeof *p);

	for (size_t i = 0; i < n; i++)
		p[i] = range * ((float)(check_random() >> 8) / (float)(1 << 23) - 1);
	return p;
}

/* check_garbage - n floats that are NaN: memory that a kernel should write. */
static inline float *check_garbage(size_t n)
{
	float *p = malloc((n + 1) * sizeof *p);

	memset(p, 0xff, (n + 1) * sizeof *p);
	return p;
}

static inline double *check_zeros(size_t n)
{
	return calloc(n + 1, sizeof(double));
}

static inline void check_fail(const char *what, size_t at, double got, double want)
{
	if (check_state()->failures++ < 20)
		fprintf(stderr, "%s: element %zu is %.9g, expected %.9g\n", what, at, got, want);
}

/* check_close - every element within tolerance * (the largest magnitude expected, at least 0.1). */
static inline void check_close(const char *what, const float *got, const double *want, size_t n,
                               double tolerance)
{
	double largest = 0.1;

	for (size_t i = 0; i < n; i++)
		largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
	for (size_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - want[i]) <= tolerance * largest)) {
			check_fail(what, i, (double)got[i], want[i]);
			return;
		}
}

/* check_bits - the same bits. */
static inline void check_bits(const char *what, const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(got + i, want + i, sizeof *got) != 0) {
			check_fail(what, i, (double)got[i], (double)want[i]);
			return;
		}
}

static inline int check_done(const char *test)
{
	int n = check_state()->failures;

	if (n)
		fprintf(stderr, "%s: %d comparisons failed\n", test, n);
	else
		printf("%s: ok\n", test);
	return n != 0;
}

#endif
