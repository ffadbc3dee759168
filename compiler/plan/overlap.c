/* overlap.c - see overlap.h.
 *
 * The instructions are walked in the order of their issue. A stream is in order, so for each other
 * stream only the last instruction that conflicts matters. What a stream has waited for, itself or
 * through those it waited for, is its clock; a wait is put in where the clock does not say already what is
 * needed. Body of a loop: walked twice, so that the second round waits for what the first still does;
 * those waits stand in the body and find, in the first round, an event that is over.
 */
#include "overlap.h"

#include <string.h>

#include "timeline.h"

typedef struct Wait {
	int instr, on;           /* instr waits for the event behind `on` */
} Wait;

typedef struct Walker {
	Arena *a;
	RtProg *p;
	Ranges *ranges;
	Timeline line;
	VEC(int) order;          /* instructions as they run: place -> instruction */
	int (*clock)[STREAMS];   /* per place: what its stream knew to be over when it began */
	int now[STREAMS][STREAMS];       /* clocks of the streams */
	int *last;               /* per instruction: its last place */
	VEC(Wait) waits;
	VEC(uint32_t) *of;       /* per instruction: its waits */
	int *event;              /* per instruction: number of the event behind it + 1 */
} Walker;

static int stream_of(const RtProg *p, const RtInstr *in)
{
	switch (in->op) {
	case RT_SEND:
	case RT_RECV: return 1;
	case RT_COUNTS: return 2;
	case RT_DISPATCH:
	case RT_COLLECT: return p->ep > 1 ? 2 : 0;
	case RT_GATHER:
	case RT_REDUCE: {
		int members = p->units[in->unit].group == RT_GROUP_EXPERT ? p->ep_shard : p->dp;
		return members > 1 ? 3 : 0;
	}
	case RT_ZERO: return 3;
	default: return 0;
	}
}

static void later(int *x, int y)
{
	if (y > *x)
		*x = y;
}

/* Stream s waits for the instruction at `place` of stream t: it knows what that one knew. */
static void learn(Walker *w, int s, int t, int place)
{
	later(&w->now[s][t], place);
	for (int u = 0; u < STREAMS; u++)
		later(&w->now[s][u], w->clock[place][u]);
}

static void add_wait(Walker *w, int instr, int on)
{
	if (!w->event[on])
		w->event[on] = ++w->p->events;
	vec_push(w->a, &w->of[instr], w->waits.n);
	vec_push(w->a, &w->waits, ((Wait){instr, on}));
}

/* The waits that stand before an instruction already, from the first round of a loop. */
static void take_waits(Walker *w, int instr, int s)
{
	for (uint32_t k = 0; k < w->of[instr].n; k++) {
		int on = w->waits.v[w->of[instr].v[k]].on;
		if (w->last[on] != NEVER)
			learn(w, s, w->p->instrs[on].stream, w->last[on]);
	}
}

/* The stream of the latest instruction that is needed and not known to be over; NEVER none. */
static int most_needed(const Walker *w, int s, const int need[STREAMS])
{
	int pick = NEVER;
	for (int t = 0; t < STREAMS; t++)
		if (t != s && need[t] > w->now[s][t] && (pick == NEVER || need[t] > need[pick]))
			pick = t;
	return pick;
}

static void walk(Walker *w, int instr)
{
	const RtInstr *in = &w->p->instrs[instr];
	int s = in->stream, place = (int)w->order.n, need[STREAMS];
	for (int t = 0; t < STREAMS; t++)
		need[t] = NEVER;
	take_waits(w, instr, s);
	timeline_needs(&w->line, &w->ranges[instr], need);
	for (int k = 0; k < place && in->op == RT_OPTIMIZER; k++)
		later(&need[w->p->instrs[w->order.v[k]].stream], k);
	for (int t; (t = most_needed(w, s, need)) != NEVER;) {
		add_wait(w, instr, w->order.v[need[t]]);
		learn(w, s, t, need[t]);
	}
	memcpy(w->clock[place], w->now[s], sizeof w->now[s]);
	w->clock[place][s] = place;
	w->now[s][s] = place;
	timeline_touch(&w->line, &w->ranges[instr], s, place);
	vec_push(w->a, &w->order, instr);
	w->last[instr] = place;
}

