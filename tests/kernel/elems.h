/* elems.h - arrays of float or bf16 elements for kernel tests. A test holds every array in floats, of values that
 * its element type has; `half` says that the type is bf16. Include after the templates.
 *
 * Where a kernel rounds a number x that it knows but to an error, it may get one of two neighbours. A sum of
 * products of such numbers is therefore a value and a slack: how far the kernel's may be from it.
 */
#ifndef GLMC_TEST_ELEMS_H
#define GLMC_TEST_ELEMS_H

#include "check.h"
#include "elem.h"

/* nearest - x rounded to bf16 by arithmetic, of two the even one; with half 0, x. */
static inline double nearest(double x, int half)
{
	const double end = ldexp(1, 128);
	int e;

	if (!half || !isfinite(x))
		return x;
	frexp(x, &e);
	e = e < -125 ? -133 : e - 8;
	x = ldexp(nearbyint(ldexp(x, -e)), e);
	return fabs(x) < end ? x : copysign(INFINITY, x);
}

/* elems_round - n floats to values of the element type. */
static inline void elems_round(float *x, size_t n, int half)
{
	for (size_t i = 0; i < n; i++)
		x[i] = (float)nearest((double)x[i], half);
}

/* elems_values - check_values of the element type. */
static inline float *elems_values(size_t n, float range, int half)
{
	float *x = check_values(n, range);

	elems_round(x, n, half);
	return x;
}

/* elems_new - the array that a kernel gets, and no byte more. */
static inline void *elems_new(const float *x, size_t n, int half)
{
	void *p = malloc(n * (half ? sizeof(bf16) : sizeof *x));
	bf16 *b = p;

	if (!half)
		memcpy(p, x, n * sizeof *x);
	for (size_t i = 0; half && i < n; i++)
		b[i] = bf16_of(x[i]);
	return p;
}

/* elems_take - the array's values to x; frees it. */
static inline void elems_take(float *x, void *elems, size_t n, int half)
{
	const bf16 *b = elems;

	if (!half)
		memcpy(x, elems, n * sizeof *x);
	for (size_t i = 0; half && i < n; i++)
		x[i] = float_of(b[i]);
	free(elems);
}

typedef struct Sum {
	double value, slack;
} Sum;

static inline Sum *sums_new(size_t n)
{
	return calloc(n + 1, sizeof(Sum));
}

/* round_about - x, which the kernel has with an error of at most `error`, rounded; with half 0, x. */
static inline Sum round_about(double x, double error, int half)
{
	double low = nearest(x - error, half), high = nearest(x + error, half);

	return half ? (Sum){ (low + high) / 2, (high - low) / 2 } : (Sum){ x, 0 };
}

static inline void sum_add(Sum *s, Sum factor, double x)
{
	s->value += factor.value * x;
	s->slack += factor.slack * fabs(x);
}

/* check_sums - as check_close, before the result is rounded: it lies between the roundings of both ends. */
static inline void check_sums(const char *what, const float *got, const Sum *want, size_t n, double tolerance,
                              int half)
{
	double largest = 0.1;

	for (size_t i = 0; i < n; i++)
		largest = fabs(want[i].value) > largest ? fabs(want[i].value) : largest;
	for (size_t i = 0; i < n; i++) {
		double off = tolerance * largest + want[i].slack, x = want[i].value;
		if (!((double)got[i] >= nearest(x - off, half) && (double)got[i] <= nearest(x + off, half))) {
			check_fail(what, i, (double)got[i], x);
			return;
		}
	}
}

#endif
