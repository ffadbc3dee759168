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
#include "rt_message.h"

enum { EXIT_COMM = 5, EXIT_MEMORY = 7, PIECE = 1 << 30, TELLS = 8, NAMED = 6 };
enum { SUM_PIECE = 1 << 16 };    /* elements summed at a time in a reduce */

typedef struct Where {
	int rank, instr;
	const char *text;
	int group, peer;         /* waits for this member of the group, -1 all of it; group -1: does not wait */
	const int *members;      /* world ranks of the group */
} Where;

/* What a rank has said of its waiting. */
typedef struct Heard {
	int instr;
	double when;             /* 0 never */
} Heard;

struct RtComm {
	MPI_Comm comm[RT_COMM_GROUPS];
	int size[RT_COMM_GROUPS], index[RT_COMM_GROUPS];
	int *members[RT_COMM_GROUPS];    /* world ranks */
	MPI_Comm talk;           /* for what ranks say of their waiting */
	MPI_Request *told;       /* per world rank */
	Heard *heard;
	int say;
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

static const char *const group_names[] = {"world", "data-parallel", "expert-parallel", "expert-shard",
                                          "pipeline"};

/* "waiting for rank 3", "" when it does not wait. */
static void waiting_for(const Where *w, char *out, size_t n)
{
	if (w->group < 0)
		*out = 0;
	else if (w->peer >= 0)
		snprintf(out, n, ", waiting for rank %d", w->members[w->peer]);
	else
		snprintf(out, n, ", waiting for its %s group", group_names[w->group]);
}

static void on_signal(int sig)
{
	char whom[80];
	const Where *w = where_now;
	waiting_for(w, whom, sizeof whom);
	rt_say(w->rank, "ended by signal %d in instruction %d (%.300s)%s", sig, w->instr, w->text ? w->text : "start",
	       whom);
	_exit(EXIT_COMM);
}

static void *guard(void *arg)
{
	RtComm *c = arg;
	while (!atomic_load(&c->stop)) {
		long long at = atomic_load(&c->deadline);
		if (at && (long long)now() > at) {
			rt_say(c->where.rank, "MPI does not return, ending");
			_exit(EXIT_COMM);
		}
		usleep(200000);
	}
	return NULL;
}

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
		c->heard[from.MPI_SOURCE] = (Heard){instr, now()};
	}
}

/* Tells the others; to one that has not taken the last message nothing is sent. */
static void tell(RtComm *c)
{
	c->say = c->where.instr;
	for (int r = 0; r < c->size[RT_COMM_WORLD]; r++) {
		int done = 1;
		if (c->told[r] != MPI_REQUEST_NULL)
			MPI_Test(&c->told[r], &done, MPI_STATUS_IGNORE);
		if (done && r != c->where.rank)
			MPI_Isend(&c->say, 1, MPI_INT, r, 0, c->talk, &c->told[r]);
	}
}

static bool answers(const RtComm *c, int rank)
{
	return rank == c->where.rank || (c->heard[rank].when > 0 && now() - c->heard[rank].when < c->timeout / 3);
}

/* Names up to NAMED of the ranks that say nothing; false when all do. */
static bool name_silent(const RtComm *c, const int *ranks, int n, char *out, size_t size)
{
	int silent = 0;
	size_t at = (size_t)snprintf(out, size, "; no sign of rank");
	for (int i = 0; i < n && at < size; i++) {
		int r = ranks ? ranks[i] : i;
		if (answers(c, r))
			continue;
		if (silent++ < NAMED)
			at += (size_t)snprintf(out + at, size - at, "%s %d", silent > 1 ? "," : "", r);
	}
	if (silent > NAMED && at < size)
		snprintf(out + at, size - at, " and %d more", silent - NAMED);
	return silent > 0;
}

static _Noreturn void timed_out(RtComm *c)
{
	char whom[80], silent[160], also[80] = "";
	const Where *w = &c->where;
	int peer = w->peer >= 0 ? w->members[w->peer] : -1;
	waiting_for(w, whom, sizeof whom);
	if (peer >= 0 && answers(c, peer))
		snprintf(also, sizeof also, ", which waits itself in instruction %d", c->heard[peer].instr);
	bool known = peer < 0 && name_silent(c, w->members, c->size[w->group], silent, sizeof silent);
	if (!known && !name_silent(c, NULL, c->size[RT_COMM_WORLD], silent, sizeof silent))
		snprintf(silent, sizeof silent, "; every rank waits");
	rt_say(w->rank, "no progress for %g s in instruction %d (%s)%s%s%s", c->timeout, w->instr,
	       w->text ? w->text : "start", whom, also, silent);
	rt_comm_abort(c, EXIT_COMM);
}

