/* schedule_lists.c - for tests: reads questions and answers each with one line, or `rejected: why`.
 *
 *   schedule NAME PP PER_RANK MICROBATCHES            the lists of the ranks, separated by `|`
 *   stages LAYERS PER_STAGE PP ROUNDING SCHEDULE      the stages as rank:first-last
 *   idle NAME PP PER_RANK MICROBATCHES RUNS F B W     simulated length of a step and idle fraction, all
 *                                                     stages alike: F forward, B backward, W of it weights
 */
#include <stdio.h>
#include <string.h>

#include "compiler/plan/order.h"
#include "compiler/plan/stage.h"

static void print_schedule(Arena *a, const char *name, int pp, int per_rank, int m)
{
	const ScheduleInfo *s = schedule_find(name);
	const char *why = s ? schedule_reject(a, s, pp, per_rank, m) : "unknown";
	if (!why && s->single && per_rank != 1)
		why = "one stage per rank";
	if (why) {
		printf("rejected: %s\n", why);
		return;
	}
	ActList *lists = ARENA_ARRAY(a, ActList, pp);
	schedule_compute(a, s, pp, per_rank, m, lists);
	for (int r = 0; r < pp; r++) {
		Text t = {0};
		act_list_print(&t, &lists[r]);
		printf("%s%s", r ? "|" : "", t.s);
		text_free(&t);
	}
	printf("\n");
}

static void print_stages(Arena *a, int layers, int per_stage, int pp, const char *round, const char *name)
{
	Rounding r = strcmp(round, "up") == 0 ? ROUND_UP : strcmp(round, "down") == 0 ? ROUND_DOWN : ROUND_NONE;
	StageTable t = stage_split(a, layers, per_stage, pp, r, name);
	if (t.error)
		printf("rejected: %s", t.error);
	for (int i = 0; i < t.n; i++)
		printf("%s%d:%d-%d", i ? "|" : "", t.v[i].pp_rank, t.v[i].first_layer, t.v[i].last_layer);
	printf("\n");
}

static void print_idle(Arena *a, const char *name, const int x[4], StageCost cost)
{
	const ScheduleInfo *s = schedule_find(name);
	int pp = x[0], n = pp * x[1];
	int *rank = ARENA_ARRAY(a, int, n);
	StageCost *costs = ARENA_ARRAY(a, StageCost, n);
	ActList *lists = ARENA_ARRAY(a, ActList, pp);
	for (int i = 0; i < n; i++) {
		rank[i] = s->v_shape && i >= pp ? 2 * pp - 1 - i : i % pp;
		costs[i] = cost;
	}
	schedule_compute(a, s, pp, x[1], x[2], lists);
	OrderInput in = {.pp = pp, .nstages = n, .stage_rank = rank, .cost = costs, .compute = lists,
	                 .microbatches = x[2], .runs = x[3]};
	OrderResult out = order_actions(a, &in);
	if (out.error)
		printf("rejected: %s\n", out.error);
	else
		printf("%.17g %.17g\n", out.makespan, out.idle);
}

int main(void)
{
	char line[256], name[64], round[16];
	int x[4];
	StageCost c;
	while (fgets(line, sizeof line, stdin)) {
		Arena *a = arena_new();
		if (sscanf(line, "schedule %63s %d %d %d", name, &x[0], &x[1], &x[2]) == 4)
			print_schedule(a, name, x[0], x[1], x[2]);
		else if (sscanf(line, "stages %d %d %d %15s %63s", &x[0], &x[1], &x[2], round, name) == 5)
			print_stages(a, x[0], x[1], x[2], round, name);
		else if (sscanf(line, "idle %63s %d %d %d %d %lf %lf %lf", name, &x[0], &x[1], &x[2], &x[3], &c.forward,
		                &c.backward, &c.weight) == 8)
			print_idle(a, name, x, c);
		else
			printf("not understood\n");
		arena_free(a);
	}
	return 0;
}
