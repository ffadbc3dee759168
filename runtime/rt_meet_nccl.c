/* rt_meet_nccl.c - see rt_meet.h.
 *
 * On a connection: the rank's Hello, rank 0's Answer, then, when all are there, rank 0's bytes; after that
 * News in both directions until one side leaves.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rt_clock.h"
#include "rt_meet.h"

enum { MAGIC = 0x474C4D43, VERSION = 1, EXIT_COMM = 5 };

typedef struct Hello {
	uint32_t magic, version;
	int32_t rank, world;
	uint64_t build;
	char host[64];
} Hello;

typedef struct Answer {
	uint32_t magic, ok;
	char why[192];
} Answer;

typedef enum NewsKind { NEWS_LEAVES, NEWS_ENDED, NEWS_WAITS } NewsKind;

typedef struct News {
	int32_t kind, rank;
	int32_t status;          /* NEWS_ENDED */
	int32_t instr;           /* NEWS_WAITS */
} News;

/* What a rank has said of its waiting. */
typedef struct Heard {
	double when;             /* 0 never */
	int instr;
} Heard;

struct RtMeet {
	RtMeetOptions o;
	int listener;
	int *peer;               /* rank 0: connection of every rank, -1 none; others: [0] to rank 0 */
	int npeer;
	bool *left;              /* [npeer] has said that it leaves */
	int wake[2];             /* pipe that ends the watching thread */
	pthread_t thread;
	bool watching;
	RtMeetEnded *ended;
	void *ctx;
	pthread_mutex_t lock;    /* of sending, and of heard */
	Heard *heard;            /* [world] */
};

/* ---- bytes with a deadline ---- */

static bool ready(int fd, short what, double deadline)
{
	struct pollfd p = {.fd = fd, .events = what};
	for (;;) {
		double left = deadline - rt_now();
		int r = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
		if (r > 0)
			return true;
		if (r == 0 || errno != EINTR)
			return false;
	}
}

static bool send_all(int fd, const void *data, size_t n, double deadline)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = send(fd, (const char *)data + at, n - at, MSG_NOSIGNAL);
		if (got > 0)
			at += (size_t)got;
		else if (errno != EINTR && (errno != EAGAIN || !ready(fd, POLLOUT, deadline)))
			return false;
	}
	return true;
}

static bool recv_all(int fd, void *data, size_t n, double deadline)
{
	for (size_t at = 0; at < n;) {
		if (!ready(fd, POLLIN, deadline))
			return false;
		ssize_t got = recv(fd, (char *)data + at, n - at, 0);
		if (got > 0)
			at += (size_t)got;
		else if (got == 0 || errno != EINTR)
			return false;
	}
	return true;
}

/* A peer's machine that vanishes is noticed after about a minute. */
static void keep_alive(int fd)
{
	int on = 1, idle = 30, every = 10, times = 3, unsent = 60000;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unsent, sizeof unsent);
}

/* ---- rank 0 ---- */

