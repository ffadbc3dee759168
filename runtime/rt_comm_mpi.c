/* rt_comm_mpi.c - rt_comm.h over MPI.
 *
 * Nothing blocks inside MPI: every operation is started non-blocking and polled, so that this rank
 * notices when a peer has stopped. Ranks may outnumber cores, so a poll that finds nothing soon
 * gives the processor away. A second thread ends the process should MPI itself hang past the
 * limit.
 *
 * A rank that has waited for half of the limit begins to tell all others in which instruction it
 * waits, again and again, and listens to theirs. At the limit, the ranks that say nothing are those
 * that have stopped; all others only wait for them.
 */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_clock.h"
#include "rt_comm_int.h"
#include "rt_message.h"

enum { PIECE = 1 << 30, TELLS = 8, GRACE = 10 };
enum { SUM_PIECE = 1 << 16 };    /* elements summed at a time in a reduce */

/* What a rank has said of its waiting. */
typedef struct Heard {
	int instr;
	double when;             /* 0 never */
} Heard;

struct RtComm {
	RtCommBase base;
	MPI_Comm comm[RT_COMM_GROUPS];
	MPI_Comm talk;           /* for what ranks say of their waiting */
	MPI_Request *told;       /* per world rank */
	Heard *heard;
	int say;
	MPI_Request *requests;   /* of an exchange */
	int nrequest, room;
	RtPiece *piece;          /* [2][dp] of a reduce, */
	float *parts;            /* and [dp][SUM_PIECE] received for it */
};

/* ---- who does not answer ---- */

static void listen(RtComm *c)
{
	for (;;) {
		MPI_Status from;
		int there = 0, instr;
		MPI_Iprobe(MPI_ANY_SOURCE, 0, c->talk, &there, &from);
		if (!there)
			return;
		MPI_Recv(&instr, 1, MPI_INT, from.MPI_SOURCE, 0, c->talk, MPI_STATUS_IGNORE);
		c->heard[from.MPI_SOURCE] = (Heard){instr, rt_now()};
	}
}

/* Tells the others; to one that has not taken the last message nothing is sent. */
static void tell(RtComm *c)
{
	c->say = c->base.instr;
	for (int r = 0; r < c->base.size[RT_COMM_WORLD]; r++) {
		int done = 1;
		if (c->told[r] != MPI_REQUEST_NULL)
			MPI_Test(&c->told[r], &done, MPI_STATUS_IGNORE);
		if (done && r != c->base.rank)
			MPI_Isend(&c->say, 1, MPI_INT, r, 0, c->talk, &c->told[r]);
	}
}

static bool was_heard(RtComm *c, int rank, double within, int *instr)
{
	*instr = c->heard[rank].instr;
	return c->heard[rank].when > 0 && rt_now() - c->heard[rank].when < within;
}

static _Noreturn void timed_out(RtComm *c)
{
	rt_comm_stuck(c, c->base.instr, c->base.text, c->base.group, c->base.peer, was_heard);
	rt_comm_abort(c, RT_ECOMM);
}

/* ---- waiting ---- */

typedef struct Wait {
	double begin, next_tell;
} Wait;

/* Called again and again while nothing comes: on a busy machine a poll may be milliseconds after the last one. */
static void watch(RtComm *c, Wait *w)
{
	double t = rt_now();
	if (w->begin == 0) {
		w->begin = t;
		w->next_tell = t + c->base.timeout / 2;
		rt_comm_deadline(&c->base, c->base.timeout + GRACE);
	}
	if (t > w->next_tell) {
		listen(c);
		tell(c);
		w->next_tell = t + c->base.timeout / 2 / TELLS;
	}
	if (t > w->begin + c->base.timeout)
		timed_out(c);
}

static _Noreturn void failed(RtComm *c, int error)
{
	char text[MPI_MAX_ERROR_STRING] = "", whom[80];
	int n = 0;
	MPI_Error_string(error, text, &n);
	rt_comm_waiting(&c->base, c->base.group, c->base.peer, whom, sizeof whom);
	rt_say(c->base.rank, "MPI fails in instruction %d (%s)%s: %s", c->base.instr, rt_comm_doing(&c->base), whom, text);
	rt_comm_abort(c, RT_ECOMM);
}

