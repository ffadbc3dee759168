/* nccl_double.c - a libnccl.so.2 between processes of one machine, for what the runtime calls.
 *
 * A transfer moves when both sides have come to it: nothing is buffered, a send ends when it was received. The k-th
 * transfer from a to b in a communicator matches the k-th that b expects from a; another size, or another
 * call, is an error. Sums are made in the order of ranks. Collectives are transfers between all pairs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "double.h"
#include "nccl_mesh.h"

#define DECLARE(result, name, parameters) result name parameters;
RT_NCCL_FUNCTIONS(DECLARE)

typedef enum Op { OP_PAIR, OP_GATHER, OP_SUM } Op;

static const char *const op_names[] = {"send or receive", "all-gather", "reduce-scatter"};

enum { INVALID = 4, WRONG_USE = 5 };

/* One direction of a transfer between this rank and another. */
typedef struct Transfer {
	bool send;
	int peer;                /* world rank */
	Frame f;
	void *data;
	bool wanted;             /* receive: the sender has come to it */
	bool begun, answered, done;
	uint64_t ticket;
	struct Transfer *next;   /* in the list of those that are under way */
} Transfer;

/* What one call, or one group of calls, has to do on a stream. */
typedef struct Call {
	ncclComm_t comm;
	bool begun;
	int n;
	Transfer **t;
	float *sum, *parts;      /* reduce-scatter: result, what came from each rank */
	int64_t count;
	int ranks;
} Call;

typedef struct Wanted {
	int from;
	Frame f;
	struct Wanted *next;
} Wanted;

/* The process's part in the run. */
typedef struct World {
	Mesh *mesh;
	int rank;
	Transfer *under_way;
	Wanted *wanted;          /* senders that have come before their receiver */
	char error[300];
} World;

struct ncclComm {
	World *world;
	uint64_t id;
	int n, me;
	int *ranks;              /* world ranks */
	uint64_t *sent, *received;       /* [n] transfers issued to and from every member */
	uint64_t splits;
};

/* ---- groups of calls ---- */

typedef struct Pending {
	ncclComm_t comm;
	cudaStream_t stream;
	Transfer *t;
} Pending;

static Pending *pending;
static int npending, depth;

/* ---- matching ---- */

static void mismatch(World *w, const Transfer *t, const Frame *f, int from)
{
	snprintf(w->error, sizeof w->error, "rank %d expects %llu bytes from rank %d by %s, which sends %llu by %s "
	                                    "(transfer %llu of communicator %llx)", w->rank,
	         (unsigned long long)t->f.bytes, from, op_names[t->f.op], (unsigned long long)f->bytes, op_names[f->op],
	         (unsigned long long)f->number, (unsigned long long)f->comm);
	fprintf(stderr, "double: NCCL: %s\n", w->error);
}

static bool matches(const Transfer *t, bool send, int peer, const Frame *f)
{
	return t->begun && !t->done && t->send == send && t->peer == peer && t->f.comm == f->comm &&
	       t->f.number == f->number;
}

static Transfer *find(World *w, bool send, int peer, const Frame *f)
{
	for (Transfer *t = w->under_way; t; t = t->next)
		if (matches(t, send, peer, f))
			return t;
	return NULL;
}

static void answer(World *w, Transfer *t, const Frame *f)
{
	if (f->bytes != t->f.bytes || f->op != t->f.op) {
		mismatch(w, t, f, t->peer);
		return;
	}
	Frame ready = t->f;
	ready.kind = FRAME_READY;
	t->answered = true;
	mesh_send(w->mesh, t->peer, ready, NULL);
}

static void *hear(void *ctx, int from, const Frame *f)
{
	World *w = ctx;
	Transfer *t = find(w, f->kind == FRAME_READY, from, f);
	if (f->kind == FRAME_WANTS && t) {
		answer(w, t, f);
	} else if (f->kind == FRAME_WANTS) {
		Wanted *x = malloc(sizeof *x);
		if (!x)
			double_misuse("out of memory");
		*x = (Wanted){from, *f, w->wanted};
		w->wanted = x;
	} else if (!t) {
		double_misuse("NCCL: a message from rank %d that nobody expects", from);
	} else if (f->kind == FRAME_READY) {
		Frame data = t->f;
		data.kind = FRAME_DATA;
		t->answered = true;
		t->ticket = mesh_send(w->mesh, from, data, t->data);
	} else if (f->kind == FRAME_LANDED) {
		t->done = true;
	}
	return t ? t->data : NULL;
}

/* ---- transfers ---- */

