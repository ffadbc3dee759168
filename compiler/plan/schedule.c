/* schedule.c - see schedule.h. Source: torch 2.11, distributed/pipelining/schedules.py. */
#include "schedule.h"

#include <strings.h>

typedef enum Kind { K_1F1B, K_INTERLEAVED, K_GPIPE, K_BFS, K_ZERO_BUBBLE, K_ZBV, K_DUALPIPE, KINDS } Kind;

static const ScheduleInfo schedules[KINDS] = {
	[K_1F1B] = {"1F1B", true, false, true, false},
	[K_INTERLEAVED] = {"Interleaved1F1B", false, false, true, false},
	[K_GPIPE] = {"GPipe", true, false, true, false},
	[K_BFS] = {"LoopedBFS", false, false, true, false},
	[K_ZERO_BUBBLE] = {"InterleavedZeroBubble", false, false, false, true},
	[K_ZBV] = {"ZBVZeroBubble", false, true, false, true},
	[K_DUALPIPE] = {"DualPipeV", false, true, true, true},
};

const ScheduleInfo *schedule_find(const char *name)
{
	for (uint32_t i = 0; i < LEN(schedules); i++)
		if (strcasecmp(schedules[i].name, name) == 0)
			return &schedules[i];
	return NULL;
}

const char *act_kind_name(ActKind k)
{
	static const char *const name[] = {"F", "B", "I", "W", "SEND_F", "RECV_F", "SEND_B", "RECV_B"};
	return name[k];
}

void act_print(Text *t, const Act *act)
{
	text_add(t, "%d%s%d", act->stage, act_kind_name(act->kind), act->mb);
}

void act_list_print(Text *t, const ActList *l)
{
	for (uint32_t i = 0; i < l->n; i++) {
		text_add(t, "%s%s", i ? " " : "", l->v[i].pair ? "(" : "");
		act_print(t, &l->v[i]);
		if (!l->v[i].pair)
			continue;
		text_add(t, ";");
		act_print(t, &l->v[++i]);
		text_add(t, ")OVERLAP_F_B");
	}
}

static int min(int a, int b)
{
	return a < b ? a : b;
}

static int max(int a, int b)
{
	return a > b ? a : b;
}

const char *schedule_reject(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m)
{
	Kind k = (Kind)(s - schedules);
	int rounds = max(1, m / pp);
	if (k == K_1F1B && m < pp)
		return arena_printf(a, "Number of microbatches (%d) must be greater than or equal to the number of "
		                       "stages (%d)", m, pp);
	if ((k == K_INTERLEAVED || k == K_ZERO_BUBBLE) && m % rounds)
		return arena_printf(a, "%s requires the number of microbatches to be a multiple of the number of rounds "
		                       "(%d), but got %d", k == K_INTERLEAVED ? "Interleaved 1F1B" : "Zero bubble", rounds, m);
	if (s->v_shape && per_rank != 2)
		return arena_printf(a, "ZBV requires exactly 2 stages per rank, but got %d", per_rank);
	if (k == K_DUALPIPE && m < 2 * pp)
		return arena_printf(a, "DualPipeV requires at least as many microbatches as stages, but got %d "
		                       "microbatches and %d stages", m, 2 * pp);
	return NULL;
}

/* ---- one list per rank ---- */

/* The list of one rank; next[kind][local stage] is the microbatch that comes next. */
typedef struct Maker {
	Arena *a;
	int pp, v, m, r;
	int *next[4];
	ActList *l;
} Maker;

static int loop_stage(const Maker *k, int local)
{
	return local * k->pp + k->r;
}

/* Stages of a V: 0 goes down, 1 comes back. */
static int v_stage(const Maker *k, int local)
{
	return local ? 2 * k->pp - 1 - k->r : k->r;
}

static void add_at(Maker *k, ActKind kind, int stage, int mb)
{
	vec_push(k->a, k->l, ((Act){.kind = kind, .stage = stage, .mb = mb}));
}