/* `peer` -1: the whole group. */
static void wait_all(RtComm *c, RtCommGroup g, int peer, MPI_Request *r, int n)
{
	Wait w = {0, 0};
	int done = 0;
	c->base.peer = peer;
	c->base.group = (int)g;
	for (int spin = 0; !done; spin++) {
		int error = MPI_Testall(n, r, &done, MPI_STATUSES_IGNORE);
		if (error != MPI_SUCCESS)
			failed(c, error);
		if (done || spin < 200)
			continue;
		if (spin < 4000)
			sched_yield();
		else
			usleep(50);
		watch(c, &w);
	}
	c->base.group = -1;
	if (w.begin > 0)
		rt_comm_no_deadline(&c->base);
}

/* ---- set-up ---- */

static bool make_groups(RtComm *c, const RtProg *p)
{
	c->comm[RT_COMM_WORLD] = MPI_COMM_WORLD;
	for (RtCommGroup g = RT_COMM_DP; g < RT_COMM_GROUPS; g++)
		MPI_Comm_split(MPI_COMM_WORLD, rt_comm_world_rank(&c->base, g, 0), c->base.index[g], &c->comm[g]);
	for (int g = 0; g < RT_COMM_GROUPS; g++)
		MPI_Comm_set_errhandler(c->comm[g], MPI_ERRORS_RETURN);
	MPI_Comm_dup(MPI_COMM_WORLD, &c->talk);
	c->told = calloc((size_t)p->world, sizeof(MPI_Request));
	c->heard = calloc((size_t)p->world, sizeof *c->heard);
	for (int r = 0; c->told && r < p->world; r++)
		c->told[r] = MPI_REQUEST_NULL;
	return c->told && c->heard;
}

static bool reserve(RtComm *c, const RtProg *p)
{
	c->piece = malloc(2 * (size_t)p->dp * sizeof *c->piece);
	c->parts = malloc((size_t)p->dp * SUM_PIECE * sizeof *c->parts);
	return c->piece && c->parts;
}

int rt_comm_check(const RtProg *p, char *err, size_t size)
{
	(void)p, (void)err, (void)size;
	return 1;
}

/* Joins; whether MPI and the launcher's environment agree. */
static bool start_mpi(RtComm *c, const RtProg *p, char *err, size_t size)
{
	int provided, rank = 0, world = 0;
	if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
		snprintf(err, size, "MPI does not start");
		return false;
	}
	rt_comm_catch_signals();
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &world);
	if (world == p->world && rank == c->base.rank)
		return true;
	snprintf(err, size, "MPI says rank %d of %d, the launcher rank %d of %d", rank, world, c->base.rank, p->world);
	return false;
}

RtComm *rt_comm_new(const RtProg *p, Rt *rt, int rank, double timeout_seconds, char *err, size_t size)
{
	RtComm *c = calloc(1, sizeof *c);
	(void)rt;
	snprintf(err, size, "out of memory");
	if (!c || !reserve(c, p))
		return NULL;
	rt_comm_init(&c->base, p, "MPI", rank, timeout_seconds);
	rt_comm_deadline(&c->base, timeout_seconds + GRACE);
	rt_comm_guard(&c->base);
	if (!start_mpi(c, p, err, size) || !make_groups(c, p))
		return NULL;
	rt_comm_no_deadline(&c->base);
	return c;
}

void rt_comm_free(RtComm *c)
{
	rt_comm_deadline(&c->base, c->base.timeout + GRACE);
	MPI_Finalize();
	rt_comm_guard_stop(&c->base);
	free(c->told);
	free(c->heard);
	free(c->requests);
	free(c->piece);
	free(c->parts);
	free(c);
}

void rt_comm_tell(RtComm *c, RtCommGroup g, int to, const void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes || at == 0; at += PIECE) {
		MPI_Request r;
		size_t n = bytes - at < PIECE ? bytes - at : PIECE;
		MPI_Issend((const char *)data + at, (int)n, MPI_BYTE, to, 0, c->comm[g], &r);
		wait_all(c, g, to, &r, 1);
	}
}

void rt_comm_hear(RtComm *c, RtCommGroup g, int from, void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes || at == 0; at += PIECE) {
		MPI_Request r;
		size_t n = bytes - at < PIECE ? bytes - at : PIECE;
		MPI_Irecv((char *)data + at, (int)n, MPI_BYTE, from, 0, c->comm[g], &r);
		wait_all(c, g, from, &r, 1);
	}
}

