/* rt_comm_int.h - what the implementations of rt_comm.h share: the groups of the mesh, what this rank is
 * doing, the guard that ends a process which hangs, and what a rank says when nothing moves.
 */
#ifndef GLMC_RT_COMM_INT_H
#define GLMC_RT_COMM_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "rt_int.h"

/* The first member of every struct RtComm. */
typedef struct RtCommBase {
	const char *library;     /* "MPI", "NCCL" */
	int rank, dp, ep;
	int size[RT_COMM_GROUPS], index[RT_COMM_GROUPS];
	double timeout;          /* seconds without progress */
	int instr;               /* what this rank does now */
	const char *text;
	int group, peer;         /* waits for this member of the group, -1 all of it; group -1: does not wait */
	pthread_t guard;
	atomic_llong deadline;   /* second at which the guard ends the process; 0 off */
	atomic_bool stop;
} RtCommBase;

/* rt_comm_base.c */
void rt_comm_init(RtCommBase *b, const RtProg *p, const char *library, int rank, double timeout_seconds);
int rt_comm_world_rank(const RtCommBase *b, RtCommGroup g, int member);
const char *rt_comm_group_name(RtCommGroup g);
/* ", waiting for rank 3", ", waiting for its pipeline group"; "" for group -1. */
void rt_comm_waiting(const RtCommBase *b, int group, int peer, char *out, size_t size);
/* What the rank does, "start" before there is anything. */
const char *rt_comm_doing(const RtCommBase *b);

/* rt_comm_guard.c */
/* Starts the thread that ends this process at the deadline. */
void rt_comm_guard(RtCommBase *b);
void rt_comm_guard_stop(RtCommBase *b);
/* The deadline, in seconds from now; none. */
void rt_comm_deadline(RtCommBase *b, double seconds);
void rt_comm_no_deadline(RtCommBase *b);
/* SIGTERM and SIGINT say where this rank is, and end the process. After rt_comm_guard. */
void rt_comm_catch_signals(void);

/* rt_comm_stuck.c */

/* What a rank has been heard to say in the last `within` seconds: that it waits, in instruction *instr (-1: not
 * known). False when nothing. */
typedef bool RtCommHeard(RtComm *c, int rank, double within, int *instr);

/* Says that nothing has moved for the time limit in instruction `instr`: whom this rank waits for, and who says
 * nothing. Ranks say that they wait from half of the limit on, so one that still runs was heard since. */
void rt_comm_stuck(RtComm *c, int instr, const char *text, int group, int peer, RtCommHeard *heard);

#endif
