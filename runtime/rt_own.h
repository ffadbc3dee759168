/* rt_own.h - device memory of the runtime itself: where its tables, sums and travelling rows lie.
 *
 * The planner reserves rt_own(p).bytes at p->own, so that the peak it prints is all there is; the
 * runtime finds the parts by the same function. Offsets are of the arena, multiples of 256.
 */
#ifndef GLMC_RT_OWN_H
#define GLMC_RT_OWN_H

#include "rt_prog.h"

typedef struct RtOwn {
	uint64_t cu;             /* i32 [microbatches][docs_max+1] first tokens of documents */
	uint64_t pos;            /* i32 [microbatches][T_max] positions in documents */
	uint64_t squares;        /* f64 [ntensor][square_blocks] sums of squares of gradients */
	int square_blocks;       /* blocks of a launch of k_sumsq */
	/* per exchange context, `per_xch` bytes apart */
	uint64_t order;          /* i32 [slots_max] slots sorted by (expert, slot) */
	uint64_t counts;         /* i32 [ep][experts_max] rows of every source rank for every expert */
	uint64_t rounds;         /* i32 [rounds_max][3*experts_max+2], see rt_exchange.h */
	uint64_t per_xch;
	int64_t rounds_max;      /* most rounds of an exchange */
	uint64_t rows;           /* own rows of a round, sorted, on their way; 0 bytes when ep is 1 */
	uint64_t rows_bytes;
	uint64_t wire;           /* the process's own data on its way to other ranks (rt_comm_nccl.c) */
	uint64_t wire_bytes;
	uint64_t workspace;      /* of cuBLASLt */
	uint64_t workspace_bytes;
	uint64_t bytes;          /* all of it */
} RtOwn;

/* rt_own - the layout for a program whose fields other than `own` and arena_bytes are final. */
RtOwn rt_own(const RtProg *p);

#endif