/* ---- waiting ---- */

typedef struct Wait {
	double begin, next_tell;
} Wait;

/* Called now and then while nothing comes. */
static void watch(RtComm *c, Wait *w)
{
	double t = now();
	if (w->begin == 0) {
		w->begin = t;
		w->next_tell = t + c->timeout / 2;
		atomic_store(&c->deadline, (long long)(t + c->timeout) + 10);
	}
	if (t > w->next_tell) {
		listen(c);
		tell(c);
		w->next_tell = t + c->timeout / 2 / TELLS;
	}
	if (t > w->begin + c->timeout)
		timed_out(c);
}

static _Noreturn void failed(RtComm *c, int error)
{
	char text[MPI_MAX_ERROR_STRING] = "", whom[80];
	int n = 0;
	MPI_Error_string(error, text, &n);
	waiting_for(&c->where, whom, sizeof whom);
	rt_say(c->where.rank, "MPI fails in instruction %d (%s)%s: %s", c->where.instr,
	       c->where.text ? c->where.text : "start", whom, text);
	rt_comm_abort(c, EXIT_COMM);
}

/* `peer` -1: the whole group. */
static void wait_all(RtComm *c, RtCommGroup g, int peer, MPI_Request *r, int n)
{
	Wait w = {0, 0};
	int done = 0;
	c->where.peer = peer;
	c->where.members = c->members[g];
	c->where.group = (int)g;
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
		if (spin % 64 == 0)
			watch(c, &w);
	}
	c->where.group = -1;
	if (w.begin > 0)
		atomic_store(&c->deadline, 0);
}

/* ---- set-up ---- */

static MPI_Comm split(RtComm *c, int color)
{
	MPI_Comm out;
	MPI_Comm_split(MPI_COMM_WORLD, color, c->where.rank, &out);
	return out;
}

static bool find_members(RtComm *c, RtCommGroup g)
{
	MPI_Group mine, world;
	MPI_Comm_set_errhandler(c->comm[g], MPI_ERRORS_RETURN);
	MPI_Comm_size(c->comm[g], &c->size[g]);
	MPI_Comm_rank(c->comm[g], &c->index[g]);
	int *own = calloc((size_t)c->size[g], sizeof *own);
	c->members[g] = calloc((size_t)c->size[g], sizeof *own);
	if (!own || !c->members[g])
		return false;
	for (int i = 0; i < c->size[g]; i++)
		own[i] = i;
	MPI_Comm_group(c->comm[g], &mine);
	MPI_Comm_group(MPI_COMM_WORLD, &world);
	MPI_Group_translate_ranks(mine, c->size[g], own, world, c->members[g]);
	MPI_Group_free(&mine);
	MPI_Group_free(&world);
	free(own);
	return true;
}

static bool make_groups(RtComm *c, const RtProg *p, int rank)
{
	int pp = rank / p->dp, q = rank % p->dp;
	bool ok = true;
	c->comm[RT_COMM_WORLD] = MPI_COMM_WORLD;
	c->comm[RT_COMM_DP] = split(c, pp);
	c->comm[RT_COMM_EP] = split(c, pp * p->ep_shard + q / p->ep);
	c->comm[RT_COMM_SHARD] = split(c, pp * p->ep + q % p->ep);
	c->comm[RT_COMM_PP] = split(c, q);
	for (int g = 0; g < RT_COMM_GROUPS; g++)
		ok = find_members(c, (RtCommGroup)g) && ok;
	MPI_Comm_dup(MPI_COMM_WORLD, &c->talk);
	c->told = calloc((size_t)p->world, sizeof(MPI_Request));
	c->heard = calloc((size_t)p->world, sizeof *c->heard);
	for (int r = 0; c->told && r < p->world; r++)
		c->told[r] = MPI_REQUEST_NULL;
	return ok && c->told && c->heard;
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
	c->where = (Where){.rank = rank, .instr = -1, .group = -1};
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
	if (!make_groups(c, p, rank))
		return NULL;
	atomic_store(&c->deadline, 0);
	return c;
}

void rt_comm_free(RtComm *c)
{
	atomic_store(&c->deadline, (long long)(now() + c->timeout) + 10);
	MPI_Finalize();
	atomic_store(&c->stop, true);
	pthread_join(c->guard, NULL);
	for (int g = 0; g < RT_COMM_GROUPS; g++)
		free(c->members[g]);
	free(c->told);
	free(c->heard);
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
			rt_say(c->where.rank, "out of memory");
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
