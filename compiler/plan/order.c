/* order.c - see order.h. The simulation gives every action a start and an end; a transfer stands
 * at the end of its producer, so it is after the producer and before the consumer, and at equal
 * times transfers go first: nobody waits for a compute that could have come later. */
#include "order.h"

#include <stdlib.h>

#define SHORTEST 1e-3            /* of an action, in the unit of costs */

typedef struct Event {
	double time;
	int rank, peer;          /* peer -1: compute */
	Act act;                 /* compute, or the SEND */
} Event;

typedef struct Sim {
	Arena *a;
	const OrderInput *in;
	int total;               /* microbatches of the step */
	double *done_f, *done_b; /* [stage][mb] end time, -1 not yet */
	double *free_at, *busy;  /* per rank */
	VEC(Event) events;
	SpanList *spans;         /* per rank */
} Sim;

static double *at(const Sim *s, double *table, int stage, int mb)
{
	return &table[stage * s->total + mb];
}

/* When the operands of an action are there; -1 when they are not computed yet. */
static double ready(const Sim *s, const Act *act)
{
	int from = act->kind == ACT_F ? act->stage - 1 : act->stage + 1;
	double own = act->kind == ACT_F ? 0 : *at(s, act->kind == ACT_W ? s->done_b : s->done_f, act->stage, act->mb);
	if (own < 0)
		return -1;
	if (act->kind == ACT_W || from < 0 || from >= s->in->nstages)
		return own;
	double t = *at(s, act->kind == ACT_F ? s->done_f : s->done_b, from, act->mb);
	if (t < 0)
		return -1;
	if (s->in->stage_rank[from] != s->in->stage_rank[act->stage])
		t += s->in->latency;
	return t > own ? t : own;
}

/* Never nothing: at equal times a transfer stands before a compute. */
static double duration(const StageCost *c, ActKind kind)
{
	double t = kind == ACT_F ? c->forward : kind == ACT_I ? c->backward - c->weight
	           : kind == ACT_W ? c->weight : c->backward;
	return t > SHORTEST ? t : SHORTEST;
}

static void finish(Sim *s, int rank, const Act *act, double start)
{
	bool f = act->kind == ACT_F;
	double end = start + duration(&s->in->cost[act->stage], act->kind);
	int to = f ? act->stage + 1 : act->stage - 1;
	s->free_at[rank] = end;
	s->busy[rank] += end - start;
	vec_push(s->a, &s->events, ((Event){start, rank, -1, *act}));
	vec_push(s->a, &s->spans[rank], ((OrderSpan){*act, start, end}));
	if (act->kind == ACT_W)
		return;
	*at(s, f ? s->done_f : s->done_b, act->stage, act->mb) = end;
	if (to < 0 || to >= s->in->nstages || s->in->stage_rank[to] == rank)
		return;
	Act send = {.kind = f ? ACT_SEND_F : ACT_SEND_B, .stage = act->stage, .mb = act->mb};
	vec_push(s->a, &s->events, ((Event){end, rank, s->in->stage_rank[to], send}));
}

static int compare_events(const void *x, const void *y)
{
	const Event *a = x, *b = y;
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	if ((a->peer < 0) != (b->peer < 0))
		return a->peer < 0 ? 1 : -1;
	if (a->act.stage != b->act.stage)
		return a->act.stage - b->act.stage;
	if (a->act.mb != b->act.mb)
		return a->act.mb - b->act.mb;
	return (int)a->act.kind - (int)b->act.kind;
}

/* Runs the lists; false when they wait for each other. */
static bool simulate(Sim *s)
{
	int pp = s->in->pp;
	uint32_t *next = ARENA_ARRAY(s->a, uint32_t, pp), left = 0;
	for (int r = 0; r < pp; r++)
		left += s->in->compute[r].n * (uint32_t)s->in->runs;
	for (bool moved = true; left && moved;) {
		moved = false;
		for (int r = 0; r < pp; r++) {
			uint32_t n = s->in->compute[r].n;
			while (next[r] < n * (uint32_t)s->in->runs) {
				Act act = s->in->compute[r].v[next[r] % n];
				act.mb += (int)(next[r] / n) * s->in->microbatches;
				double t = ready(s, &act);
				if (t < 0)
					break;
				finish(s, r, &act, t > s->free_at[r] ? t : s->free_at[r]);
				next[r]++;
				left--;
				moved = true;
			}
		}
	}
	return left == 0;
}

static void project(Sim *s, OrderResult *out)
{
	if (s->events.n)
		qsort(s->events.v, s->events.n, sizeof *s->events.v, compare_events);
	for (uint32_t i = 0; i < s->events.n; i++) {
		const Event *e = &s->events.v[i];
		vec_push(s->a, &out->rank[e->rank], e->act);
		if (e->peer < 0)
			continue;
		bool f = e->act.kind == ACT_SEND_F;
		Act receive = {.kind = f ? ACT_RECV_F : ACT_RECV_B, .mb = e->act.mb};
		receive.stage = f ? e->act.stage + 1 : e->act.stage - 1;
		vec_push(s->a, &out->rank[e->peer], receive);
	}
}

OrderResult order_actions(Arena *a, const OrderInput *in)
{
	Sim s = {.a = a, .in = in, .total = in->microbatches * in->runs};
	OrderResult out = {.rank = ARENA_ARRAY(a, ActList, in->pp)};
	int cells = in->nstages * s.total;
	s.done_f = ARENA_ARRAY(a, double, cells);
	s.done_b = ARENA_ARRAY(a, double, cells);
	s.free_at = ARENA_ARRAY(a, double, in->pp);
	s.busy = ARENA_ARRAY(a, double, in->pp);
	s.spans = out.spans = ARENA_ARRAY(a, SpanList, in->pp);
	for (int i = 0; i < cells; i++)
		s.done_f[i] = s.done_b[i] = -1;
	if (!simulate(&s)) {
		out.error = "the schedule's actions wait for each other";
		return out;
	}
	double busy = 0;
	for (int r = 0; r < in->pp; r++) {
		out.makespan = s.free_at[r] > out.makespan ? s.free_at[r] : out.makespan;
		busy += s.busy[r];
	}
	out.idle = out.makespan > 0 ? 1 - busy / (out.makespan * in->pp) : 0;
	project(&s, &out);
	return out;
}