void rt_comm_all_gather(RtComm *c, RtCommGroup g, const void *mine, void *all, size_t bytes)
{
	char *own = (char *)all + bytes * (size_t)c->base.index[g];
	if (own != mine)
		memmove(own, mine, bytes);
	if (c->base.size[g] == 1 || !bytes)
		return;
	MPI_Datatype block;
	MPI_Request r;
	MPI_Type_contiguous((int)(bytes % 4 ? bytes : bytes / 4), bytes % 4 ? MPI_BYTE : MPI_INT32_T, &block);
	MPI_Type_commit(&block);
	MPI_Iallgather(MPI_IN_PLACE, 0, block, all, 1, block, c->comm[g], &r);
	wait_all(c, g, -1, &r, 1);
	MPI_Type_free(&block);
}

void rt_comm_send(RtComm *c, int stream, RtCommGroup g, int to, const void *data, size_t bytes)
{
	(void)stream;
	rt_comm_tell(c, g, to, data, bytes);
}

void rt_comm_recv(RtComm *c, int stream, RtCommGroup g, int from, void *data, size_t bytes)
{
	(void)stream;
	rt_comm_hear(c, g, from, data, bytes);
}

void rt_comm_gather(RtComm *c, int stream, RtCommGroup g, void *all, size_t bytes)
{
	(void)stream;
	rt_comm_all_gather(c, g, (char *)all + bytes * (size_t)c->base.index[g], all, bytes);
}

static MPI_Request *next_request(RtComm *c)
{
	if (c->nrequest == c->room) {
		int room = c->room ? c->room * 2 : 64;
		MPI_Request *r = realloc(c->requests, (size_t)room * sizeof *r);
		if (!r) {
			rt_say(c->base.rank, "out of memory");
			rt_comm_abort(c, RT_EMEMORY);
		}
		c->requests = r;
		c->room = room;
	}
	return &c->requests[c->nrequest++];
}

/* Starts one piece, cut where it is more than MPI takes at once. */
static void start(RtComm *c, RtCommGroup g, const RtPiece *p, bool send)
{
	for (size_t at = 0; at < p->bytes; at += PIECE) {
		char *data = (char *)p->at + at;
		int n = (int)(p->bytes - at < PIECE ? p->bytes - at : PIECE);
		if (send)
			MPI_Isend(data, n, MPI_BYTE, p->peer, 0, c->comm[g], next_request(c));
		else
			MPI_Irecv(data, n, MPI_BYTE, p->peer, 0, c->comm[g], next_request(c));
	}
}

void rt_comm_exchange(RtComm *c, int stream, RtCommGroup g, const RtPiece *send, int nsend, const RtPiece *recv,
                      int nrecv)
{
	(void)stream;
	c->nrequest = 0;
	for (int i = 0; i < nrecv; i++)
		start(c, g, &recv[i], false);
	for (int i = 0; i < nsend; i++)
		start(c, g, &send[i], true);
	wait_all(c, g, -1, c->requests, c->nrequest);
}

/* Sums the members' parts of this rank's shard, a piece at a time. */
void rt_comm_reduce(RtComm *c, int stream, RtCommGroup g, float *data, int64_t n)
{
	int size = c->base.size[g];
	RtPiece *send = c->piece, *recv = c->piece + size;
	for (int64_t at = 0; size > 1 && at < n; at += SUM_PIECE) {
		int64_t m = n - at < SUM_PIECE ? n - at : SUM_PIECE;
		for (int k = 0; k < size; k++) {
			send[k] = (RtPiece){k, data + k * n + at, (size_t)m * sizeof *data};
			recv[k] = (RtPiece){k, c->parts + k * m, (size_t)m * sizeof *data};
		}
		rt_comm_exchange(c, stream, g, send, size, recv, size);
		float *sum = data + c->base.index[g] * n + at;
		memcpy(sum, c->parts, (size_t)m * sizeof *sum);
		for (int k = 1; k < size; k++)
			for (int64_t i = 0; i < m; i++)
				sum[i] += c->parts[k * m + i];
	}
}

void rt_comm_barrier(RtComm *c)
{
	MPI_Request r;
	MPI_Ibarrier(MPI_COMM_WORLD, &r);
	wait_all(c, RT_COMM_WORLD, -1, &r, 1);
}

void rt_comm_abort(RtComm *c, int status)
{
	rt_comm_deadline(&c->base, 5);
	fflush(NULL);
	MPI_Abort(MPI_COMM_WORLD, status);
	_exit(status);
}
