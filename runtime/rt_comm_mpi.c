/* rt_comm_mpi.c - rt_comm.h over MPI.
 *
 * Nothing blocks inside MPI: every operation is started non-blocking and polled, so that this rank
 * notices when a peer has stopped. Ranks may outnumber cores, so a poll that finds nothing soon
 * gives the processor away. A second thread ends the process should MPI itself hang past the
 * limit.
 */
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rt_comm.h"

enum { EXIT_COMM = 5, EXIT_MEMORY = 7, PIECE = 1 << 30 };
enum { SUM_PIECE = 1 << 16 };    /* elements summed at a time in a reduce */

typedef struct Where {
	int rank, instr;
	const char *text;
} Where;

struct RtComm {
	MPI_Comm comm[RT_COMM_GROUPS];
	int size[RT_COMM_GROUPS], index[RT_COMM_GROUPS];
	double timeout;
	Where where;
	atomic_llong deadline;   /* second at which the guard ends the process; 0 off */
	pthread_t guard;
	atomic_bool stop;
	MPI_Request *requests;   /* of an exchange */
	int nrequest, room;
	RtPiece *piece;          /* [2][dp] of a reduce, */
	float *parts;            /* and [dp][SUM_PIECE] received for it */
};

/* For the signal handler alone: set once, before the handler is installed. */
static const Where *volatile where_now;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_signal(int sig)
{
	char text[400];
	const Where *w = where_now;
	int n = snprintf(text, sizeof text, "[rank %d] ended by signal %d in instruction %d (%s)\n", w->rank, sig,
	                 w->instr, w->text ? w->text : "start");
	if (n > 0 && write(2, text, (size_t)n) < 0)
		_exit(EXIT_COMM);
	_exit(EXIT_COMM);
}

static void *guard(void *arg)
{
	RtComm *c = arg;
	while (!atomic_load(&c->stop)) {
		long long at = atomic_load(&c->deadline);
		if (at && (long long)now() > at) {
			fprintf(stderr, "[rank %d] MPI does not return, ending\n", c->where.rank);
			_exit(EXIT_COMM);
		}
		usleep(200000);
	}
	return NULL;
}

static const char *const group_names[] = {"world", "data-parallel", "expert-parallel", "expert-shard",
                                          "pipeline"};

/* `peer` -1: the whole group. */
static _Noreturn void timed_out(RtComm *c, RtCommGroup g, int peer)
{
	char whom[80];
	if (peer >= 0) {
		MPI_Group from, world;
		int there = peer;
		MPI_Comm_group(c->comm[g], &from);
		MPI_Comm_group(c->comm[RT_COMM_WORLD], &world);
		MPI_Group_translate_ranks(from, 1, &peer, world, &there);
		snprintf(whom, sizeof whom, "rank %d", there);
	} else {
		snprintf(whom, sizeof whom, "its %s group of %d ranks", group_names[g], c->size[g]);
	}
	fprintf(stderr, "[rank %d] no progress for %g s in instruction %d (%s): waiting for %s\n", c->where.rank,
	        c->timeout, c->where.instr, c->where.text ? c->where.text : "start", whom);
	fflush(stderr);
	rt_comm_abort(c, EXIT_COMM);
}

static void wait_all(RtComm *c, RtCommGroup g, int peer, MPI_Request *r, int n)
{
	int done = 0;
	double limit = 0;
	for (int spin = 0; !done; spin++) {
		MPI_Testall(n, r, &done, MPI_STATUSES_IGNORE);
		if (done || spin < 200)
			continue;
		if (spin == 200)
			limit = now() + c->timeout;
		if (spin < 4000)
			sched_yield();
		else
			usleep(50);
		if (spin % 64 == 0 && now() > limit)
			timed_out(c, g, peer);
	}
}

