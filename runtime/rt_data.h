/* rt_data.h - training rows and their order.
 *
 * TokenIds: one JSON object per line, {"input_ids": [...], "labels": [...]}, an unpadded document
 * with labels already shifted, -100 ignored.
 *
 * Order (reference: AutoModel 5.2): perm = torch.randperm(n, mt19937(seed + epoch)), or the identity
 * without shuffling; dp rank d takes perm[d::dp], cut to a multiple of dp; batches are consecutive
 * runs of local_batch_size rows, an incomplete one is dropped; a step takes `runs` batches, the last
 * step of an epoch what is left.
 */
#ifndef GLMC_RT_DATA_H
#define GLMC_RT_DATA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RtData RtData;

typedef struct RtDataOptions {
	const char *path;
	int64_t seq_max;         /* longest row allowed */
	int64_t vocab;           /* tokens are 0 .. vocab-1 */
	uint32_t seed;
	bool shuffle;
	int dp, q;               /* data-parallel ranks, own index */
	int docs;                /* rows per microbatch */
	int mbs, runs;           /* microbatches per run, runs per step */
} RtDataOptions;

/* The rows of one step, per microbatch. */
typedef struct RtBatch {
	int n;                   /* microbatches of a full step */
	int docs;                /* documents a microbatch has room for */
	int64_t t_max;           /* tokens it has room for */
	int64_t *tokens;         /* [n] tokens of microbatch i; 0: it is not there */
	int32_t *ndoc;           /* [n] */
	int32_t *cu;             /* [n][docs+1] first token of each document, then their number */
	int32_t *pos;            /* [n][t_max] position in the document */
	int32_t *ids, *labels;   /* [n][t_max] */
	int64_t label_tokens;    /* labels other than -100, all microbatches */
	int64_t real_tokens;     /* tokens without the run of ignored labels at the end of each row */
	int64_t all_tokens;
} RtBatch;

/* rt_data_open - reads and checks the file. NULL with a message that names file and line. */
RtData *rt_data_open(const RtDataOptions *o, char err[400]);
void rt_data_free(RtData *d);

/* Steps per epoch. */
int64_t rt_data_steps(const RtData *d);

/* rt_data_step - the rows of step `step`, counted over all epochs. */
void rt_data_step(RtData *d, int64_t step, RtBatch *batch);

bool rt_batch_init(RtBatch *b, int n, int docs, int64_t t_max);

/* rt_randperm - torch.randperm(n) of a CPU generator seeded with `seed` (mt19937); malloc'd. */
int64_t *rt_randperm(int64_t n, uint32_t seed);

#endif
