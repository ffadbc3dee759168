/* verify_streams.c - see verify.h: what touches the same bytes on different streams is ordered by events.
 *
 * The program is walked in the order of issue, bodies of loops twice. A record keeps what its stream
 * has behind it; a wait hands that on. An instruction must find, in what its stream has behind it,
 * everything that wrote what it touches and read what it writes.
 */
#include <string.h>

#include "timeline.h"
#include "verify_int.h"

typedef struct Event {
	bool recorded;
	int behind[STREAMS];     /* last places of every stream that are over when the event is */
} Event;

typedef struct Walk {
	Verifier *v;
	int rank;
	const RtProg *p;
	Ranges *ranges;
	Timeline line;
	VEC(int) order;          /* place -> instruction */
	int behind[STREAMS][STREAMS];
	Event *events;
} Walk;

static void later(int *x, int y)
{
	if (y > *x)
		*x = y;
}

static void wait_for(Walk *w, int at, int round)
{
	const RtInstr *in = &w->p->instrs[at];
	const Event *e = &w->events[in->event];
	if (!e->recorded && round != 0)
		found(w->v, "%s waits for event %d, which nothing records", instr_text(w->v, w->rank, at), in->event);
	for (int t = 0; t < STREAMS && e->recorded; t++)
		later(&w->behind[in->stream][t], e->behind[t]);
}

static void check_order(Walk *w, int at)
{
	int s = w->p->instrs[at].stream, need[STREAMS];
	for (int t = 0; t < STREAMS; t++)
		need[t] = NEVER;
	timeline_needs(&w->line, &w->ranges[at], need);
	for (uint32_t k = 0; k < w->order.n && w->p->instrs[at].op == RT_OPTIMIZER; k++)
		later(&need[w->p->instrs[w->order.v[k]].stream], (int)k);
	for (int t = 0; t < STREAMS; t++) {
		if (t == s || need[t] <= w->behind[s][t])
			continue;
		found(w->v, "%s may begin before what it needs on stream %d is over", instr_text(w->v, w->rank, at), t);
		note(w->v, "%s", instr_text(w->v, w->rank, w->order.v[need[t]]));
	}
}

/* `round` of the loop around; -1 none. */
static void walk(Walk *w, int at, int round)
{
	const RtInstr *in = &w->p->instrs[at];
	int s = in->stream, place = (int)w->order.n;
	if (found_enough(w->v))
		return;
	if (in->op == RT_WAIT) {
		wait_for(w, at, round);
	} else if (in->op == RT_RECORD) {
		w->events[in->event].recorded = true;
		memcpy(w->events[in->event].behind, w->behind[s], sizeof w->behind[s]);
	} else {
		check_order(w, at);
		timeline_touch(&w->line, &w->ranges[at], s, place);
		vec_push(w->v->a, &w->order, at);
		w->behind[s][s] = place;
	}
}

void verify_streams(Verifier *v, int rank)
{
	const RtProg *p = v->p[rank];
	Walk w = {.v = v, .rank = rank, .p = p, .ranges = access_list(v->a, p)};
	if (p->streams > STREAMS)
		found(v, "pipeline rank %d: %d streams, the runtime has %d", rank, p->streams, STREAMS);
	if (p->streams < 2 || p->streams > STREAMS)
		return;
	w.line = timeline_new(v->a, w.ranges, p->ninstr);
	w.events = ARENA_ARRAY(v->a, Event, p->events + 1);
	for (int s = 0; s < STREAMS; s++)
		for (int t = 0; t < STREAMS; t++)
			w.behind[s][t] = NEVER;
	for (int i = 0; i < p->ninstr; i++) {
		int body = p->instrs[i].op == RT_ROUNDS ? p->instrs[i].body : 0;
		for (int round = 0; round < 2 && body; round++)
			for (int k = i + 1; k <= i + body && k < p->ninstr; k++)
				walk(&w, k, round);
		if (!body)
			walk(&w, i, -1);
		i += body;
	}
}
