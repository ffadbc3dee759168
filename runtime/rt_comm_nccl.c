/* rt_comm_nccl.c - rt_comm.h over NCCL: one world communicator, split into the groups.
 *
 * Program data move in the order of their stream. Process data pass through a small piece of device
 * memory. Three things end a run that cannot go on: a peer's connection closes (rt_meet.h), NCCL
 * reports an asynchronous error, or no transfer has finished for the time limit while the host waits.
 * A thread ends the process should a call of NCCL itself not return.
 *
 * Reproducible sums: NCCL's ring adds in the order of the ring, which the run keeps, and NCCL_ALGO is
 * set to Ring unless the user has set it. NCCL_LAUNCH_ORDER_IMPLICIT makes the transfers of different
 * communicators start in the order of the program, which was proven free of deadlock in that order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_clock.h"
#include "rt_comm_int.h"
#include "rt_flight.h"
#include "rt_keys.h"
#include "rt_launcher.h"
#include "rt_meet.h"
#include "rt_message.h"

static const double ASK = 0.05;      /* seconds between looks at what moves */

struct RtComm {
	RtCommBase base;
	Rt *rt;
	RtNcclApi nccl;
	RtMeet *meet;            /* NULL: one rank */
	ncclComm_t comm[RT_COMM_GROUPS];     /* NULL: a group of one */
	RtFlight flight;
	int64_t finished;        /* transfers at `moved` */
	double moved;            /* when a wait began or a transfer finished last */
	double asked;            /* when NCCL was asked for errors last */
	double said;             /* when the others were told of this rank's waiting last */
	atomic_bool ending;      /* this rank ends the run itself */
};

/* Between these two a call of NCCL may block, but not longer than the time limit. */
static void enter(RtComm *c)
{
	rt_comm_deadline(&c->base, c->base.timeout + 2);
}

static void leave(RtComm *c)
{
	rt_comm_no_deadline(&c->base);
}

static void check(RtComm *c, ncclResult_t r, const char *call)
{
	leave(c);
	if (r == ncclSuccess || r == ncclInProgress)
		return;
	rt_fail(c->rt, RT_ECOMM, "%s in instruction %d (%s): %s: %s", call, c->base.instr, rt_comm_doing(&c->base),
	        c->nccl.ncclGetErrorString(r), c->nccl.ncclGetLastError(NULL));
}

#define NCCL(c, call) (enter(c), check(c, (c)->nccl.call, #call))

/* ---- while the host waits ---- */

/* News come by way of rank 0: when that is silent, nothing is known of the others. */
static bool was_heard(RtComm *c, int rank, double within, int *instr)
{
	if (rank && c->base.rank && !was_heard(c, 0, within, instr)) {
		*instr = -1;
		return true;
	}
	return rt_meet_heard(c->meet, rank, instr) < within;
}

/* The oldest transfer of every stream; none: the device itself does not finish. */
static void print_flight(RtComm *c)
{
	int n = 0;
	for (int s = 0; s < RT_STREAMS; s++) {
		const RtFlightOp *op = rt_flight_oldest(&c->flight, s);
		if (op)
			rt_comm_stuck(c, op->instr, op->note, (int)op->group, op->peer, was_heard);
		n += op != NULL;
	}
	if (!n)
		rt_say(c->base.rank, "no progress for %g s: the device does not finish what was issued up to instruction "
		                      "%d (%s)", c->base.timeout, c->base.instr, rt_comm_doing(&c->base));
}

static _Noreturn void timed_out(RtComm *c)
{
	print_flight(c);
	rt_comm_abort(c, RT_ECOMM);
}

/* After half of the limit. */
static void say(RtComm *c, double t)
{
	const RtFlightOp *op = NULL;
	for (int s = RT_STREAMS - 1; s >= 0 && !op; s--)
		op = rt_flight_oldest(&c->flight, s);
	if (!c->meet || t - c->said < c->base.timeout / 16)
		return;
	c->said = t;
	rt_meet_say(c->meet, op ? op->instr : c->base.instr);
}

static void ask_for_errors(RtComm *c)
{
	for (int g = 0; g < RT_COMM_GROUPS; g++) {
		ncclResult_t r = ncclSuccess;
		if (!c->comm[g] || c->nccl.ncclCommGetAsyncError(c->comm[g], &r) != ncclSuccess)
			continue;
		if (r != ncclSuccess && r != ncclInProgress) {
			rt_fail(c->rt, RT_ECOMM, "the %s group of NCCL: %s: %s", rt_comm_group_name((RtCommGroup)g),
			        c->nccl.ncclGetErrorString(r), c->nccl.ncclGetLastError(c->comm[g]));
		}
	}
}

static void idle(Rt *rt, bool first)
{
	RtComm *c = rt->comm;
	double t = rt_now();
	if (first)
		c->moved = t;
	if (t - c->asked < ASK)
		return;
	c->asked = t;
	rt_flight_look(rt, &c->flight);
	if (c->flight.finished != c->finished) {
		c->finished = c->flight.finished;
		c->moved = t;
	}
	ask_for_errors(c);
	if (t - c->moved > c->base.timeout / 2)
		say(c, t);
	if (t - c->moved > c->base.timeout)
		timed_out(c);
}

