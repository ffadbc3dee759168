/* stage.c - see stage.h: ceil(layers / layers_per_stage) stages, rounded to a multiple of pp, layers
 * spread evenly with the surplus on the first stages. */
#include "stage.h"

#include "schedule.h"

static StageTable rejected(const char *error)
{
	return (StageTable){.error = error};
}

static int count_stages(Arena *a, int layers, int per_stage, int pp, Rounding rounding, bool single,
                        const char **error)
{
	if (!per_stage)
		return single ? pp : 2 * pp;
	int n = (layers + per_stage - 1) / per_stage, over = n % pp;
	if (!over)
		return n;
	if (rounding == ROUND_UP)
		return n + pp - over;
	if (rounding == ROUND_DOWN)
		return n - over;
	*error = arena_printf(a, "Number of virtual stages (%d) must be divisible by pipeline parallel size (%d). "
	                         "Model has %d layers with pipeline_parallel_layers_per_stage=%d. Please adjust "
	                         "layers_per_stage, or set round_virtual_stages_to_pp_multiple to up or down",
	                      n, pp, layers, per_stage);
	return 0;
}

static const char *check_count(Arena *a, int n, int layers, int pp, bool single)
{
	int per_rank = n / pp;
	if (single && per_rank != 1)
		return arena_printf(a, "Single stage schedule requires exactly 1 stage per rank, but got %d stages "
		                       "per rank", per_rank);
	if (!single && per_rank < 2)
		return arena_printf(a, "Multi-stage schedule requires at least 2 stages per rank, but got %d stages "
		                       "per rank", per_rank);
	if (n > layers)
		return arena_printf(a, "Number of stages (%d) cannot exceed number of layers (%d)", n, layers);
	return NULL;
}

StageTable stage_split(Arena *a, int layers, int layers_per_stage, int pp, Rounding rounding,
                       const char *schedule)
{
	const ScheduleInfo *info = schedule_find(schedule);
	const char *error = NULL;
	int n = 1;
	if (pp > 1) {
		n = count_stages(a, layers, layers_per_stage, pp, rounding, info->single, &error);
		error = error ? error : check_count(a, n, layers, pp, info->single);
	}
	if (error)
		return rejected(error);
	StageTable t = {.v = ARENA_ARRAY(a, Stage, n), .n = n, .per_rank = n / pp};
	int base = layers / n, extra = layers % n, at = 0;
	for (int s = 0; s < n; s++) {
		int count = base + (s < extra);
		int rank = info->v_shape && s >= pp ? 2 * pp - 1 - s : s % pp;
		t.v[s] = (Stage){s, rank, at, at + count - 1, s == 0, s == n - 1};
		at += count;
	}
	return t;
}
