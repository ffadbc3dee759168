/* rt_int.h - the state of a rank, shared by the files of the runtime. */
#ifndef GLMC_RT_INT_H
#define GLMC_RT_INT_H

#include "rt_comm.h"
#include "rt_data.h"
#include "rt_dev.h"
#include "rt_exchange.h"
#include "rt_kernel.h"
#include "rt_own.h"
#include "rt_pool.h"
#include "rt_profile.h"
#include "rt_prog.h"

enum { RT_OK = 0, RT_EUSAGE = 2, RT_EENV = 3, RT_EDATA = 4, RT_ECOMM = 5, RT_ENUMERIC = 6, RT_EMEMORY = 7 };

typedef struct RtChoice RtChoice;

struct Rt {
	RtProg *p;
	RtOwn own;               /* where the runtime's own memory lies */
	RtDev *dev;
	RtComm *comm;
	RtPool *pool;            /* NULL on the cuda target */
	char *arena;             /* device address */
	int rank, q;             /* q: dp rank */
	RtEnv env;
	RtExchange *xch;         /* [xchs] */
	RtPiece *own_part, *list_part;   /* [experts_max] of an exchange, see rt_route.c */
	int64_t **load;          /* per balance: [experts] slots routed from this rank's tokens in this step */
	RtChoice *choice;        /* NULL: choices are neither recorded nor replayed */
	struct RtSt *checkpoint; /* open until its weights are read; NULL for from_config */
	RtData *data;
	RtBatch batch;           /* rows of this step: per microbatch documents and positions */
	int64_t step;            /* optimizer step, from 0 */
	double lr;
	const char *dump_dir;
	int64_t dump_step;       /* -1 none */
	bool trace;
	RtProfile *profile;      /* NULL unless asked for */
	double last_time;        /* end of the previous step */
};

/* rt_fail - prints "[rank r] message" and ends all ranks with `status`. */
_Noreturn void rt_fail(Rt *rt, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Value of a setting, "" when absent. */
const char *rt_setting(const Rt *rt, const char *key);

static inline void *rt_at(const Rt *rt, uint64_t off)
{
	return rt->arena + off;
}

/* rt_route.c */
bool rt_route_init(Rt *rt);
void rt_counts(Rt *rt, const RtInstr *in);
int64_t rt_rounds(Rt *rt, const RtInstr *in);
void rt_begin_round(Rt *rt, const RtInstr *in, int64_t round);
void rt_end_rounds(Rt *rt, const RtInstr *in);
void rt_dispatch(Rt *rt, const RtInstr *in);
void rt_collect(Rt *rt, const RtInstr *in);

/* rt_run.c */
void rt_run_step(Rt *rt);

/* rt_optim.c */
void rt_optimizer(Rt *rt);
RtCommGroup rt_unit_group(const RtUnit *u);
/* Arena offset of the reduced gradient of element `at` of a unit, one of this rank's part. */
uint64_t rt_unit_gradient(const Rt *rt, const RtUnit *u, int64_t at);
/* This rank's part of a unit: first element, and number in *n. */
int64_t rt_unit_shard(const Rt *rt, const RtUnit *u, int64_t *n);

/* rt_gather.c: sums in the order of members */
int64_t rt_sum_int(Rt *rt, RtCommGroup g, int64_t x);
double rt_sum_double(Rt *rt, RtCommGroup g, double x);
/* The lists of all members, one behind the other; malloc'd. `n` elements of `size` bytes are this rank's, *total
 * are all. */
void *rt_gather_lists(Rt *rt, RtCommGroup g, const void *mine, int64_t n, size_t size, int64_t *total);

/* rt_finite.c: names the tensors that are not finite and ends all ranks; called by all of them. */
_Noreturn void rt_not_finite(Rt *rt, double loss, double norm);

/* rt_metrics.c */
void rt_metrics_open(Rt *rt);    /* an empty training.jsonl; ends the run when it cannot be written */
void rt_metrics_start(Rt *rt);   /* the clock of the first step */
void rt_metrics_step(Rt *rt, double loss, double norm, int64_t label_tokens, int64_t tokens,
                     int64_t all_tokens);

/* rt_checkpoint.c: opens the checkpoint; ends the run when it is not one of this program's model. */
void rt_checkpoint_open(Rt *rt);
/* Folder of the checkpoint, NULL for from_config. */
const char *rt_checkpoint_dir(Rt *rt);
/* Name of expert e (-1: none) of a stack: its number in place of "{e}". */
void rt_expert_name(char *out, size_t size, const char *pattern, int64_t e);

/* rt_weights.c: reads or makes the parameters this rank owns. */
void rt_weights_load(Rt *rt);

/* rt_dump.c */
void rt_dump_open(Rt *rt);       /* ends the run when the folder cannot be written */
void rt_dump(Rt *rt, bool grads);

#endif