static void begin(World *w, Transfer *t)
{
	t->begun = true;
	t->next = w->under_way;
	w->under_way = t;
	if (t->send) {
		Frame wants = t->f;
		wants.kind = FRAME_WANTS;
		mesh_send(w->mesh, t->peer, wants, NULL);
		return;
	}
	for (Wanted **x = &w->wanted; *x; x = &(*x)->next) {
		Wanted *y = *x;
		if (y->from != t->peer || y->f.comm != t->f.comm || y->f.number != t->f.number)
			continue;
		*x = y->next;
		answer(w, t, &y->f);
		free(y);
		return;
	}
}

static void end(World *w, Transfer *t)
{
	Transfer **x = &w->under_way;
	while (*x != t)
		x = &(*x)->next;
	*x = t->next;
	free(t);
}

static bool finished(const World *w, Transfer *t)
{
	if (t->send)
		t->done = t->answered && mesh_sent(w->mesh, t->peer, t->ticket);
	return t->done;
}

/* The sum in the order of ranks; the own part is among them. */
static void add_up(const Call *c)
{
	for (int64_t i = 0; i < c->count; i++) {
		float s = c->parts[i];
		for (int r = 1; r < c->ranks; r++)
			s += c->parts[r * c->count + i];
		c->sum[i] = s;
	}
}

static bool run_call(void *arg)
{
	Call *c = arg;
	World *w = c->comm->world;
	bool all = true;
	for (int i = 0; !c->begun && i < c->n; i++)
		begin(w, c->t[i]);
	c->begun = true;
	mesh_poll(w->mesh);
	for (int i = 0; i < c->n; i++)
		all = finished(w, c->t[i]) && all;
	if (!all)
		return false;
	for (int i = 0; i < c->n; i++)
		end(w, c->t[i]);
	if (c->sum)
		add_up(c);
	free(c->parts);
	free(c->t);
	return true;
}

static Transfer *transfer(ncclComm_t comm, bool send, int member, Op op, const void *data, size_t bytes)
{
	Transfer *t = calloc(1, sizeof *t);
	if (!t)
		double_misuse("out of memory");
	uint64_t number = send ? comm->sent[member]++ : comm->received[member]++;
	*t = (Transfer){.send = send, .peer = comm->ranks[member], .data = (void *)(uintptr_t)data,
	                .f = {0, op, comm->id, number, bytes}};
	return t;
}

static void issue(ncclComm_t comm, cudaStream_t s, Call c)
{
	Call *x = malloc(sizeof *x);
	if (!x)
		double_misuse("out of memory");
	*x = c;
	x->comm = comm;
	double_issue(s, run_call, x);
}

/* ---- calls ---- */

ncclResult_t ncclGroupStart(void)
{
	depth++;
	return ncclSuccess;
}

/* The transfers of a group start together, those of one communicator as one piece of work. */
ncclResult_t ncclGroupEnd(void)
{
	if (depth == 0)
		return WRONG_USE;
	if (--depth || !npending)
		return ncclSuccess;
	Call c = {.t = malloc((size_t)npending * sizeof *c.t)};
	for (int i = 0; i < npending; i++) {
		if (pending[i].comm != pending[0].comm || pending[i].stream != pending[0].stream)
			double_misuse("NCCL: a group over two communicators or streams");
		c.t[c.n++] = pending[i].t;
	}
	issue(pending[0].comm, pending[0].stream, c);
	npending = 0;
	return ncclSuccess;
}

static ncclResult_t pair(ncclComm_t comm, cudaStream_t s, bool send, int member, const void *data, size_t n,
                         ncclDataType_t type)
{
	if (!comm || member < 0 || member >= comm->n || type != ncclUint8)
		return INVALID;
	double_memory(data, n, send ? "ncclSend" : "ncclRecv");
	pending = realloc(pending, (size_t)(npending + 1) * sizeof *pending);
	if (!pending)
		double_misuse("out of memory");
	ncclGroupStart();
	pending[npending++] = (Pending){comm, s, transfer(comm, send, member, OP_PAIR, data, n)};
	return ncclGroupEnd();
}

ncclResult_t ncclSend(const void *data, size_t n, ncclDataType_t type, int to, ncclComm_t comm, cudaStream_t s)
{
	return pair(comm, s, true, to, data, n, type);
}

ncclResult_t ncclRecv(void *data, size_t n, ncclDataType_t type, int from, ncclComm_t comm, cudaStream_t s)
{
	return pair(comm, s, false, from, data, n, type);
}