static int listen_at(int port, char *err, size_t size)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int on = 1, off = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool six = fd >= 0;
	if (!six)
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (six)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	int r = six ? bind(fd, (struct sockaddr *)&any, sizeof any) : bind(fd, (struct sockaddr *)&any4, sizeof any4);
	if (fd >= 0 && r == 0 && listen(fd, 1024) == 0)
		return fd;
	snprintf(err, size, "rank 0 cannot listen at port %d: %s", port, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* NULL when the rank is welcome. */
static const char *objection(const RtMeet *m, const Hello *h)
{
	if (h->version != VERSION || h->build != m->o.build)
		return "it is of another build than rank 0";
	if (h->world != m->o.world || h->rank <= 0 || h->rank >= m->o.world)
		return "rank and number of ranks do not fit those of rank 0";
	if (m->peer[h->rank] >= 0)
		return "this rank is there already";
	return NULL;
}

/* A connection that is no rank's is dropped. */
static bool take_one(RtMeet *m, int fd, char *err, size_t size)
{
	Hello h;
	Answer a = {.magic = MAGIC, .ok = 1};
	double soon = rt_now() + 5;
	if (!recv_all(fd, &h, sizeof h, soon) || h.magic != MAGIC) {
		close(fd);
		return true;
	}
	const char *why = objection(m, &h);
	h.host[sizeof h.host - 1] = 0;
	if (why) {
		a.ok = 0;
		snprintf(a.why, sizeof a.why, "rank %d on %s cannot join: %s", h.rank, h.host, why);
		snprintf(err, size, "%s", a.why);
	} else {
		m->peer[h.rank] = fd;
		keep_alive(fd);
	}
	return send_all(fd, &a, sizeof a, soon) && !why;
}

static void name_missing(const RtMeet *m, char *err, size_t size)
{
	size_t n = (size_t)snprintf(err, size, "after %g s these ranks have not come:", m->o.seconds);
	for (int r = 1; r < m->o.world && n + 10 < size; r++)
		if (m->peer[r] < 0)
			n += (size_t)snprintf(err + n, size - n, " %d", r);
}

static bool gather(RtMeet *m, const void *data, size_t bytes, double deadline, char *err, size_t size)
{
	m->listener = listen_at(m->o.port, err, size);
	for (int here = 1; m->listener >= 0 && here < m->o.world;) {
		if (!ready(m->listener, POLLIN, deadline)) {
			name_missing(m, err, size);
			return false;
		}
		int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && !take_one(m, fd, err, size))
			return false;
		here = 1;
		for (int r = 1; r < m->o.world; r++)
			here += m->peer[r] >= 0;
	}
	for (int r = 1; m->listener >= 0 && r < m->o.world; r++)
		if (!send_all(m->peer[r], data, bytes, deadline)) {
			snprintf(err, size, "rank %d has gone away while the others were joining", r);
			return false;
		}
	return m->listener >= 0;
}

/* ---- the others ---- */

static int connect_once(const RtMeetOptions *o)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char port[16];
	int fd = -1;
	snprintf(port, sizeof port, "%d", o->port);
	if (getaddrinfo(o->host, port, &want, &list))
		return -1;
	for (struct addrinfo *a = list; fd < 0 && a; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	return fd;
}

static int connect_until(const RtMeetOptions *o, double deadline)
{
	int fd, pause = 20000;
	while ((fd = connect_once(o)) < 0 && rt_now() < deadline) {
		usleep((useconds_t)pause);
		pause = pause < 500000 ? pause * 2 : pause;
	}
	return fd;
}

static bool join(RtMeet *m, void *data, size_t bytes, double deadline, char *err, size_t size)
{
	Hello h = {MAGIC, VERSION, m->o.rank, m->o.world, m->o.build, ""};
	Answer a = {0};
	gethostname(h.host, sizeof h.host - 1);
	int fd = m->peer[0] = connect_until(&m->o, deadline);
	if (fd < 0) {
		snprintf(err, size, "after %g s rank 0 has not come: nothing listens at %s port %d", m->o.seconds, m->o.host,
		         m->o.port);
		return false;
	}
	keep_alive(fd);
	if (!send_all(fd, &h, sizeof h, deadline) || !recv_all(fd, &a, sizeof a, deadline) || a.magic != MAGIC) {
		snprintf(err, size, "what listens at %s port %d is not rank 0 of this run, or it has ended", m->o.host,
		         m->o.port);
		return false;
	}
	a.why[sizeof a.why - 1] = 0;
	if (!a.ok) {
		snprintf(err, size, "%s", a.why);
		return false;
	}
	if (recv_all(fd, data, bytes, deadline))
		return true;
	snprintf(err, size, "rank 0 has ended, or the other ranks have not come within %g s", m->o.seconds);
	return false;
}