/* ---- start ---- */

int rt_comm_check(const RtProg *p, char *err, size_t size)
{
	RtNcclApi nccl;
	char host[256];
	int port;
	if (p->world == 1)
		return 1;
	return rt_load_nccl(&nccl, err, size) && rt_launcher_address(p->world, host, &port, err, size);
}

static uint64_t mix(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001B3u;
	return (h ^ 0xFF) * 0x100000001B3u;
}

/* Equal for the ranks of one build: model, mesh, and every key that shapes programs. */
static uint64_t build_of(const RtProg *p)
{
	uint64_t h = mix(0xCBF29CE484222325u, p->model);
	char mesh[120];
	snprintf(mesh, sizeof mesh, "%d %d %d %d %d %d %lld %lld", p->world, p->pp, p->ep, p->ep_shard, p->microbatches,
	         p->runs, (long long)p->tokens_max, (long long)p->rows_max);
	h = mix(h, mesh);
	for (int i = 0; i < p->nconfig; i++)
		h = mix(mix(h, p->config[i].key), p->config[i].value);
	for (int i = 0; i < p->nsetting; i++) {
		int k = rt_key_find(p->settings[i].key);
		if (k >= 0 && rt_key_at(k)->when == RT_KEY_COMPILE)
			h = mix(mix(h, p->settings[i].key), p->settings[i].value);
	}
	return h;
}

static void peer_ended(void *ctx, int rank, int status)
{
	RtComm *c = ctx;
	if (atomic_load(&c->ending))
		return;
	rt_say(c->base.rank, "rank %d %s; here: instruction %d (%s)", rank,
	       status == RT_ECOMM ? "is lost" : "has failed", c->base.instr, rt_comm_doing(&c->base));
	fflush(NULL);
	_exit(status);
}

static bool meet(RtComm *c, const RtProg *p, ncclUniqueId *id, char *err, size_t size)
{
	char host[256];
	RtMeetOptions o = {.rank = c->base.rank, .world = p->world, .build = build_of(p), .seconds = c->base.timeout,
	                   .host = host};
	if (!rt_launcher_address(p->world, host, &o.port, err, size))
		return false;
	if (o.rank == 0)
		NCCL(c, ncclGetUniqueId(id));
	c->meet = rt_meet(&o, id, sizeof *id, err, size);
	return c->meet && rt_meet_watch(c->meet, peer_ended, c);
}

static void connect_all(RtComm *c, const RtProg *p, const ncclUniqueId *id)
{
	const RtCommBase *b = &c->base;
	if (p->world == 1)
		return;
	NCCL(c, ncclCommInitRank(&c->comm[RT_COMM_WORLD], p->world, *id, b->rank));
	for (RtCommGroup g = RT_COMM_DP; g < RT_COMM_GROUPS; g++) {
		int color = b->size[g] > 1 ? rt_comm_world_rank(b, g, 0) : -1;
		NCCL(c, ncclCommSplit(c->comm[RT_COMM_WORLD], color, b->index[g], &c->comm[g], NULL));
	}
}

RtComm *rt_comm_new(const RtProg *p, Rt *rt, int rank, double timeout_seconds, char *err, size_t size)
{
	ncclUniqueId id = {0};
	RtComm *c = rt->comm = calloc(1, sizeof *c);
	snprintf(err, size, "out of memory");
	if (!c)
		return NULL;
	c->rt = rt;
	rt_comm_init(&c->base, p, "NCCL", rank, timeout_seconds);
	rt_comm_guard(&c->base);
	if (p->world > 1 && !rt_load_nccl(&c->nccl, err, size))
		return NULL;
	setenv("NCCL_ALGO", "Ring", 0);
	setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
	if (p->world > 1 && !meet(c, p, &id, err, size))
		return NULL;
	rt_comm_catch_signals();
	connect_all(c, p, &id);
	rt_flight_init(rt, &c->flight);
	rt->dev->idle = idle;
	return c;
}

void rt_comm_free(RtComm *c)
{
	rt_dev_finish(c->rt);
	c->rt->dev->idle = NULL;
	rt_flight_free(c->rt, &c->flight);
	for (int g = RT_COMM_GROUPS - 1; g >= 0; g--)
		if (c->comm[g])
			NCCL(c, ncclCommDestroy(c->comm[g]));
	if (c->meet)
		rt_meet_leave(c->meet);
	rt_comm_guard_stop(&c->base);
	free(c);
}

/* The others hear the status before this rank's connection closes. Kernels of NCCL that wait for a peer
 * end with their communicator; a communicator that cannot be ended goes with the process. */
void rt_comm_abort(RtComm *c, int status)
{
	rt_comm_deadline(&c->base, 5);
	atomic_store(&c->ending, true);
	fflush(NULL);
	if (c->meet)
		rt_meet_end(c->meet, status);
	for (int g = RT_COMM_GROUPS - 1; g >= 0; g--)
		if (c->comm[g])
			c->nccl.ncclCommAbort(c->comm[g]);
	_exit(status);
}

