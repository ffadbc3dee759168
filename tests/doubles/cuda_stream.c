/* cuda_stream.c - streams and events of the double, see double.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "double.h"

enum { STREAMS_MAX = 16 };

static const double PATIENCE = 0.05;

/* A record of an event; waits and the event itself refer to it. */
typedef struct Mark {
	bool done;
	int refs;
} Mark;

typedef struct Work {
	DoubleRun *run;          /* NULL: a record or a wait of `mark` */
	void *arg;
	Mark *mark;
	bool record;
	struct Work *next;
} Work;

struct CUstream_st {
	Work *first, *last;
};

struct CUevent_st {
	Mark *last;              /* newest record, NULL never */
};

static CUstream streams[STREAMS_MAX];

void double_misuse(const char *fmt, ...)
{
	va_list ap;
	char text[600];
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "double: %s\n", text);
	fflush(NULL);
	_exit(DOUBLE_MISUSE);
}

static uint64_t seed_number(void)
{
	const char *seed = getenv("GLMC_DOUBLE_SEED");
	return seed ? strtoull(seed, NULL, 10) : 0;
}

uint64_t double_random(void)
{
	static uint64_t state;
	if (!state)
		state = (seed_number() + 1) * 0x9E3779B97F4A7C15u;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return state >> 33;
}

/* ---- marks ---- */

static Mark *keep(Mark *m)
{
	m->refs++;
	return m;
}

static void drop(Mark *m)
{
	if (m && --m->refs == 0)
		free(m);
}

/* ---- issuing ---- */

static void append(CUstream s, Work w)
{
	Work *x = malloc(sizeof *x);
	if (!s)
		double_misuse("work for the default stream");
	if (!x)
		double_misuse("out of memory");
	*x = w;
	x->next = NULL;
	if (s->last)
		s->last->next = x;
	else
		s->first = x;
	s->last = x;
}

void double_issue(CUstream s, DoubleRun *run, void *arg)
{
	append(s, (Work){.run = run, .arg = arg});
}

CUresult stream_wait(CUstream s, CUevent e)
{
	if (e->last && !e->last->done)
		append(s, (Work){.mark = keep(e->last)});
	return CUDA_SUCCESS;
}

CUresult event_record(CUevent e, CUstream s)
{
	Mark *m = calloc(1, sizeof *m);
	if (!m)
		double_misuse("out of memory");
	drop(e->last);
	e->last = keep(m);
	append(s, (Work){.mark = keep(m), .record = true});
	return CUDA_SUCCESS;
}

/* ---- doing ---- */

typedef enum Got { NOTHING, BLOCKED, PEER, DONE } Got;

/* Tries the first piece of work. BLOCKED: an event of another stream comes first; PEER: another process. */
static Got advance(CUstream s)
{
	Work *w = s->first;
	if (!w)
		return NOTHING;
	if (w->run && !w->run(w->arg))
		return PEER;
	if (!w->run && w->record)
		w->mark->done = true;
	if (!w->run && !w->mark->done)
		return BLOCKED;
	s->first = w->next;
	if (!s->first)
		s->last = NULL;
	drop(w->mark);
	free(w->arg);
	free(w);
	return DONE;
}

static int stream_count(void)
{
	int n = 0;
	while (n < STREAMS_MAX && streams[n])
		n++;
	return n;
}

static Got try_all(int n, int but)
{
	int k = (int)(double_random() % (uint64_t)n);
	Got best = NOTHING;
	for (int i = 0; i < n; i++) {
		int at = (k + i) % n;
		Got g = at == but ? NOTHING : advance(streams[at]);
		if (g == DONE)
			return DONE;
		best = g == PEER ? PEER : best;
	}
	return best;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Does one piece of work if any stream may. By the seed: streams in random order; or one stream is held back,
 * or rushed, as long as what must move first can be waited for: a peer has PATIENCE seconds. */
static bool step(void)
{
	static double moved;
	enum { RANDOM, HOLD, RUSH } way = seed_number() % 3;
	int n = stream_count(), chosen = n ? (int)(seed_number() / 3 % (uint64_t)n) : 0;
	if (!n)
		return false;
	Got g = way == RUSH ? advance(streams[chosen]) : try_all(n, way == HOLD ? chosen : -1);
	if (g != DONE && way != RANDOM && (g != PEER || now() - moved > PATIENCE))
		g = way == HOLD ? advance(streams[chosen]) : try_all(n, chosen);
	if (g == DONE)
		moved = now();
	return g == DONE;
}

CUresult event_query(CUevent e)
{
	if (!e->last || e->last->done)
		return CUDA_SUCCESS;
	if (!step())
		usleep(20);              /* a peer must move first */
	return e->last->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

/* ---- life ---- */

CUresult stream_create(CUstream *s)
{
	int n = stream_count();
	if (n == STREAMS_MAX)
		double_misuse("more than %d streams", STREAMS_MAX);
	*s = streams[n] = calloc(1, sizeof **s);
	return *s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult stream_destroy(CUstream s)
{
	int n = 0;
	while (n < STREAMS_MAX && streams[n] != s)
		n++;
	if (n == STREAMS_MAX || s->first)
		double_misuse("a stream is destroyed that has work, or is none");
	for (; n + 1 < STREAMS_MAX; n++)
		streams[n] = streams[n + 1];
	streams[STREAMS_MAX - 1] = NULL;
	free(s);
	return CUDA_SUCCESS;
}

CUresult event_create(CUevent *e)
{
	*e = calloc(1, sizeof **e);
	return *e ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult event_destroy(CUevent e)
{
	drop(e->last);
	free(e);
	return CUDA_SUCCESS;
}
