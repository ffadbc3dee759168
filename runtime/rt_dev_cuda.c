/* rt_dev_cuda.c - rt_dev.h on a GPU, by the CUDA driver: device, memory, streams, events.
 *
 * The host runs ahead of the device. It waits in rt_dev_get and rt_dev_finish only, always by asking
 * again and again, so that the watchdog of rt_comm_nccl.c sees a step that stands still.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_cuda.h"
#include "rt_launcher.h"
#include "rt_store.h"

enum { MAJOR = 9, MINOR = 0 };       /* compute capability of the kernels, sm_90a */

void rt_cu_check(Rt *rt, CUresult r, const char *call)
{
	const char *name = "?", *text = "";
	if (r == CUDA_SUCCESS)
		return;
	rt->dev->cu.cuGetErrorName(r, &name);
	rt->dev->cu.cuGetErrorString(r, &text);
	rt_fail(rt, r == CUDA_ERROR_OUT_OF_MEMORY ? RT_EMEMORY : 70, "%.*s: %s, %s", (int)strcspn(call, "("), call, name,
	        text);
}

/* ---- the device ---- */

static int choose_device(Rt *rt)
{
	int count = 0, local = rt_local_rank(rt->rank);
	rt_cu(rt, cuDeviceGetCount(&count));
	if (count == 0)
		rt_fail(rt, RT_EENV, "the CUDA driver shows no device\nhelp: see nvidia-smi and CUDA_VISIBLE_DEVICES");
	if (count == 1)
		return 0;
	if (local >= count)
		rt_fail(rt, RT_EENV, "local rank %d has no device of its own: the driver shows %d\n"
		                     "help: start at most one rank per device, see CUDA_VISIBLE_DEVICES", local, count);
	return local;
}

static int attribute(Rt *rt, CUdevice_attribute a)
{
	int x = 0;
	rt_cu(rt, cuDeviceGetAttribute(&x, a, rt->dev->device));
	return x;
}