/* ---- data of the program ---- */

static CUstream stream_of(const RtComm *c, int stream)
{
	return c->rt->dev->stream[stream];
}

/* `member` -1: the whole group. */
static void in_flight(RtComm *c, int stream, RtCommGroup g, int member)
{
	RtFlightOp op = {.instr = c->base.instr, .note = c->base.text, .group = g,
	                 .peer = member};
	rt_flight_add(c->rt, &c->flight, stream, op);
}

void rt_comm_send(RtComm *c, int stream, RtCommGroup g, int to, const void *data, size_t bytes)
{
	NCCL(c, ncclSend(data, bytes, ncclUint8, to, c->comm[g], stream_of(c, stream)));
	in_flight(c, stream, g, to);
}

void rt_comm_recv(RtComm *c, int stream, RtCommGroup g, int from, void *data, size_t bytes)
{
	NCCL(c, ncclRecv(data, bytes, ncclUint8, from, c->comm[g], stream_of(c, stream)));
	in_flight(c, stream, g, from);
}

void rt_comm_gather(RtComm *c, int stream, RtCommGroup g, void *all, size_t bytes)
{
	const char *mine = (const char *)all + (size_t)c->base.index[g] * bytes;
	if (!c->comm[g] || !bytes)
		return;
	NCCL(c, ncclAllGather(mine, all, bytes, ncclUint8, c->comm[g], stream_of(c, stream)));
	in_flight(c, stream, g, -1);
}

void rt_comm_reduce(RtComm *c, int stream, RtCommGroup g, float *data, int64_t n)
{
	if (!c->comm[g] || !n)
		return;
	NCCL(c, ncclReduceScatter(data, data + c->base.index[g] * n, (size_t)n, ncclFloat32, ncclSum, c->comm[g],
	                          stream_of(c, stream)));
	in_flight(c, stream, g, -1);
}

void rt_comm_exchange(RtComm *c, int stream, RtCommGroup g, const RtPiece *send, int nsend, const RtPiece *recv,
                      int nrecv)
{
	CUstream s = stream_of(c, stream);
	NCCL(c, ncclGroupStart());
	for (int i = 0; i < nrecv; i++)
		if (recv[i].bytes)
			NCCL(c, ncclRecv(recv[i].at, recv[i].bytes, ncclUint8, recv[i].peer, c->comm[g], s));
	for (int i = 0; i < nsend; i++)
		if (send[i].bytes)
			NCCL(c, ncclSend(send[i].at, send[i].bytes, ncclUint8, send[i].peer, c->comm[g], s));
	NCCL(c, ncclGroupEnd());
	in_flight(c, stream, g, -1);
}

/* ---- data of the process ---- */

static char *wire(const RtComm *c)
{
	return rt_at(c->rt, c->rt->own.wire);
}

void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes)
{
	size_t n = (size_t)c->base.size[g], most = c->rt->own.wire_bytes / n, me = (size_t)c->base.index[g];
	if (!c->comm[g]) {
		memmove(all, mine, bytes);
		return;
	}
	char *in = (char *)malloc(most * n);
	if (!in)
		rt_fail(c->rt, RT_EMEMORY, "out of memory");
	for (size_t at = 0; at < bytes; at += most) {
		size_t m = bytes - at < most ? bytes - at : most;
		rt_dev_put(c->rt, 0, wire(c) + me * m, (const char *)mine + at, m);
		rt_comm_gather(c, 0, g, wire(c), m);
		rt_dev_get(c->rt, 0, in, wire(c), m * n);
		for (size_t k = 0; k < n; k++)
			memcpy((char *)all + k * bytes + at, in + k * m, m);
	}
	free(in);
}

void rt_comm_tell(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes)
{
	size_t most = c->rt->own.wire_bytes;
	for (size_t at = 0; at < bytes; at += most) {
		size_t m = bytes - at < most ? bytes - at : most;
		rt_dev_put(c->rt, 0, wire(c), (const char *)data + at, m);
		rt_comm_send(c, 0, g, to, wire(c), m);
		rt_dev_finish(c->rt);
	}
}

void rt_comm_hear(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes)
{
	size_t most = c->rt->own.wire_bytes;
	for (size_t at = 0; at < bytes; at += most) {
		size_t m = bytes - at < most ? bytes - at : most;
		rt_comm_recv(c, 0, g, from, wire(c), m);
		rt_dev_get(c->rt, 0, (char *)data + at, wire(c), m);
	}
}

void rt_comm_barrier(RtComm *c)
{
	char mine = 0, *all = malloc((size_t)c->base.size[RT_COMM_WORLD]);
	if (!all)
		rt_fail(c->rt, RT_EMEMORY, "out of memory");
	rt_comm_all_gather(c, RT_COMM_WORLD, &mine, all, 1);
	free(all);
}
