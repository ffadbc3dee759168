/* stage.h - layers to virtual stages to pipeline ranks, as NeMo AutoModel does it. */
#ifndef GLMC_STAGE_H
#define GLMC_STAGE_H

#include <stdbool.h>

#include "../base/arena.h"

typedef enum Rounding { ROUND_NONE, ROUND_UP, ROUND_DOWN } Rounding;

typedef struct Stage {
	int id, pp_rank;
	int first_layer, last_layer;     /* inclusive */
	bool embedding, head;
} Stage;

typedef struct StageTable {
	Stage *v;
	int n, per_rank;
	const char *error;       /* AutoModel's rejection; NULL when there is a table */
} StageTable;

/* stage_split - `layers_per_stage` 0: not given. `schedule` in AutoModel's spelling, any case. With
 * pp 1 there is no pipeline: one stage holds everything.
 * Source: AutoModel 0.7.0, pipelining/functional.py. */
StageTable stage_split(Arena *a, int layers, int layers_per_stage, int pp, Rounding rounding,
                       const char *schedule);

#endif