static void walk_all(Walker *w)
{
	for (int i = 0; i < w->p->ninstr; i++) {
		int body = w->p->instrs[i].op == RT_ROUNDS ? w->p->instrs[i].body : 0;
		for (int round = 0; round < 2 && body; round++)
			for (int k = i + 1; k <= i + body; k++)
				walk(w, k);
		if (!body)
			walk(w, i);
		i += body;
	}
}

/* ---- the new list ---- */

static RtInstr mark(Arena *a, RtOp op, int stream, int event, const RtInstr *for_)
{
	return (RtInstr){.op = op, .kernel = -1, .peer = -1, .unit = -1, .mb = -1, .stage = for_->stage, .layer = for_->layer,
	                 .bal = -1, .stream = stream, .event = event, .note = arena_strdup(a, for_->note ? for_->note : "")};
}

/* Where instruction i and what belongs to it begin, lie and end in the new list. */
typedef struct Places {
	int *begin, *at, *end;
} Places;

static void rewrite(Walker *w, Places *to)
{
	VEC(RtInstr) out = {0};
	for (int i = 0; i < w->p->ninstr; i++) {
		const RtInstr *in = &w->p->instrs[i];
		to->begin[i] = (int)out.n;
		for (uint32_t k = 0; k < w->of[i].n; k++) {
			int on = w->waits.v[w->of[i].v[k]].on;
			vec_push(w->a, &out, mark(w->a, RT_WAIT, in->stream, w->event[on] - 1, &w->p->instrs[on]));
		}
		to->at[i] = (int)out.n;
		vec_push(w->a, &out, *in);
		if (w->event[i])
			vec_push(w->a, &out, mark(w->a, RT_RECORD, in->stream, w->event[i] - 1, in));
		to->end[i] = (int)out.n;
	}
	for (int i = 0; i < w->p->ninstr; i++)
		if (w->p->instrs[i].op == RT_ROUNDS)
			out.v[to->at[i]].body = to->end[i + w->p->instrs[i].body] - to->at[i] - 1;
	w->p->instrs = out.v;
}

static void move_indices(RtProg *p, RankPlan *plan, const Places *to)
{
	for (int i = 0; i < p->nact; i++) {
		RtAct *x = &p->acts[i];
		int last = x->first + x->count - 1;
		int begin = x->count ? to->begin[x->first] : x->first ? to->end[x->first - 1] : 0;
		x->count = x->count ? to->end[last] - begin : 0;
		x->first = begin;
	}
	for (int i = 0; i < p->nbuf; i++) {
		p->bufs[i].first = to->at[p->bufs[i].first];
		p->bufs[i].last = to->end[p->bufs[i].last] - 1; /* a loop that it lives in ends behind its record */
	}
	if (plan->peak_instr >= 0)
		plan->peak_instr = to->at[plan->peak_instr];
}

void overlap_streams(Arena *a, RtProg *p, RankPlan *plan)
{
	int n = p->ninstr;
	for (int i = 0; i < n; i++)
		p->instrs[i].stream = stream_of(p, &p->instrs[i]);
	p->streams = STREAMS;
	Walker w = {.a = a, .p = p, .ranges = access_list(a, p)};
	w.line = timeline_new(a, w.ranges, n);
	w.clock = arena_alloc(a, 2 * ((size_t)n + 1) * sizeof *w.clock);
	w.last = ARENA_ARRAY(a, int, n + 1);
	w.event = ARENA_ARRAY(a, int, n + 1);
	w.of = arena_alloc(a, ((size_t)n + 1) * sizeof *w.of);
	for (int i = 0; i < n; i++)
		w.last[i] = NEVER;
	for (int s = 0; s < STREAMS; s++)
		for (int t = 0; t < STREAMS; t++)
			w.now[s][t] = NEVER;
	walk_all(&w);
	Places to = {ARENA_ARRAY(a, int, n + 1), ARENA_ARRAY(a, int, n + 1), ARENA_ARRAY(a, int, n + 1)};
	rewrite(&w, &to);
	move_indices(p, plan, &to);
	p->ninstr = to.end[n - 1];
}
