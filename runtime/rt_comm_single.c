/* rt_comm_single.c - rt_comm.h for one rank, where no MPI is built in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_comm_int.h"
#include "rt_message.h"

struct RtComm {
	RtCommBase base;
};

int rt_comm_check(const RtProg *p, char *err, size_t size)
{
	if (p->world != 1)
		snprintf(err, size, "the program is for %d ranks, but this runtime was built without MPI", p->world);
	return p->world == 1;
}

RtComm *rt_comm_new(const RtProg *p, Rt *rt, int rank, double timeout_seconds, char *err, size_t size)
{
	(void)rt;
	snprintf(err, size, "out of memory");
	RtComm *c = calloc(1, sizeof *c);
	if (c)
		rt_comm_init(&c->base, p, "no library", rank, timeout_seconds);
	return c;
}

void rt_comm_free(RtComm *c)
{
	free(c);
}

static _Noreturn void impossible(void)
{
	rt_say(0, "a transfer in a program of one rank");
	exit(70);
}

void rt_comm_send(RtComm *c, int stream, RtCommGroup g, int to, const void *data, size_t bytes)
{
	(void)c, (void)stream, (void)g, (void)to, (void)data, (void)bytes;
	impossible();
}

void rt_comm_recv(RtComm *c, int stream, RtCommGroup g, int from, void *data, size_t bytes)
{
	(void)c, (void)stream, (void)g, (void)from, (void)data, (void)bytes;
	impossible();
}

void rt_comm_gather(RtComm *c, int stream, RtCommGroup g, void *all, size_t bytes)
{
	(void)c, (void)stream, (void)g, (void)all, (void)bytes;
}

void rt_comm_reduce(RtComm *c, int stream, RtCommGroup g, float *data, int64_t n)
{
	(void)c, (void)stream, (void)g, (void)data, (void)n;
}

void rt_comm_exchange(RtComm *c, int stream, RtCommGroup g, const RtPiece *send, int nsend, const RtPiece *recv,
                      int nrecv)
{
	(void)c, (void)stream, (void)g, (void)send, (void)nsend, (void)recv, (void)nrecv;
	impossible();
}

void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes)
{
	(void)c, (void)g;
	if (mine != all)
		memmove(all, mine, bytes);
}

void rt_comm_tell(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes)
{
	(void)c, (void)g, (void)to, (void)data, (void)bytes;
	impossible();
}

void rt_comm_hear(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes)
{
	(void)c, (void)g, (void)from, (void)data, (void)bytes;
	impossible();
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
