/* rt_comm.h - communication between ranks: one interface, MPI or a single rank behind it.
 *
 * Every call blocks until its data are there; while it waits it watches the clock, and when nothing
 * moves for the time limit the rank says in which instruction it waits and for whom, and the run
 * ends with exit status 5. Sums are the caller's: this layer only moves bytes, so that the order of
 * additions is the same everywhere.
 */
#ifndef GLMC_RT_COMM_H
#define GLMC_RT_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "rt_prog.h"

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
 * before anything is set up. False with a message when sources disagree. */
int rt_comm_rank(int *rank, int *world, char err[200]);

/* rt_comm_new - joins the other ranks. NULL with a message. */
RtComm *rt_comm_new(const RtProg *p, int rank, double timeout_seconds, char err[200]);
void rt_comm_free(RtComm *c);

/* rt_comm_where - what this rank is doing, for messages; the text must stay valid. */
void rt_comm_where(RtComm *c, int instr, const char *text);

int rt_comm_size(const RtComm *c, RtCommGroup g);
int rt_comm_index(const RtComm *c, RtCommGroup g);

void rt_comm_send(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes);
void rt_comm_recv(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes);

/* all[i] = `bytes` bytes of member i, in the order of members; `mine` may be all[own index]. */
void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes);

/* Sends send_bytes[i] from send + send_at[i] to member i, receives likewise. */
void rt_comm_exchange(RtComm *c, RtCommGroup g, const void *send, const size_t *send_bytes,
                      const size_t *send_at, void *recv, const size_t *recv_bytes, const size_t *recv_at);

void rt_comm_barrier(RtComm *c);

/* rt_comm_abort - ends all ranks with `status`. */
_Noreturn void rt_comm_abort(RtComm *c, int status);

#endif
