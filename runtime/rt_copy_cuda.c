/* rt_copy_cuda.c - copies between host and device by way of pinned memory.
 *
 * To the device there are several slots, so that the host need not wait for the copy before; one is
 * used again when its copy is done. From the device the host waits anyway.
 */
#include <string.h>

#include "rt_cuda.h"

void rt_copy_init(Rt *rt)
{
	RtPin *p = &rt->dev->pin;
	for (int i = 0; i < RT_PIN_SLOTS; i++) {
		rt_cu(rt, cuMemAllocHost((void **)(void *)&p->slot[i], RT_PIN_BYTES));
		p->done[i] = rt_cuda_event(rt);
	}
	rt_cu(rt, cuMemAllocHost((void **)(void *)&p->back, RT_PIN_BYTES));
	p->arrived = rt_cuda_event(rt);
}

void rt_copy_free(Rt *rt)
{
	RtPin *p = &rt->dev->pin;
	for (int i = 0; i < RT_PIN_SLOTS; i++) {
		rt_cu(rt, cuMemFreeHost(p->slot[i]));
		rt_cu(rt, cuEventDestroy(p->done[i]));
	}
	rt_cu(rt, cuMemFreeHost(p->back));
	rt_cu(rt, cuEventDestroy(p->arrived));
}

static size_t piece(size_t bytes, size_t at)
{
	return bytes - at < RT_PIN_BYTES ? bytes - at : RT_PIN_BYTES;
}

void rt_dev_put(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	RtPin *p = &rt->dev->pin;
	CUstream s = rt->dev->stream[stream];
	for (size_t at = 0; at < bytes; at += RT_PIN_BYTES) {
		int i = p->next;
		size_t n = piece(bytes, at);
		p->next = (i + 1) % RT_PIN_SLOTS;
		rt_cuda_wait(rt, p->done[i]);
		memcpy(p->slot[i], (const char *)from + at, n);
		rt_cu(rt, cuMemcpyHtoDAsync(rt_ptr(to) + at, p->slot[i], n, s));
		rt_cu(rt, cuEventRecord(p->done[i], s));
	}
}

void rt_dev_get(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	RtPin *p = &rt->dev->pin;
	CUstream s = rt->dev->stream[stream];
	for (size_t at = 0; at < bytes; at += RT_PIN_BYTES) {
		size_t n = piece(bytes, at);
		rt_cu(rt, cuMemcpyDtoHAsync(p->back, rt_ptr(from) + at, n, s));
		rt_cu(rt, cuEventRecord(p->arrived, s));
		rt_cuda_wait(rt, p->arrived);
		memcpy((char *)to + at, p->back, n);
	}
}

void rt_dev_copy(Rt *rt, int stream, void *to, const void *from, size_t bytes)
{
	if (bytes)
		rt_cu(rt, cuMemcpyDtoDAsync(rt_ptr(to), rt_ptr(from), bytes, rt->dev->stream[stream]));
}

void rt_dev_zero(Rt *rt, int stream, void *to, size_t bytes)
{
	if (bytes)
		rt_cu(rt, cuMemsetD8Async(rt_ptr(to), 0, bytes, rt->dev->stream[stream]));
}
