/* nccl_mesh.c - see nccl_mesh.h. */
#include "nccl_mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "double.h"

typedef struct Out {
	Frame f;
	const char *data;
	size_t at;               /* bytes of frame and data that have left */
	struct Out *next;
} Out;

typedef struct Peer {
	int fd;                  /* -1: none */
	Out *first, *last;
	uint64_t queued, left;   /* messages */
	Frame f;                 /* incoming */
	size_t have;             /* bytes of f that have come */
	char *to;                /* where the data of f go */
	size_t want;             /* bytes of them that are missing */
} Peer;

struct Mesh {
	int rank, world;
	Peer peer[MESH_RANKS];
	MeshHear *hear;
	void *ctx;
};

/* ---- joining ---- */

static socklen_t address(struct sockaddr_un *a, const char *name, int rank)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "glmc-double-%s-%d", name, rank);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static void whole(ssize_t (*move)(int, void *, size_t, int), int fd, void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = move(fd, (char *)p + at, n - at, 0);
		if (got > 0)
			at += (size_t)got;
		else if (got == 0 || (errno != EINTR && errno != EAGAIN))
			double_misuse("NCCL: a peer has gone away during set-up");
		else
			usleep(100);
	}
}

static ssize_t put(int fd, void *p, size_t n, int flags)
{
	return send(fd, p, n, flags | MSG_NOSIGNAL);
}

static int call(const char *name, int rank)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name, rank);
	for (int tries = 0; tries < 6000; tries++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&a, n) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	double_misuse("NCCL: rank %d does not come", rank);
}

Mesh *mesh_join(const char *name, int rank, int world, MeshHear *hear, void *ctx)
{
	struct sockaddr_un a;
	Mesh *m = calloc(1, sizeof *m);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = address(&a, name, rank);
	if (!m || world > MESH_RANKS || listener < 0 || bind(listener, (struct sockaddr *)&a, n) || listen(listener, world))
		double_misuse("NCCL: rank %d cannot listen", rank);
	*m = (Mesh){.rank = rank, .world = world, .hear = hear, .ctx = ctx};
	for (int r = 0; r < MESH_RANKS; r++)
		m->peer[r].fd = -1;
	for (int r = 0; r < rank; r++) {
		m->peer[r].fd = call(name, r);
		whole(put, m->peer[r].fd, &rank, sizeof rank);
	}
	for (int r = rank + 1; r < world; r++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), who = 0;
		whole(recv, fd, &who, sizeof who);
		m->peer[who].fd = fd;
	}
	close(listener);
	for (int r = 0; r < world; r++)
		if (r != rank)
			fcntl(m->peer[r].fd, F_SETFL, O_NONBLOCK);
	return m;
}

void mesh_free(Mesh *m)
{
	for (int r = 0; r < m->world; r++)
		if (m->peer[r].fd >= 0)
			close(m->peer[r].fd);
	free(m);
}

void mesh_exchange(Mesh *m, const int *ranks, int n, int me, const void *mine, void *all, size_t bytes)
{
	memcpy((char *)all + (size_t)me * bytes, mine, bytes);
	for (int i = 0; i < n; i++)
		if (i != me)
			whole(put, m->peer[ranks[i]].fd, (void *)(uintptr_t)mine, bytes);
	for (int i = 0; i < n; i++)
		if (i != me)
			whole(recv, m->peer[ranks[i]].fd, (char *)all + (size_t)i * bytes, bytes);
}

/* ---- messages ---- */

/* To itself a message comes at once. */
static void hear_own(Mesh *m, const Frame *f, const void *data)
{
	void *to = m->hear(m->ctx, m->rank, f);
	if (f->kind != FRAME_DATA)
		return;
	Frame landed = *f;
	landed.kind = FRAME_LANDED;
	memcpy(to, data, f->bytes);
	m->hear(m->ctx, m->rank, &landed);
}

uint64_t mesh_send(Mesh *m, int to, Frame f, const void *data)
{
	Peer *p = &m->peer[to];
	if (to == m->rank) {
		hear_own(m, &f, data);
		return 0;
	}
	Out *o = malloc(sizeof *o);
	if (!o)
		double_misuse("out of memory");
	*o = (Out){.f = f, .data = data};
	if (p->last)
		p->last->next = o;
	else
		p->first = o;
	p->last = o;
	return ++p->queued;
}

bool mesh_sent(const Mesh *m, int to, uint64_t ticket)
{
	return m->peer[to].left >= ticket;
}

static size_t length(const Out *o)
{
	return sizeof o->f + (o->f.kind == FRAME_DATA ? o->f.bytes : 0);
}

static void write_some(Peer *p)
{
	while (p->first) {
		Out *o = p->first;
		bool head = o->at < sizeof o->f;
		const char *from = head ? (const char *)&o->f + o->at : o->data + (o->at - sizeof o->f);
		ssize_t n = send(p->fd, from, (head ? sizeof o->f : length(o)) - o->at, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		o->at += (size_t)n;
		if (o->at < length(o))
			continue;
		p->first = o->next;
		if (!p->first)
			p->last = NULL;
		p->left++;
		free(o);
	}
}

static void landed(Mesh *m, int from)
{
	Peer *p = &m->peer[from];
	if (p->f.kind != FRAME_DATA || p->want)
		return;
	p->f.kind = FRAME_LANDED;
	m->hear(m->ctx, from, &p->f);
}

/* Reads a piece; false when nothing is there. */
static bool read_some(Mesh *m, int from)
{
	Peer *p = &m->peer[from];
	bool data = p->want > 0;
	ssize_t n = data ? recv(p->fd, p->to, p->want, 0) : recv(p->fd, (char *)&p->f + p->have, sizeof p->f - p->have, 0);
	if (n <= 0)
		return false;
	if (data) {
		p->to += n;
		p->want -= (size_t)n;
		landed(m, from);
		return true;
	}
	p->have += (size_t)n;
	if (p->have < sizeof p->f)
		return true;
	p->have = 0;
	p->to = m->hear(m->ctx, from, &p->f);
	p->want = p->f.kind == FRAME_DATA ? p->f.bytes : 0;
	landed(m, from);
	return true;
}

void mesh_poll(Mesh *m)
{
	for (int r = 0; r < m->world; r++) {
		if (r == m->rank)
			continue;
		write_some(&m->peer[r]);
		while (read_some(m, r))
			;
	}
}