static void add_loop(Maker *k, ActKind kind, int local)
{
	add_at(k, kind, loop_stage(k, local), k->next[kind][local]++);
}

static void one_f_one_b(Maker *k)
{
	int warmup = min(k->m, k->pp - k->r);
	for (int i = 0; i < warmup; i++)
		add_loop(k, ACT_F, 0);
	for (int i = 0; i < k->m; i++) {
		add_loop(k, ACT_B, 0);
		if (k->next[ACT_F][0] < k->m)
			add_loop(k, ACT_F, 0);
	}
}

static void gpipe(Maker *k)
{
	for (int i = 0; i < 2 * k->m; i++)
		add_loop(k, i < k->m ? ACT_F : ACT_B, 0);
}

static void looped_bfs(Maker *k)
{
	for (int c = 0; c < k->v; c++)
		for (int i = 0; i < k->m; i++)
			add_loop(k, ACT_F, c);
	for (int c = k->v; c-- > 0;)
		for (int i = k->m; i-- > 0;)
			add_at(k, ACT_B, loop_stage(k, c), i);
}

/* Warm-up forwards, pairs of forward and backward, backwards. With `zero` the backward is I, and the
 * W of the k-th comes after the (k+r)-th. */
static void interleaved(Maker *k, bool zero)
{
	int g = k->m / max(1, k->m / k->pp), all = k->m * k->v, b = 0, w = 0;
	int warmup = min((k->v - 1) * g + (zero ? 1 : 2) * (k->pp - 1 - k->r), all);
	for (int op = 0; op < warmup + all; op++) {
		if (op < all)
			add_loop(k, ACT_F, op / g % k->v);
		if (op < warmup)
			continue;
		add_loop(k, zero ? ACT_I : ACT_B, k->v - 1 - b / g % k->v);
		if (zero && b >= k->r) {
			add_loop(k, ACT_W, k->v - 1 - w / g % k->v);
			w++;
		}
		b++;
	}
	for (; zero && w < all; w++)
		add_loop(k, ACT_W, k->v - 1 - w / g % k->v);
}

/* ---- ZBV: Qi et al., Zero Bubble Pipeline Parallelism, section 6 ---- */

/* Microbatches that only fill a short pipeline are passed over. */
static void add_v(Maker *k, ActKind kind, int local)
{
	int mb = k->next[kind][local]++;
	if (mb < k->m)
		add_at(k, kind, v_stage(k, local), mb);
}

static void add_iw(Maker *k, int local)
{
	add_v(k, ACT_I, local);
	add_v(k, ACT_W, local);
}

static void zbv(Maker *k)
{
	int n = max(2 * k->pp - 1, k->m), *f = k->next[ACT_F], *i = k->next[ACT_I], *w = k->next[ACT_W];
	for (int c = 0; c < 2 * (k->pp - k->r) - 1; c++)
		add_v(k, ACT_F, 0);
	for (int c = 0; c < k->r; c++) {
		add_v(k, ACT_F, 1);
		add_v(k, ACT_F, 0);
	}
	for (int c = 0; c < k->pp - k->r; c++) {
		add_v(k, ACT_F, 1);
		add_iw(k, 1);
	}
	while (f[1] < f[0] || f[0] < n) {
		if (f[0] < n)
			add_v(k, ACT_F, 0);
		add_iw(k, 0);
		add_v(k, ACT_F, 1);
		add_iw(k, 1);
	}
	for (int c = 0; c < k->r; c++) {
		add_v(k, ACT_I, 0);
		add_v(k, ACT_I, 1);
	}
	for (int c = 0; c < k->pp - k->r; c++)
		add_iw(k, 0);
	while (w[1] < i[1])
		add_v(k, ACT_W, 1);
	while (w[0] < i[0])
		add_v(k, ACT_W, 0);
}

/* ---- DualPipeV: github.com/deepseek-ai/DualPipe ---- */