static void check_capability(Rt *rt)
{
	char name[100] = "";
	int major = attribute(rt, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
	int minor = attribute(rt, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
	rt_cu(rt, cuDeviceGetName(name, sizeof name, rt->dev->device));
	if (major != MAJOR || minor != MINOR)
		rt_fail(rt, RT_EENV, "%s has compute capability %d.%d, the kernels are for %d.%d (H100, H200)", name, major,
		        minor, MAJOR, MINOR);
}

static bool has_products(const RtProg *p)
{
	for (int i = 0; i < p->ninstr; i++)
		if (p->instrs[i].op == RT_GEMM)
			return true;
	return false;
}

void rt_dev_open(Rt *rt)
{
	char err[1200];
	RtDev *d = rt->dev = calloc(1, sizeof *d);
	if (!d)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	if (!rt_load_cuda(&d->cu, err, sizeof err))
		rt_fail(rt, RT_EENV, "%s", err);
	CUresult r = d->cu.cuInit(0);
	if (r != CUDA_SUCCESS) {
		const char *name = "?";
		d->cu.cuGetErrorName(r, &name);
		rt_fail(rt, RT_EENV, "the CUDA driver does not start: cuInit gives %s\nhelp: see nvidia-smi", name);
	}
	rt_cu(rt, cuDeviceGet(&d->device, choose_device(rt)));
	check_capability(rt);
	d->sms = attribute(rt, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
	if (has_products(rt->p) && !rt_load_blas(&d->blas, err, sizeof err))
		rt_fail(rt, RT_EENV, "%s", err);
	rt_cu(rt, cuDevicePrimaryCtxRetain(&d->context, d->device));
	rt_cu(rt, cuCtxSetCurrent(d->context));
}

/* ---- memory and streams ---- */

static void reserve_arena(Rt *rt)
{
	size_t free_bytes = 0, total = 0;
	CUdeviceptr arena;
	uint64_t need = rt->p->arena_bytes;
	rt_cu(rt, cuMemGetInfo(&free_bytes, &total));
	if (need > free_bytes)
		rt_fail(rt, RT_EMEMORY, "the program needs %.3f GB of device memory, %.3f GB of %.3f GB are free\n"
		                        "help: `glmc plan` shows what the memory is for; end other processes on the device",
		        (double)need / 1e9, (double)free_bytes / 1e9, (double)total / 1e9);
	rt_cu(rt, cuMemAlloc(&arena, need));
	rt->arena = (char *)(uintptr_t)arena;
}

CUevent rt_cuda_event(Rt *rt)
{
	CUevent e;
	rt_cu(rt, cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	return e;
}

/* Transfers come before kernels of the compute stream that could start as well. */
static void make_streams(Rt *rt)
{
	int least = 0, most = 0;
	RtDev *d = rt->dev;
	rt_cu(rt, cuCtxGetStreamPriorityRange(&least, &most));
	for (int s = 0; s < RT_STREAMS; s++) {
		rt_cu(rt, cuStreamCreateWithPriority(&d->stream[s], CU_STREAM_NON_BLOCKING, s ? most : least));
		d->tail[s] = rt_cuda_event(rt);
	}
	d->event = calloc((size_t)rt->p->events + 1, sizeof *d->event);
	if (!d->event)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	for (int i = 0; i < rt->p->events; i++)
		d->event[i] = rt_cuda_event(rt);
}

static void zero(Rt *rt, uint64_t off, int64_t n, RtDType t)
{
	rt_dev_zero(rt, 0, rt_at(rt, off), (size_t)n * rt_dtype_bytes(t));
}

/* What is read before it is written: Adam's states, padding of units, own memory. Everything else is left
 * as it is, so that a program that reads what it has not written is not covered up. */
static void zero_memory(Rt *rt)
{
	for (int i = 0; i < rt->p->nunit; i++) {
		const RtUnit *u = &rt->p->units[i];
		int64_t n = u->elems / (u->group == RT_GROUP_EXPERT ? rt->p->ep_shard : rt->p->dp);
		zero(rt, u->param, u->elems, u->dtype);
		if (u->stored != u->dtype)
			zero(rt, u->master, n, u->stored);
		if (!u->trained)
			continue;
		zero(rt, u->grad, u->sharded ? n : u->elems, RT_f32);
		zero(rt, u->m, n, u->stored);
		zero(rt, u->v, n, u->stored);
	}
	rt_dev_zero(rt, 0, rt_at(rt, rt->p->own), rt->own.bytes);
	rt_dev_finish(rt);
}

void rt_dev_reserve(Rt *rt)
{
	if (rt->p->streams > RT_STREAMS)
		rt_fail(rt, 70, "the program has %d streams, the runtime %d", rt->p->streams, RT_STREAMS);
	reserve_arena(rt);
	make_streams(rt);
	rt_copy_init(rt);
	zero_memory(rt);
	rt_rows_init(rt);
	rt_launch_init(rt);
	rt_gemm_init(rt);
}

void rt_dev_close(Rt *rt)
{
	RtDev *d = rt->dev;
	rt_dev_finish(rt);
	rt_gemm_free(rt);
	rt_launch_free(rt);
	rt_rows_free(rt);
	rt_copy_free(rt);
	for (int i = 0; i < rt->p->events; i++)
		rt_cu(rt, cuEventDestroy(d->event[i]));
	for (int s = 0; s < RT_STREAMS; s++) {
		rt_cu(rt, cuEventDestroy(d->tail[s]));
		rt_cu(rt, cuStreamDestroy(d->stream[s]));
	}
	rt_cu(rt, cuMemFree(rt_ptr(rt->arena)));
	rt_cu(rt, cuDevicePrimaryCtxRelease(d->device));
	free(d->event);
	free(d);
}

/* ---- events and waiting ---- */

void rt_dev_record(Rt *rt, int stream, int event)
{
	rt_cu(rt, cuEventRecord(rt->dev->event[event], rt->dev->stream[stream]));
}

void rt_dev_wait(Rt *rt, int stream, int event)
{
	rt_cu(rt, cuStreamWaitEvent(rt->dev->stream[stream], rt->dev->event[event], 0));
}

void rt_cuda_wait(Rt *rt, CUevent e)
{
	CUresult r;
	for (int spin = 0; (r = rt->dev->cu.cuEventQuery(e)) == CUDA_ERROR_NOT_READY; spin++) {
		if (spin > 1000)
			sched_yield();
		if (rt->dev->idle)
			rt->dev->idle(rt, spin == 0);
	}
	rt_cu_check(rt, r, "cuEventQuery");
}

void rt_dev_finish(Rt *rt)
{
	RtDev *d = rt->dev;
	for (int s = 0; s < RT_STREAMS; s++)
		rt_cu(rt, cuEventRecord(d->tail[s], d->stream[s]));
	for (int s = 0; s < RT_STREAMS; s++)
		rt_cuda_wait(rt, d->tail[s]);
}
