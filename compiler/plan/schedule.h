/* schedule.h - pipeline schedules as lists of actions per rank, as torch's classes order them. */
#ifndef GLMC_SCHEDULE_H
#define GLMC_SCHEDULE_H

#include <stdbool.h>

#include "../base/text.h"
#include "../base/vec.h"

/* B is the whole backward; I the gradients of inputs, W those of weights. */
typedef enum ActKind { ACT_F, ACT_B, ACT_I, ACT_W, ACT_SEND_F, ACT_RECV_F, ACT_SEND_B, ACT_RECV_B } ActKind;

typedef struct Act {
	ActKind kind;
	int stage, mb;           /* SEND_x s: result of stage s; RECV_x s: what stage s consumes */
	bool pair;               /* this F and the next action, a B, overlap */
} Act;

typedef VEC(Act) ActList;

typedef struct ScheduleInfo {
	const char *name;        /* "Interleaved1F1B" */
	bool single;             /* exactly one stage per rank */
	bool v_shape;            /* two stages per rank: stage pp+i on rank pp-1-i */
	bool whole;              /* has B */
	bool split;              /* has I and W */
} ScheduleInfo;

/* schedule_find - by name in any case; NULL unknown. */
const ScheduleInfo *schedule_find(const char *name);

/* schedule_reject - why `m` microbatches cannot run, in the schedule's own words; NULL when they can. */
const char *schedule_reject(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m);

/* schedule_compute - F, B, I and W of every rank for one run of m microbatches; lists[pp]. */
void schedule_compute(Arena *a, const ScheduleInfo *s, int pp, int per_rank, int m, ActList *lists);

/* "F", "B", .. "RECV_B" */
const char *act_kind_name(ActKind k);

/* act_print - "4F2", "4SEND_B0". */
void act_print(Text *t, const Act *act);

/* act_list_print - with blanks between; overlapping pairs as "(0F3;3B1)OVERLAP_F_B". */
void act_list_print(Text *t, const ActList *l);

#endif