ncclResult_t ncclAllGather(const void *mine, void *all, size_t n, ncclDataType_t type, ncclComm_t comm, cudaStream_t s)
{
	char *to = all;
	if (!comm || type != ncclUint8 || mine != to + (size_t)comm->me * n || depth)
		return INVALID;
	double_memory(all, n * (size_t)comm->n, "ncclAllGather");
	Call c = {.t = malloc(2 * (size_t)comm->n * sizeof *c.t)};
	for (int r = 0; r < comm->n; r++) {
		if (r == comm->me)
			continue;
		c.t[c.n++] = transfer(comm, false, r, OP_GATHER, to + (size_t)r * n, n);
		c.t[c.n++] = transfer(comm, true, r, OP_GATHER, mine, n);
	}
	issue(comm, s, c);
	return ncclSuccess;
}

ncclResult_t ncclReduceScatter(const void *data, void *sum, size_t n, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t s)
{
	const float *from = data;
	if (!comm || type != ncclFloat32 || op != ncclSum || sum != from + (size_t)comm->me * n || depth)
		return INVALID;
	double_memory(data, n * (size_t)comm->n * sizeof(float), "ncclReduceScatter");
	Call c = {.sum = sum, .count = (int64_t)n, .ranks = comm->n};
	c.t = malloc(2 * (size_t)comm->n * sizeof *c.t);
	c.parts = malloc((size_t)comm->n * n * sizeof(float));
	for (int r = 0; r < comm->n; r++) {
		c.t[c.n++] = transfer(comm, false, r, OP_SUM, c.parts + (size_t)r * n, n * sizeof(float));
		c.t[c.n++] = transfer(comm, true, r, OP_SUM, from + (size_t)r * n, n * sizeof(float));
	}
	issue(comm, s, c);
	return ncclSuccess;
}

/* ---- communicators ---- */

ncclResult_t ncclGetVersion(int *v)
{
	*v = 22809;
	return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	memset(id, 0, sizeof *id);
	snprintf(id->internal, sizeof id->internal, "%ld-%ld", (long)getpid(), t.tv_nsec);
	return ncclSuccess;
}

static ncclComm_t new_comm(World *w, uint64_t id, int n, int me)
{
	ncclComm_t c = calloc(1, sizeof *c);
	if (!c)
		double_misuse("out of memory");
	*c = (struct ncclComm){.world = w, .id = id, .n = n, .me = me};
	c->ranks = calloc((size_t)n, sizeof *c->ranks);
	c->sent = calloc((size_t)n, sizeof *c->sent);
	c->received = calloc((size_t)n, sizeof *c->received);
	return c;
}

ncclResult_t ncclCommInitRank(ncclComm_t *c, int n, ncclUniqueId id, int rank)
{
	World *w = calloc(1, sizeof *w);
	if (!w)
		double_misuse("out of memory");
	w->rank = rank;
	w->mesh = mesh_join(id.internal, rank, n, hear, w);
	*c = new_comm(w, 1, n, rank);
	for (int r = 0; r < n; r++)
		(*c)->ranks[r] = r;
	return ncclSuccess;
}

typedef struct Choice {
	int color, key, rank;
} Choice;

static int by_key(const void *a, const void *b)
{
	const Choice *x = a, *y = b;
	return x->key != y->key ? x->key - y->key : x->rank - y->rank;
}

ncclResult_t ncclCommSplit(ncclComm_t from, int color, int key, ncclComm_t *out, ncclConfig_t *config)
{
	Choice mine = {color, key, from->world->rank}, *all = calloc((size_t)from->n, sizeof *all);
	int n = 0, me = 0;
	if (config || !all)
		return INVALID;
	mesh_exchange(from->world->mesh, from->ranks, from->n, from->me, &mine, all, sizeof mine);
	qsort(all, (size_t)from->n, sizeof *all, by_key);
	for (int i = 0; i < from->n; i++)
		if (all[i].color == color)
			all[n++] = all[i];
	*out = NULL;
	from->splits++;
	if (color >= 0) {
		*out = new_comm(from->world, from->id * 1000003 + from->splits * 4096 + (uint64_t)color, n, 0);
		for (int i = 0; i < n; i++) {
			(*out)->ranks[i] = all[i].rank;
			me = all[i].rank == from->world->rank ? i : me;
		}
		(*out)->me = me;
	}
	free(all);
	return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
	if (c->id == 1) {
		if (c->world->under_way || c->world->wanted)
			double_misuse("NCCL: rank %d ends while transfers are under way", c->world->rank);
		mesh_free(c->world->mesh);
		free(c->world);
	}
	free(c->ranks);
	free(c->sent);
	free(c->received);
	free(c);
	return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c)
{
	(void)c;
	return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *r)
{
	*r = c->world->error[0] ? WRONG_USE : ncclSuccess;
	return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
	return r == ncclSuccess ? "no error" : r == INVALID ? "invalid argument" : "invalid usage";
}

const char *ncclGetLastError(ncclComm_t c)
{
	return c ? c->world->error : "see the output of the double";
}
