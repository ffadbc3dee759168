/* rt_cuda.h - the device of the cuda target, shared by the files rt_*_cuda.c and rt_comm_nccl.c. */
#ifndef GLMC_RT_CUDA_H
#define GLMC_RT_CUDA_H

#include "../templates/cuda/call.h"
#include "rt_cuda_api.h"
#include "rt_int.h"

enum { RT_STREAMS = 4 };     /* compute, pipeline, expert exchange, parameters and gradients */

/* Pinned host memory on its way to or from the device. */
enum { RT_PIN_SLOTS = 8, RT_PIN_BYTES = 4 << 20 };

typedef struct RtPin {
	char *slot[RT_PIN_SLOTS];
	CUevent done[RT_PIN_SLOTS];      /* the copy from this slot */
	int next;
	char *back;              /* [RT_PIN_BYTES] from the device */
	CUevent arrived;
} RtPin;

/* Of the exchange contexts, rt_rows_cuda.c. */
typedef struct RtTables {
	int32_t *host;           /* tables of all rounds, on their way */
	CUevent *used;           /* [xchs][RT_STREAMS] last use of the device's copy */
	CUevent *ready;          /* [xchs] it is there */
	const int32_t *order, *begin;    /* of the current round, for kernels */
	int topk;
} RtTables;

struct RtDev {
	RtCudaApi cu;
	RtBlasApi blas;
	cublasLtHandle_t blas_handle;    /* NULL: the program has no products */
	struct RtProduct *product;       /* per RT_GEMM class, rt_gemm_cuda.c */
	int *product_of;         /* [ninstr] index into product */
	int nproduct;
	CUdevice device;
	CUcontext context;
	int sms;                 /* multiprocessors */
	CUstream stream[RT_STREAMS];
	CUevent tail[RT_STREAMS];        /* recorded by rt_dev_finish */
	CUevent *event;          /* [p->events] */
	CUmodule *module;        /* [nkernel] */
	CUfunction *function;
	CUtensorMap *map;        /* of all launches, in their order */
	int *map_of;             /* [ninstr] first map of a launch */
	RtPin pin;
	RtTables tables;
	void (*idle)(Rt *rt, bool first);    /* called again and again while the host waits; rt_comm_nccl.c */
};

/* rt_cu - ends the run when a call of the driver has failed; `what` names it. */
#define rt_cu(rt, call) rt_cu_check(rt, (rt)->dev->cu.call, #call)
void rt_cu_check(Rt *rt, CUresult r, const char *call);

/* rt_cuda_wait - until everything before `e` is done, watched by `idle`. */
void rt_cuda_wait(Rt *rt, CUevent e);

CUevent rt_cuda_event(Rt *rt);

static inline CUdeviceptr rt_ptr(const void *p)
{
	return (CUdeviceptr)(uintptr_t)p;
}

/* rt_load_cuda.c: opens a library and finds its functions. False with a message that says what was
 * looked for, where, and what would help. */
bool rt_load_cuda(RtCudaApi *api, char *err, size_t size);
bool rt_load_blas(RtBlasApi *api, char *err, size_t size);
bool rt_load_nccl(RtNcclApi *api, char *err, size_t size);

/* rt_launch_cuda.c */
void rt_launch_init(Rt *rt);
void rt_launch_free(Rt *rt);

/* rt_copy_cuda.c */
void rt_copy_init(Rt *rt);
void rt_copy_free(Rt *rt);

/* rt_rows_cuda.c */
void rt_rows_init(Rt *rt);
void rt_rows_free(Rt *rt);

/* rt_gemm_cuda.c: chooses an algorithm for every product of the program. */
void rt_gemm_init(Rt *rt);
void rt_gemm_free(Rt *rt);

#endif
