/* rt_pool.c - a persistent pool. Jobs are handed out by an atomic counter; a worker spins briefly
 * for the next batch, because kernels follow one another closely, and then sleeps. */
#include "rt_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Batch {
	void (*fn)(void *ctx, int64_t job, int thread);
	void *ctx;
	int64_t jobs;
} Batch;

struct RtPool {
	int threads;
	int spin;                /* polls before a worker sleeps */
	char *scratch;
	size_t scratch_bytes;    /* per thread */
	pthread_t *workers;
	Batch batch;
	atomic_llong next;       /* next job of the batch */
	atomic_int running;      /* workers still busy with it */
	atomic_uint round;       /* number of batches started */
	atomic_bool stop;
	pthread_mutex_t lock;
	pthread_cond_t start;
};

typedef struct Worker {
	RtPool *pool;
	int thread;
} Worker;

static void run_jobs(RtPool *p, int thread)
{
	for (int64_t job; (job = atomic_fetch_add(&p->next, 1)) < p->batch.jobs;)
		p->batch.fn(p->batch.ctx, job, thread);
}

static void pause_cpu(void)
{
#if defined __x86_64__
	__builtin_ia32_pause();
#endif
}

/* Waits until a round after `seen` has started. */
static unsigned wait_round(RtPool *p, unsigned seen)
{
	for (int i = 0; i < p->spin; i++) {
		unsigned now = atomic_load_explicit(&p->round, memory_order_acquire);
		if (now != seen)
			return now;
		pause_cpu();
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load(&p->round) == seen)
		pthread_cond_wait(&p->start, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return atomic_load(&p->round);
}

static void *work(void *arg)
{
	Worker w = *(Worker *)arg;
	free(arg);
	for (unsigned seen = 0;;) {
		seen = wait_round(w.pool, seen);
		if (atomic_load(&w.pool->stop))
			return NULL;
		run_jobs(w.pool, w.thread);
		atomic_fetch_sub_explicit(&w.pool->running, 1, memory_order_release);
	}
}

static void start_round(RtPool *p)
{
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
	pthread_cond_broadcast(&p->start);
	pthread_mutex_unlock(&p->lock);
}

RtPool *rt_pool_new(int threads, size_t scratch)
{
	RtPool *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->threads = threads < 1 ? 1 : threads;
	p->spin = sysconf(_SC_NPROCESSORS_ONLN) >= p->threads ? 4000 : 0;
	p->scratch_bytes = (scratch + 255) & ~(size_t)255;
	size_t bytes = p->scratch_bytes * (size_t)p->threads;
	p->scratch = aligned_alloc(256, bytes ? bytes : 256);
	p->workers = calloc((size_t)p->threads, sizeof *p->workers);
	if (!p->scratch || !p->workers)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->start, NULL);
	for (int t = 1; t < p->threads; t++) {
		Worker *w = malloc(sizeof *w);
		if (!w)
			return NULL;
		*w = (Worker){p, t};
		if (pthread_create(&p->workers[t], NULL, work, w))
			return NULL;
	}
	return p;
}

void rt_pool_free(RtPool *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	start_round(p);
	for (int t = 1; t < p->threads; t++)
		pthread_join(p->workers[t], NULL);
	free(p->workers);
	free(p->scratch);
	free(p);
}

void rt_parallel(RtPool *p, int64_t jobs, void (*fn)(void *ctx, int64_t job, int thread), void *ctx)
{
	if (p->threads == 1 || jobs <= 1) {
		for (int64_t job = 0; job < jobs; job++)
			fn(ctx, job, 0);
		return;
	}
	p->batch = (Batch){fn, ctx, jobs};
	atomic_store_explicit(&p->next, 0, memory_order_relaxed);
	atomic_store_explicit(&p->running, p->threads - 1, memory_order_relaxed);
	start_round(p);
	run_jobs(p, 0);
	for (int i = 0; atomic_load_explicit(&p->running, memory_order_acquire); i++) {
		if (i < 4000 && p->spin)
			pause_cpu();
		else
			sched_yield();
	}
}

int rt_threads(const RtPool *p)
{
	return p->threads;
}

void *rt_scratch(RtPool *p, int thread)
{
	return p->scratch + p->scratch_bytes * (size_t)thread;
}
