/* mesh.h - ranks and batches of a recipe, with AutoModel's rejections. */
#ifndef GLMC_MESH_H
#define GLMC_MESH_H

#include "recipe.h"

typedef struct Mesh {
	int world, pp, dp, ep, ep_shard;
	int microbatches;        /* per run of the schedule: local_batch_size / pp_microbatch_size */
	int runs;                /* runs per optimizer step (gradient accumulation) */
	int docs;                /* rows per microbatch: pp_microbatch_size */
	int64_t seq_max;         /* S_max: longest row */
	int64_t tokens_max;      /* T_max = docs * S_max */
} Mesh;

/* mesh_from_recipe - `world` 0: the smallest. False after diag_error.
 * Source: AutoModel 0.7.0, mesh_utils.py, train_ft.py. */
bool mesh_from_recipe(const Recipe *r, long world, Mesh *m);

#endif
