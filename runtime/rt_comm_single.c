/* rt_comm_single.c - rt_comm.h for one rank, where no MPI is built in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_comm.h"

struct RtComm {
	int rank;
};

RtComm *rt_comm_new(const RtProg *p, int rank, double timeout_seconds, char err[200])
{
	(void)timeout_seconds;
	if (p->world != 1) {
		snprintf(err, 200, "the program is for %d ranks, but this runtime was built without MPI", p->world);
		return NULL;
	}
	RtComm *c = calloc(1, sizeof *c);
	if (c)
		c->rank = rank;
	return c;
}

void rt_comm_free(RtComm *c)
{
	free(c);
}

void rt_comm_where(RtComm *c, int instr, const char *text)
{
	(void)c;
	(void)instr;
	(void)text;
}

int rt_comm_size(const RtComm *c, RtCommGroup g)
{
	(void)c;
	(void)g;
	return 1;
}

int rt_comm_index(const RtComm *c, RtCommGroup g)
{
	(void)c;
	(void)g;
	return 0;
}

static _Noreturn void impossible(void)
{
	fprintf(stderr, "[rank 0] a transfer in a program of one rank\n");
	exit(70);
}

void rt_comm_send(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes)
{
	(void)c, (void)g, (void)to, (void)data, (void)bytes;
	impossible();
}

void rt_comm_recv(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes)
{
	(void)c, (void)g, (void)from, (void)data, (void)bytes;
	impossible();
}

void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes)
{
	(void)c, (void)g;
	if (mine != all)
		memmove(all, mine, bytes);
}

void rt_comm_exchange(RtComm *c, RtCommGroup g, const void *send, const size_t *send_bytes,
                      const size_t *send_at, void *recv, const size_t *recv_bytes, const size_t *recv_at)
{
	(void)c, (void)g, (void)recv_bytes;
	memcpy((char *)recv + recv_at[0], (const char *)send + send_at[0], send_bytes[0]);
}

void rt_comm_barrier(RtComm *c)
{
	(void)c;
}

void rt_comm_abort(RtComm *c, int status)
{
	(void)c;
	fflush(NULL);
	exit(status);
}
