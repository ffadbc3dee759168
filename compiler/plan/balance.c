/* balance.c - see balance.h: hill climbing. A move takes a layer out of one stage and gives one to
 * another; the stages between shift. The first move that helps is made; the search ends when none
 * does, or after TRIES simulations. It has no chance in it: the same input gives the same table. */
#include "balance.h"

enum { TRIES = 1500 };
#define HUGE_TIME 1e300

typedef struct Climb {
	const BalanceInput *in;
	int n;                   /* stages */
	int *count;              /* layers per stage */
	StageCost *cost;
	int tries;
} Climb;

static void add(StageCost *to, const StageCost *x)
{
	to->forward += x->forward;
	to->backward += x->backward;
	to->weight += x->weight;
}

/* Simulated length of a step with the counts as they are. */
static double length(Climb *c)
{
	Arena *a = arena_new();
	OrderInput order = c->in->order;
	int at = 0;
	for (int s = 0; s < c->n; s++) {
		c->cost[s] = (StageCost){0, 0, 0};
		for (int k = 0; k < c->count[s]; k++)
			add(&c->cost[s], &c->in->layer[at++]);
	}
	add(&c->cost[0], &c->in->first);
	add(&c->cost[c->n - 1], &c->in->last);
	order.cost = c->cost;
	OrderResult r = order_actions(a, &order);
	double t = r.error ? HUGE_TIME : r.makespan;
	arena_free(a);
	c->tries++;
	return t;
}

/* Makes the first move that helps; false when there is none. */
static bool improve(Climb *c, double *best)
{
	for (int from = 0; from < c->n; from++)
		for (int to = 0; to < c->n && c->tries < TRIES; to++) {
			if (from == to || c->count[from] < 2)
				continue;
			c->count[from]--;
			c->count[to]++;
			double t = length(c);
			if (t < *best * (1 - 1e-9)) {
				*best = t;
				return true;
			}
			c->count[from]++;
			c->count[to]--;
		}
	return false;
}

void balance_stages(Arena *a, StageTable *t, const BalanceInput *in)
{
	Climb c = {.in = in, .n = t->n, .count = ARENA_ARRAY(a, int, t->n), .cost = ARENA_ARRAY(a, StageCost, t->n)};
	for (int s = 0; s < t->n; s++)
		c.count[s] = t->v[s].last_layer - t->v[s].first_layer + 1;
	double best = length(&c);
	while (improve(&c, &best))
		;
	for (int s = 0, at = 0; s < t->n; s++) {
		t->v[s].first_layer = at;
		at += c.count[s];
		t->v[s].last_layer = at - 1;
	}
}