typedef struct Dual {
	Maker *k;
	Act *waiting;            /* W of every I, oldest first */
	int head, tail;
} Dual;

static void add_dual(Dual *d, ActKind kind, int local)
{
	Maker *k = d->k;
	int *next = kind == ACT_F ? k->next[ACT_F] : k->next[ACT_I];     /* B and I count together */
	Act act = {.kind = kind, .stage = v_stage(k, local), .mb = next[local]++};
	vec_push(k->a, k->l, act);
	act.kind = ACT_W;
	if (kind == ACT_I)
		d->waiting[d->tail++] = act;
}

static void add_overlap(Dual *d, int forward, int backward)
{
	add_dual(d, ACT_F, forward);
	vec_last(d->k->l).pair = true;
	add_dual(d, ACT_B, backward);
}

static void add_waiting(Dual *d)
{
	if (d->head < d->tail)
		vec_push(d->k->a, d->k->l, d->waiting[d->head++]);
}

static void dual_begin(Dual *d, int pp, int r)
{
	for (int c = 0; c < 2 * (pp - r - 1); c++)
		add_dual(d, ACT_F, 0);
	for (int c = 0; c < r + 1; c++) {
		add_dual(d, ACT_F, 0);
		add_dual(d, ACT_F, 1);
	}
	for (int c = 0; c < pp - r - 1; c++) {
		add_dual(d, ACT_I, 1);
		add_waiting(d);
		add_dual(d, ACT_F, 1);
	}
}

/* The first pair of the last rank is not overlapped: that makes the bubble smaller. */
static void dual_middle(Dual *d, int pp, int r, int m)
{
	for (int c = 0; c < m - 2 * pp + r + 1; c++) {
		if (c == 0 && r == pp - 1) {
			add_dual(d, ACT_F, 0);
			add_dual(d, ACT_B, 1);
		} else {
			add_overlap(d, 0, 1);
		}
		add_overlap(d, 1, 0);
	}
	for (int c = 0; c < pp - r - 1; c++) {
		add_dual(d, ACT_B, 1);
		add_overlap(d, 1, 0);
	}
}

/* Backwards in turn, from the middle on with their weight gradients put off. */
static void dual_end(Dual *d, int pp, int r)
{
	int half = (r + 1) / 2;
	for (int c = 0; c < r + 1; c++) {
		bool late = c > half, now = c == half;
		add_dual(d, late || (now && r % 2 == 1) ? ACT_I : ACT_B, 1);
		add_dual(d, late || now ? ACT_I : ACT_B, 0);
	}
	for (int c = 0; c < pp - r - 1; c++) {
		add_waiting(d);
		add_dual(d, ACT_I, 0);
	}
	for (int c = 0; c < r + 1; c++)
		add_waiting(d);
}

static void dualpipe(Maker *k)
{
	Dual d = {.k = k, .waiting = ARENA_ARRAY(k->a, Act, 2 * k->m)};
	dual_begin(&d, k->pp, k->r);
	dual_middle(&d, k->pp, k->r, k->m);
	dual_end(&d, k->pp, k->r);
}

/* ---- all ranks ---- */

static void make(Maker *k, Kind kind)
{
	switch (kind) {
	case K_1F1B: one_f_one_b(k); break;
	case K_GPIPE: gpipe(k); break;
	case K_BFS: looped_bfs(k); break;
	case K_ZBV: zbv(k); break;
	case K_DUALPIPE: dualpipe(k); break;
	default: interleaved(k, kind == K_ZERO_BUBBLE); break;
	}
}

void schedule_compute(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m, ActList *lists)
{
	for (int r = 0; r < pp; r++) {
		Maker k = {.a = a, .pp = pp, .v = per_rank, .m = m, .r = r, .l = &lists[r]};
		for (int i = 0; i < 4; i++)
			k.next[i] = ARENA_ARRAY(a, int, per_rank);
		make(&k, (Kind)(s - schedules));
	}
}
