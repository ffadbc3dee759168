/* rt_dev_host.c - rt_dev.h where the device is this process: addresses are its own, kernels are C
 * functions linked into the executable, and everything is done when a call returns.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rt_int.h"
#include "rt_value.h"

struct RtDev {
	RtKernel **kernel;       /* per kernel of the program */
};

void rt_dev_open(Rt *rt)
{
	rt->dev = calloc(1, sizeof *rt->dev);
	if (!rt->dev)
		rt_fail(rt, RT_EMEMORY, "out of memory");
}

static void find_kernels(Rt *rt, size_t *scratch)
{
	RtKernel **kernel = rt->dev->kernel = calloc((size_t)rt->p->nkernel + 1, sizeof *kernel);
	if (!kernel)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int k = 0; k < rt->p->nkernel; k++) {
		for (int i = 0; i < rt_kernel_count && !kernel[k]; i++) {
			if (strcmp(rt_kernel_table[i].name, rt->p->kernels[k].name) != 0)
				continue;
			kernel[k] = rt_kernel_table[i].run;
			size_t need = (size_t)*rt_kernel_table[i].scratch;
			*scratch = need > *scratch ? need : *scratch;
		}
		if (!kernel[k])
			rt_fail(rt, 70, "kernel %s is not in this executable", rt->p->kernels[k].name);
	}
}

static int thread_count(const Rt *rt)
{
	const char *given = rt_setting(rt, "glmc.threads"), *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
	cpu_set_t set;
	if (*given && !rt_value_null(given))
		return (int)rt_value_int(given);
	int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
	int ranks = local ? atoi(local) : 1, n = cores / (ranks > 0 ? ranks : 1);
	return n > 0 ? n : 1;
}

void rt_dev_reserve(Rt *rt)
{
	uint64_t bytes = rt->p->arena_bytes;
	size_t scratch = rt->p->thread_scratch;
	find_kernels(rt, &scratch);
	rt->arena = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rt->arena == MAP_FAILED)
		rt_fail(rt, RT_EMEMORY, "cannot reserve %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
	madvise(rt->arena, bytes, MADV_HUGEPAGE);
	rt->pool = rt_pool_new(thread_count(rt), scratch);
	if (!rt->pool)
		rt_fail(rt, RT_EMEMORY, "out of memory");
}

void rt_dev_close(Rt *rt)
{
	rt_pool_free(rt->pool);
	munmap(rt->arena, rt->p->arena_bytes + 4096);
	free(rt->dev->kernel);
	free(rt->dev);
}

void rt_dev_call(Rt *rt, int stream, int kernel, int64_t blocks, void *const *arg, int narg, const int64_t *n,
                 int nint)
{
	RtCall call = {.arg = arg, .n = n, .env = &rt->env, .pool = rt->pool};
	RtSpan span = rt_profile_begin(rt->profile);
	(void)stream, (void)blocks, (void)narg, (void)nint;
	rt->dev->kernel[kernel](&call);
	rt_profile_end(rt->profile, span, kernel, RT_LAUNCH);
}

void rt_dev_launch(Rt *rt, const RtInstr *in)
{
	void *arg[RT_MAX_ARGS];
	for (int k = 0; k < in->narg; k++)
		arg[k] = rt_at(rt, in->arg[k]);
	rt_dev_call(rt, in->stream, in->kernel, 0, arg, in->narg, in->n, in->nint);
}

static _Noreturn void not_here(Rt *rt, const char *what)
{
	rt_fail(rt, 70, "a %s, which only the cuda target has", what);
}

void rt_dev_gemm(Rt *rt, const RtInstr *in)
{
	(void)in;
	not_here(rt, "product");
}

void rt_dev_record(Rt *rt, int stream, int event)
{
	(void)stream, (void)event;
	not_here(rt, "record");
}

void rt_dev_wait(Rt *rt, int stream, int event)
{
	(void)stream, (void)event;
	not_here(rt, "wait");
}

typedef struct Fill {
	char *to;
	size_t bytes;
} Fill;

enum { FILL_BLOCK = 1 << 20 };

static void fill_zero(void *ctx, int64_t job, int thread)
{
	const Fill *f = ctx;
	size_t at = (size_t)job * FILL_BLOCK, n = f->bytes - at < FILL_BLOCK ? f->bytes - at : FILL_BLOCK;
	(void)thread;
	memset(f->to + at, 0, n);
}

void rt_dev_zero(Rt *rt, int stream, void *to, size_t bytes)
{
	Fill f = {to, bytes};
	(void)stream;
	rt_parallel(rt->pool, (int64_t)((bytes + FILL_BLOCK - 1) / FILL_BLOCK), fill_zero, &f);
}

void rt_dev_copy(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	(void)rt, (void)stream;
	memcpy(to, from, bytes);
}

void rt_dev_put(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	(void)rt, (void)stream;
	memcpy(to, from, bytes);
}

void rt_dev_get(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	(void)rt, (void)stream;
	memcpy(to, from, bytes);
}

void rt_dev_finish(Rt *rt)
{
	(void)rt;
}
