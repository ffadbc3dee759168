/* schedule.c - see schedule.h. Source: torch 2.11, distributed/pipelining/schedules.py. */
#include "schedule.h"

#include <strings.h>

static const ScheduleInfo schedules[] = {
	{"1F1B", true, false, true},
	{"Interleaved1F1B", false, false, true},
	{"GPipe", true, false, true},
	{"LoopedBFS", false, false, true},
	{"InterleavedZeroBubble", false, false, false},
	{"ZBVZeroBubble", false, true, false},
	{"DualPipeV", false, true, false},
};

const ScheduleInfo *schedule_find(const char *name)
{
	for (uint32_t i = 0; i < LEN(schedules); i++)
		if (strcasecmp(schedules[i].name, name) == 0)
			return &schedules[i];
	return NULL;
}

void act_print(Text *t, const Act *act)
{
	static const char *const kind[] = {"F", "B", "SEND_F", "RECV_F", "SEND_B", "RECV_B"};
	text_add(t, "%d%s%d", act->stage, kind[act->kind], act->mb);
}

static int min(int a, int b)
{
	return a < b ? a : b;
}

const char *schedule_reject(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m)
{
	(void)per_rank;
	if (s == schedule_find("1F1B") && m < pp)
		return arena_printf(a, "Number of microbatches (%d) must be greater than or equal to the number of "
		                       "stages (%d)", m, pp);
	int rounds = m / pp > 1 ? m / pp : 1;
	if (s == schedule_find("Interleaved1F1B") && m % rounds)
		return arena_printf(a, "Interleaved 1F1B requires the number of microbatches to be a multiple of the "
		                       "number of rounds (%d), but got %d", rounds, m);
	return NULL;
}

static void one_f_one_b(Arena *a, int pp, int m, int r, ActList *l)
{
	int warmup = min(m, pp - r), f = 0, b = 0;
	for (; f < warmup; f++)
		vec_push(a, l, ((Act){ACT_F, r, f}));
	for (; b < m; b++) {
		vec_push(a, l, ((Act){ACT_B, r, b}));
		if (f < m) {
			vec_push(a, l, ((Act){ACT_F, r, f}));
			f++;
		}
	}
}

static void gpipe(Arena *a, int m, int r, ActList *l)
{
	for (int k = 0; k < 2 * m; k++)
		vec_push(a, l, ((Act){k < m ? ACT_F : ACT_B, r, k % m}));
}

static void looped_bfs(Arena *a, int pp, int v, int m, int r, ActList *l)
{
	for (int c = 0; c < v; c++)
		for (int k = 0; k < m; k++)
			vec_push(a, l, ((Act){ACT_F, c * pp + r, k}));
	for (int c = v; c-- > 0;)
		for (int k = m; k-- > 0;)
			vec_push(a, l, ((Act){ACT_B, c * pp + r, k}));
}

static void interleaved(Arena *a, int pp, int v, int m, int r, ActList *l)
{
	int rounds = m / pp > 1 ? m / pp : 1, g = m / rounds, all = m * v;
	int warmup = min((v - 1) * g + 2 * (pp - 1 - r), all);
	int *fm = ARENA_ARRAY(a, int, v), *bm = ARENA_ARRAY(a, int, v), b = 0;
	for (int k = 0; k < all; k++) {
		int c = k / g % v;
		vec_push(a, l, ((Act){ACT_F, c * pp + r, fm[c]++}));
		if (k < warmup)
			continue;
		c = v - 1 - b / g % v;
		vec_push(a, l, ((Act){ACT_B, c * pp + r, bm[c]++}));
		b++;
	}
	for (; b < all; b++) {
		int c = v - 1 - b / g % v;
		vec_push(a, l, ((Act){ACT_B, c * pp + r, bm[c]++}));
	}
}

void schedule_compute(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m, ActList *lists)
{
	for (int r = 0; r < pp; r++) {
		if (s == schedule_find("1F1B"))
			one_f_one_b(a, pp, m, r, &lists[r]);
		else if (s == schedule_find("GPipe"))
			gpipe(a, m, r, &lists[r]);
		else if (s == schedule_find("LoopedBFS"))
			looped_bfs(a, pp, per_rank, m, r, &lists[r]);
		else
			interleaved(a, pp, per_rank, m, r, &lists[r]);
	}
}
