/* double.h - what the test doubles of libcuda, cuBLASLt and NCCL share: streams that are late on purpose.
 *
 * Nothing that is issued to a stream happens then. When the host asks for an event, work is taken from
 * the streams, one piece at a time: each stream in its order, the streams against each other in an
 * order that GLMC_DOUBLE_SEED decides and only events restrain: at random (multiples of 3), stream
 * seed / 3 held back (remainder 1), or it first (remainder 2). So a missing wait between streams shows
 * under some seed, as it might on a GPU on a bad day.
 *
 * Misuse ends the process with status 99 and a line that begins with "double:".
 */
#ifndef GLMC_DOUBLE_H
#define GLMC_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/rt_cuda_api.h"

enum { DOUBLE_MISUSE = 99 };

_Noreturn void double_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A piece of work. `run` is called when it is first in its stream, until it returns true; it never waits. */
typedef bool DoubleRun(void *arg);

/* double_issue - appends work to a stream; `arg` belongs to it and is freed after it. */
void double_issue(CUstream s, DoubleRun *run, void *arg);

/* double_memory - ends the process unless [p, p+bytes) lies inside one allocation of device memory. */
void double_memory(const void *p, size_t bytes, const char *what);

/* The shim's functions and the kernels, from the shared object that GLMC_DOUBLE_KERNELS names. */
void *double_symbol(const char *name);

uint64_t double_random(void);

/* cuda_stream.c */
CUresult stream_create(CUstream *s);
CUresult stream_destroy(CUstream s);
CUresult stream_wait(CUstream s, CUevent e);
CUresult event_create(CUevent *e);
CUresult event_destroy(CUevent e);
CUresult event_record(CUevent e, CUstream s);
CUresult event_query(CUevent e);

#endif