static MPI_Comm split(RtComm *c, int color)
{
	MPI_Comm out;
	MPI_Comm_split(MPI_COMM_WORLD, color, c->where.rank, &out);
	return out;
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

RtComm *rt_comm_new(const RtProg *p, Rt *rt, int rank, double timeout_seconds, char *err, size_t size)
{
	RtComm *c = calloc(1, sizeof *c);
	int world = 0, provided;
	(void)rt;
	snprintf(err, size, "out of memory");
	if (!c || !reserve(c, p))
		return NULL;
	c->timeout = timeout_seconds;
	c->where = (Where){.rank = rank, .instr = -1};
	where_now = &c->where;
	atomic_store(&c->deadline, (long long)(now() + timeout_seconds) + 10);
	pthread_create(&c->guard, NULL, guard, c);
	if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
		snprintf(err, size, "MPI does not start");
		return NULL;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	MPI_Comm_rank(MPI_COMM_WORLD, &c->where.rank);
	MPI_Comm_size(MPI_COMM_WORLD, &world);
	if (world != p->world || c->where.rank != rank) {
		snprintf(err, size, "MPI says rank %d of %d, the launcher rank %d of %d", c->where.rank, world, rank,
		         p->world);
		return NULL;
	}
	int pp = rank / p->dp, q = rank % p->dp;
	c->comm[RT_COMM_WORLD] = MPI_COMM_WORLD;
	c->comm[RT_COMM_DP] = split(c, pp);
	c->comm[RT_COMM_EP] = split(c, pp * p->ep_shard + q / p->ep);
	c->comm[RT_COMM_SHARD] = split(c, pp * p->ep + q % p->ep);
	c->comm[RT_COMM_PP] = split(c, q);
	for (int g = 0; g < RT_COMM_GROUPS; g++) {
		MPI_Comm_size(c->comm[g], &c->size[g]);
		MPI_Comm_rank(c->comm[g], &c->index[g]);
	}
	atomic_store(&c->deadline, 0);
	return c;
}

void rt_comm_free(RtComm *c)
{
	atomic_store(&c->deadline, (long long)(now() + c->timeout) + 10);
	MPI_Finalize();
	atomic_store(&c->stop, true);
	pthread_join(c->guard, NULL);
	free(c->requests);
	free(c->piece);
	free(c->parts);
	free(c);
}

void rt_comm_where(RtComm *c, int instr, const char *text)
{
	c->where.instr = instr;
	c->where.text = text;
}

int rt_comm_size(const RtComm *c, RtCommGroup g)
{
	return c->size[g];
}

int rt_comm_index(const RtComm *c, RtCommGroup g)
{
	return c->index[g];
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
	char *own = (char *)all + bytes * (size_t)c->index[g];
	if (own != mine)
		memmove(own, mine, bytes);
	if (c->size[g] == 1 || !bytes)
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
	rt_comm_all_gather(c, g, (char *)all + bytes * (size_t)c->index[g], all, bytes);
}

static MPI_Request *next_request(RtComm *c)
{
	if (c->nrequest == c->room) {
		int room = c->room ? c->room * 2 : 64;
		MPI_Request *r = realloc(c->requests, (size_t)room * sizeof *r);
		if (!r) {
			fprintf(stderr, "[rank %d] out of memory\n", c->where.rank);
			rt_comm_abort(c, EXIT_MEMORY);
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
	int size = c->size[g];
	RtPiece *send = c->piece, *recv = c->piece + size;
	for (int64_t at = 0; size > 1 && at < n; at += SUM_PIECE) {
		int64_t m = n - at < SUM_PIECE ? n - at : SUM_PIECE;
		for (int k = 0; k < size; k++) {
			send[k] = (RtPiece){k, data + k * n + at, (size_t)m * sizeof *data};
			recv[k] = (RtPiece){k, c->parts + k * m, (size_t)m * sizeof *data};
		}
		rt_comm_exchange(c, stream, g, send, size, recv, size);
		float *sum = data + c->index[g] * n + at;
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
	atomic_store(&c->deadline, (long long)now() + 5);
	fflush(NULL);
	MPI_Abort(MPI_COMM_WORLD, status);
	_exit(status);
}
