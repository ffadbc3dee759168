/* test_exchange.c - rounds of an exchange: every row is sent once, arrives where its list wants it, and all
 * ranks agree, for random counts, capacities and group sizes.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rt_exchange.h"

enum { EP_MAX = 5, EXPERTS_MAX = 20, ROWS_MAX = 40 };

static uint32_t random_below(uint32_t n)
{
	static uint64_t state = 7;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % n;
}

typedef struct Group {
	int ep, experts;
	RtExchange x[EP_MAX];
	int32_t counts[EP_MAX * EXPERTS_MAX];
	int sent[EP_MAX][EXPERTS_MAX];   /* rows of a source for an expert that have left so far */
	int place[EP_MAX];               /* rows of a rank's whole list that have come */
} Group;

static void make_group(Group *g, int ep, int local, int64_t capacity, uint32_t most)
{
	memset(g, 0, sizeof *g);
	g->ep = ep;
	g->experts = ep * local;
	for (int i = 0; i < ep * g->experts; i++)
		g->counts[i] = (int32_t)(random_below(3) ? random_below(most) : 0);
	for (int r = 0; r < ep; r++) {
		assert(rt_exchange_new(&g->x[r], ep, r, g->experts, capacity));
		g->x[r].experts = g->experts;
		memcpy(g->x[r].counts, g->counts, sizeof(int32_t) * (size_t)(ep * g->experts));
		rt_exchange_agree(&g->x[r]);
		assert(g->x[r].rounds == g->x[0].rounds && g->x[r].rounds >= 1);
	}
}

/* What rank s sends of expert e in this round goes on where the last round ended. */
static void check_sender(Group *g, int s)
{
	const RtExchange *x = &g->x[s];
	int before = 0;
	for (int e = 0; e < g->experts; e++) {
		int n = x->at[e + 1] - x->at[e];
		assert(n >= 0 && (n == 0 || x->begin[e] == before + g->sent[s][e]));
		before += g->counts[s * g->experts + e];
	}
	assert(x->at[g->experts] <= rt_exchange_routed(x));
}

/* The owner's view of the same round. */
static void check_owner(Group *g, int r)
{
	const RtExchange *x = &g->x[r];
	int local = g->experts / g->ep, rows = 0;
	for (int k = 0; k < local; k++) {
		assert(x->group[k] == rows);
		for (int s = 0; s < g->ep; s++) {
			int e = r * local + k, n = x->arrive[s * local + k];
			assert(n == g->x[s].at[e + 1] - g->x[s].at[e]);
			/* sorted by (expert, source): later sources only when this one is through */
			for (int later = s + 1; n && later < g->ep; later++)
				assert(g->sent[later][e] == 0);
			rows += n;
		}
		for (int later = k + 1; rows && later < local; later++)
			for (int s = 0; x->group[k + 1] > x->group[k] && s < g->ep; s++)
				assert(g->sent[s][r * local + later] == 0);
	}
	assert(x->group[local] == rows && rows <= x->capacity);
	g->place[r] += rows;
}

static void run_round(Group *g, int64_t round)
{
	for (int r = 0; r < g->ep; r++) {
		rt_exchange_round(&g->x[r], round);
		check_sender(g, r);
	}
	for (int r = 0; r < g->ep; r++)
		check_owner(g, r);
	for (int s = 0; s < g->ep; s++)
		for (int e = 0; e < g->experts; e++)
			g->sent[s][e] += g->x[s].at[e + 1] - g->x[s].at[e];
}

static void check_group(int ep, int local, int64_t capacity, uint32_t most)
{
	static Group g;
	make_group(&g, ep, local, capacity, most);
	for (int64_t round = 0; round < g.x[0].rounds; round++)
		run_round(&g, round);
	for (int s = 0; s < ep; s++)
		for (int e = 0; e < g.experts; e++)
			assert(g.sent[s][e] == g.counts[s * g.experts + e]);
	for (int r = 0; r < ep; r++)
		rt_exchange_free(&g.x[r]);
}

int main(void)
{
	int n = 0;
	for (int ep = 1; ep <= EP_MAX; ep++)
		for (int local = 1; local * ep <= EXPERTS_MAX; local++)
			for (int times = 0; times < 30; times++, n++)
				check_group(ep, local, 1 + random_below(60), 1 + random_below(ROWS_MAX));
	printf("exchange: %d groups\n", n);
	return 0;
}
