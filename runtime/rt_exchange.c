/* rt_exchange.c - see rt_exchange.h. */
#include "rt_exchange.h"

#include <stdlib.h>
#include <string.h>

bool rt_exchange_new(RtExchange *x, int ep, int me, int64_t experts_max, int64_t capacity)
{
	size_t e = (size_t)experts_max + 1;
	*x = (RtExchange){.ep = ep, .me = me, .capacity = capacity};
	x->counts = calloc((size_t)ep * e, sizeof *x->counts);
	x->total = calloc(e, sizeof *x->total);
	x->before = calloc(e, sizeof *x->before);
	x->begin = calloc(e, sizeof *x->begin);
	x->at = calloc(e, sizeof *x->at);
	x->group = calloc(e, sizeof *x->group);
	x->arrive = calloc((size_t)ep * e, sizeof *x->arrive);
	return x->counts && x->total && x->before && x->begin && x->at && x->group && x->arrive;
}

void rt_exchange_free(RtExchange *x)
{
	free(x->counts);
	free(x->total);
	free(x->before);
	free(x->begin);
	free(x->at);
	free(x->group);
	free(x->arrive);
}

static int32_t count(const RtExchange *x, int source, int e)
{
	return x->counts[source * x->experts + e];
}

int64_t rt_exchange_routed(const RtExchange *x)
{
	int64_t n = 0;
	for (int e = 0; e < x->experts; e++)
		n += count(x, x->me, e);
	return n;
}

static void sum_sources(RtExchange *x)
{
	memset(x->total, 0, (size_t)x->experts * sizeof *x->total);
	for (int s = 0; s < x->ep; s++) {
		if (s == x->me)
			memcpy(x->before, x->total, (size_t)x->experts * sizeof *x->before);
		for (int e = 0; e < x->experts; e++)
			x->total[e] += count(x, s, e);
	}
}

void rt_exchange_agree(RtExchange *x)
{
	int local = x->experts / x->ep;
	sum_sources(x);
	x->rounds = 1;
	for (int owner = 0; owner < x->ep; owner++) {
		int64_t rows = 0;
		for (int e = owner * local; e < (owner + 1) * local; e++)
			rows += x->total[e];
		int64_t rounds = (rows + x->capacity - 1) / x->capacity;
		x->rounds = rounds > x->rounds ? rounds : x->rounds;
	}
}

/* The part of rows at .. at+n that lies in the window w .. w+c: *from within them, and how many. */
static int32_t overlap(int64_t at, int64_t n, int64_t w, int64_t c, int64_t *from)
{
	int64_t lo = w > at ? w - at : 0, hi = w + c - at;
	lo = lo > n ? n : lo;
	hi = hi > n ? n : hi < lo ? lo : hi;
	*from = lo;
	return (int32_t)(hi - lo);
}

/* Rows of the owner's expert k, which begins at row `at` of its list. */
static void own_list(RtExchange *x, int k, int64_t at, int64_t window)
{
	int local = x->experts / x->ep;
	int64_t ignored;
	x->group[k + 1] = x->group[k];
	for (int s = 0; s < x->ep; s++) {
		int32_t n = count(x, s, x->me * local + k);
		x->arrive[s * local + k] = overlap(at, n, window, x->capacity, &ignored);
		x->group[k + 1] += x->arrive[s * local + k];
		at += n;
	}
}

void rt_exchange_round(RtExchange *x, int64_t round)
{
	int local = x->experts / x->ep;
	int64_t window = round * x->capacity, first = 0, from;
	x->round = round;
	x->at[0] = x->group[0] = 0;
	for (int owner = 0; owner < x->ep; owner++) {
		int64_t at = 0;
		for (int k = 0; k < local; k++) {
			int e = owner * local + k;
			int32_t n = count(x, x->me, e);
			x->at[e + 1] = x->at[e] + overlap(at + x->before[e], n, window, x->capacity, &from);
			x->begin[e] = (int32_t)(first + from);
			first += n;
			if (owner == x->me)
				own_list(x, k, at, window);
			at += x->total[e];
		}
	}
}