static void free_meet(RtMeet *m)
{
	for (int i = 0; m->peer && i < m->npeer; i++)
		if (m->peer[i] >= 0)
			close(m->peer[i]);
	if (m->listener >= 0)
		close(m->listener);
	for (int i = 0; i < 2; i++)
		if (m->wake[i] >= 0)
			close(m->wake[i]);
	free(m->peer);
	free(m->left);
	free(m->heard);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

RtMeet *rt_meet(const RtMeetOptions *o, void *data, size_t bytes, char *err, size_t size)
{
	double deadline = rt_now() + o->seconds;
	RtMeet *m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	*m = (RtMeet){.o = *o, .listener = -1, .wake = {-1, -1}, .npeer = o->rank == 0 ? o->world : 1};
	m->peer = malloc((size_t)m->npeer * sizeof *m->peer);
	m->left = calloc((size_t)m->npeer, sizeof *m->left);
	m->heard = calloc((size_t)o->world, sizeof *m->heard);
	pthread_mutex_init(&m->lock, NULL);
	for (int i = 0; m->peer && i < m->npeer; i++)
		m->peer[i] = -1;
	bool ok = m->peer && m->left && m->heard && (o->rank == 0 ? gather(m, data, bytes, deadline, err, size)
	                                              : join(m, data, bytes, deadline, err, size));
	if (ok)
		return m;
	free_meet(m);
	return NULL;
}

/* ---- watching ---- */

static void tell_others(RtMeet *m, News n)
{
	double soon = rt_now() + 2;
	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < m->npeer; i++)
		if (m->peer[i] >= 0 && (m->o.rank || i != n.rank) && !m->left[i])
			send_all(m->peer[i], &n, sizeof n, soon);
	pthread_mutex_unlock(&m->lock);
}

static void note(RtMeet *m, News n)
{
	pthread_mutex_lock(&m->lock);
	m->heard[n.rank] = (Heard){rt_now(), n.instr};
	pthread_mutex_unlock(&m->lock);
}

/* Something came from connection i, or it was closed. */
static void hear(RtMeet *m, int i)
{
	News n = {0};
	bool closed = !recv_all(m->peer[i], &n, sizeof n, rt_now() + 2);
	if (!closed && n.kind == NEWS_LEAVES) {
		m->left[i] = true;
		return;
	}
	if (closed) {
		close(m->peer[i]);
		m->peer[i] = -1;
		n = (News){NEWS_ENDED, i, EXIT_COMM, 0};
	}
	if (closed && m->left[i])
		return;
	if (m->o.rank == 0)
		tell_others(m, n);
	if (n.kind == NEWS_ENDED)
		m->ended(m->ctx, n.rank, n.status);
	else if (n.rank >= 0 && n.rank < m->o.world)
		note(m, n);
}

static void *watch(void *arg)
{
	RtMeet *m = arg;
	struct pollfd *p = calloc((size_t)m->npeer + 1, sizeof *p);
	while (p) {
		for (int i = 0; i < m->npeer; i++)
			p[i] = (struct pollfd){.fd = m->peer[i], .events = POLLIN};
		p[m->npeer] = (struct pollfd){.fd = m->wake[0], .events = POLLIN};
		if (poll(p, (nfds_t)m->npeer + 1, -1) < 0)
			continue;
		if (p[m->npeer].revents)
			break;
		for (int i = 0; i < m->npeer; i++)
			if (p[i].revents)
				hear(m, i);
	}
	free(p);
	return NULL;
}

bool rt_meet_watch(RtMeet *m, RtMeetEnded *ended, void *ctx)
{
	m->ended = ended;
	m->ctx = ctx;
	m->watching = pipe(m->wake) == 0 && pthread_create(&m->thread, NULL, watch, m) == 0;
	return m->watching;
}

void rt_meet_say(RtMeet *m, int instr)
{
	tell_others(m, (News){NEWS_WAITS, m->o.rank, 0, instr});
}

double rt_meet_heard(RtMeet *m, int rank, int *instr)
{
	pthread_mutex_lock(&m->lock);
	Heard h = m->heard[rank];
	pthread_mutex_unlock(&m->lock);
	*instr = h.instr;
	return rt_now() - h.when;
}

void rt_meet_end(RtMeet *m, int status)
{
	tell_others(m, (News){NEWS_ENDED, m->o.rank, status, 0});
}

void rt_meet_leave(RtMeet *m)
{
	if (m->watching && write(m->wake[1], "", 1) == 1)
		pthread_join(m->thread, NULL);
	tell_others(m, (News){NEWS_LEAVES, m->o.rank, 0, 0});
	free_meet(m);
}
