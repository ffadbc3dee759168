/* pool.h - a small thread pool for kernel tests: rt_parallel, rt_threads and rt_scratch of
 * rt_kernel.h on plain pthreads, threads started per call. Include in one file of a program.
 *
 * Scratch is filled with NaN patterns before every rt_parallel, so that a kernel that reads scratch
 * it has not written shows it, and is followed by a guard that pool_free checks.
 */
#ifndef GLMC_TEST_POOL_H
#define GLMC_TEST_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_kernel.h"

enum { POOL_MAX = 16, POOL_GUARD = 4096 };

struct RtPool {
	int threads;
	int poison;              /* fill scratch before every call; off in benchmarks */
	size_t scratch;          /* bytes per thread, without the guard */
	unsigned char *memory;
};

typedef struct PoolWork {
	RtPool *pool;
	int64_t jobs;
	void (*fn)(void *ctx, int64_t job, int thread);
	void *ctx;
	atomic_llong next;
} PoolWork;

typedef struct PoolThread {
	PoolWork *work;
	int number;
	pthread_t id;
} PoolThread;

static inline RtPool *pool_new(int threads, size_t scratch)
{
	RtPool *p = malloc(sizeof *p);
	size_t each = (scratch + 63) / 64 * 64;

	*p = (RtPool){ .threads = threads, .poison = 0, .scratch = each };
	p->memory = aligned_alloc(64, (size_t)threads * (each + POOL_GUARD));
	memset(p->memory, 0xff, (size_t)threads * (each + POOL_GUARD));
	return p;
}

/* pool_free - ends the process with an error when a kernel wrote beyond its scratch. */
static inline void pool_free(RtPool *p)
{
	for (int t = 0; t < p->threads; t++) {
		const unsigned char *guard = (unsigned char *)rt_scratch(p, t) + p->scratch;
		for (int i = 0; i < POOL_GUARD; i++)
			if (guard[i] != 0xff) {
				fprintf(stderr, "a kernel wrote beyond its scratch of %zu bytes\n", p->scratch);
				abort();
			}
	}
	free(p->memory);
	free(p);
}

int rt_threads(const RtPool *pool)
{
	return pool->threads;
}

void *rt_scratch(RtPool *pool, int thread)
{
	return pool->memory + (size_t)thread * (pool->scratch + POOL_GUARD);
}

static inline void *pool_thread(void *arg)
{
	PoolThread *t = arg;
	PoolWork *w = t->work;

	for (;;) {
		int64_t job = atomic_fetch_add(&w->next, 1);
		if (job >= w->jobs)
			return NULL;
		w->fn(w->ctx, job, t->number);
	}
}

void rt_parallel(RtPool *pool, int64_t jobs, void (*fn)(void *ctx, int64_t job, int thread),
                 void *ctx)
{
	PoolWork w = { .pool = pool, .jobs = jobs, .fn = fn, .ctx = ctx };
	PoolThread t[POOL_MAX];

	for (int i = 0; i < pool->threads; i++) {
		t[i] = (PoolThread){ .work = &w, .number = i };
		if (pool->poison)
			memset(rt_scratch(pool, i), 0xff, pool->scratch);
	}
	for (int i = 1; i < pool->threads; i++)
		if (pthread_create(&t[i].id, NULL, pool_thread, &t[i]) != 0)
			abort();
	pool_thread(&t[0]);
	for (int i = 1; i < pool->threads; i++)
		pthread_join(t[i].id, NULL);
}

#endif
