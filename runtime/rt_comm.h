/* rt_comm.h - communication between ranks: one interface; behind it MPI (rt_comm_mpi.c), NCCL
 * (rt_comm_nccl.c) or a single rank (rt_comm_single.c).
 *
 * Data of the program lie in device memory (rt_dev.h) and move in the order of a stream; over MPI a
 * call returns when they are there. Data of the process lie in its own memory, and a call always
 * returns when they are there. A wait watches the clock: when nothing moves for the time limit the
 * rank says in which instruction it waits and for whom, and the run ends with exit status 5.
 */
#ifndef GLMC_RT_COMM_H
#define GLMC_RT_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "rt_prog.h"

typedef struct Rt Rt;
typedef struct RtComm RtComm;

typedef enum RtCommGroup {
	RT_COMM_WORLD,
	RT_COMM_DP,              /* ranks of a pipeline rank */
	RT_COMM_EP,              /* of those, the ones that share the experts of one copy */
	RT_COMM_SHARD,           /* of those, the ones with the same experts */
	RT_COMM_PP,              /* one rank of every pipeline rank, equal dp rank */
	RT_COMM_GROUPS
} RtCommGroup;

/* rt_comm_rank - this process's rank and the number of ranks, from the launcher's environment,
 * before anything is set up. False with a message when sources disagree or name a rank that cannot be. */
int rt_comm_rank(int *rank, int *world, char err[200]);

/* rt_comm_check - looks for what communication needs on this machine, before anything is read. False
 * with a message (exit status 3). */
int rt_comm_check(const RtProg *p, char *err, size_t size);

/* rt_comm_new - joins the other ranks. NULL with a message. */
RtComm *rt_comm_new(const RtProg *p, Rt *rt, int rank, double timeout_seconds, char *err, size_t size);
void rt_comm_free(RtComm *c);

/* rt_comm_where - what this rank is doing, for messages; the text must stay valid. */
void rt_comm_where(RtComm *c, int instr, const char *text);

int rt_comm_size(const RtComm *c, RtCommGroup g);
int rt_comm_index(const RtComm *c, RtCommGroup g);

/* ---- data of the program ---- */

void rt_comm_send(RtComm *c, int stream, RtCommGroup g, int to, const void *data, size_t bytes);
void rt_comm_recv(RtComm *c, int stream, RtCommGroup g, int from, void *data, size_t bytes);

/* rt_comm_gather - member i's `bytes` bytes at all + i * bytes, own ones in place, to all. */
void rt_comm_gather(RtComm *c, int stream, RtCommGroup g, void *all, size_t bytes);

/* rt_comm_reduce - elements [k*n, (k+1)*n) of member k become the sum over the members; what lies in the
 * others' parts is undefined. Over MPI in the order of members. */
void rt_comm_reduce(RtComm *c, int stream, RtCommGroup g, float *data, int64_t n);

typedef struct RtPiece {
	int peer;                /* member */
	void *at;
	size_t bytes;            /* 0: nothing */
} RtPiece;

/* rt_comm_exchange - sends and receives pieces; those between two ranks match in order. */
void rt_comm_exchange(RtComm *c, int stream, RtCommGroup g, const RtPiece *send, int nsend, const RtPiece *recv,
                      int nrecv);

/* ---- data of the process ---- */

/* all[i] = `bytes` bytes of member i, in the order of members; `mine` may be all[own index]. */
void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes);

void rt_comm_tell(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes);
void rt_comm_hear(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes);

void rt_comm_barrier(RtComm *c);

/* rt_comm_abort - ends all ranks with `status`. */
_Noreturn void rt_comm_abort(RtComm *c, int status);

#endif
