/* rt_int.h - the state of a rank, shared by the files of the runtime. */
#ifndef GLMC_RT_INT_H
#define GLMC_RT_INT_H

#include "rt_comm.h"
#include "rt_data.h"
#include "rt_kernel.h"
#include "rt_pool.h"
#include "rt_prog.h"

enum { RT_OK = 0, RT_EUSAGE = 2, RT_EENV = 3, RT_EDATA = 4, RT_ECOMM = 5, RT_ENUMERIC = 6, RT_EMEMORY = 7 };

/* One exchange of routed rows (RT_COUNTS .. RT_COLLECT), see rt_exchange.c. */
typedef struct RtExchange {
	int experts, topk;       /* E of the layer, K */
	int64_t slots;           /* T * K */
	int32_t *order;          /* [slots] own slots sorted by (expert, slot); those without one last */
	int64_t *first;          /* [E+1] where the slots of an expert begin in `order` */
	int64_t *counts;         /* [ep][E] rows of every source rank for every expert */
	int64_t rounds;
	/* of the current round */
	int32_t *group;          /* [E/ep + 1] rows on this rank by local expert */
	int64_t *from, *take;    /* [E] own rows of an expert that travel: from .. from+take */
	int64_t *arrive;         /* [ep][E/ep] rows that arrive from a source for a local expert */
	size_t *send_rows, *recv_rows;   /* [ep] sums of those by rank */
} RtExchange;

typedef struct Rt {
	RtProg *p;
	RtComm *comm;
	RtPool *pool;
	RtKernel **kernel;       /* per kernel of the program */
	char *arena;
	int rank, q;             /* q: dp rank */
	RtEnv env;
	RtExchange *xch;
	char *send_rows, *recv_rows;     /* rows on their way, rows_max * widest row each */
	int64_t *row_map;        /* [rows_max] */
	int64_t **load;          /* per balance: [experts] slots routed from this rank's tokens in this step */
	RtData *data;
	RtBatch batch;           /* rows of this step: per microbatch documents and positions */
	int64_t step;            /* optimizer step, from 0 */
	int64_t adam_t;          /* steps done + 1 */
	double lr;
	const char *dump_dir;
	int64_t dump_step;       /* -1 none */
	bool trace;
	float *reduce_piece;     /* [group][RT_PIECE] */
	double last_time;        /* end of the previous step */
} Rt;

enum { RT_PIECE = 1 << 16 };     /* elements summed at a time in a reduce-scatter */

/* rt_fail - prints "[rank r] message" and ends all ranks with `status`. */
_Noreturn void rt_fail(Rt *rt, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Value of a setting, "" when absent. */
const char *rt_setting(const Rt *rt, const char *key);

static inline void *rt_at(const Rt *rt, uint64_t off)
{
	return rt->arena + off;
}

/* rt_exchange.c */
bool rt_exchange_init(Rt *rt);
void rt_counts(Rt *rt, const RtInstr *in);
int64_t rt_rounds(Rt *rt, const RtInstr *in);
void rt_begin_round(Rt *rt, const RtInstr *in, int64_t round);
void rt_dispatch(Rt *rt, const RtInstr *in);
void rt_collect(Rt *rt, const RtInstr *in);

/* rt_run.c */
void rt_run_step(Rt *rt);

/* rt_optim.c */
void rt_gather_unit(Rt *rt, const RtUnit *u);
void rt_reduce_unit(Rt *rt, const RtUnit *u);
void rt_optimizer(Rt *rt);
RtCommGroup rt_unit_group(const RtUnit *u);

/* rt_metrics.c */
void rt_metrics_open(Rt *rt);
void rt_metrics_step(Rt *rt, double loss, double norm, int64_t label_tokens, int64_t tokens,
                     int64_t all_tokens);

/* rt_weights.c: reads or makes the parameters this rank owns; ends the run on a wrong checkpoint. */
void rt_weights_check(Rt *rt);
void rt_weights_load(Rt *rt);
/* Folder of the checkpoint, NULL for from_config. */
const char *rt_checkpoint_dir(Rt *rt);

/* rt_dump.c */
void rt_dump(Rt *rt, bool grads);

#endif
