/* gpu_launch.c - see gpu_launch.h. */
#include "gpu_launch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rt_cuda.h"

enum { REGIONS = 64 };

/* As tests/simt/map.h has it. */
typedef struct ShimMap {
	uint64_t magic;
	char *base;
	int64_t outer, inner, row_bytes;
	int32_t elem, box_outer, box_inner, swizzle;
} ShimMap;

static const uint64_t MAP_MAGIC = 0x676c6d632d6d6170u;

typedef struct Gpu {
	RtCudaApi cu;
	CUmodule module;
	CUstream stream;
	CUevent done;
	char *pinned;
	size_t pinned_bytes;
	CUdeviceptr at[REGIONS]; /* of the launch's regions */
	char why[600];
} Gpu;

static Gpu gpu;

static const char *fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(gpu.why, sizeof gpu.why, fmt, ap);
	va_end(ap);
	return gpu.why;
}

static const char *result(CUresult r, const char *call)
{
	const char *name = "?";
	if (r == CUDA_SUCCESS)
		return NULL;
	gpu.cu.cuGetErrorName(r, &name);
	return fail("%.*s: %s", (int)strcspn(call, "("), call, name);
}

#define TRY(call) \
	do { \
		const char *try_result = result(gpu.cu.call, #call); \
		if (try_result) \
			return try_result; \
	} while (0)

/* ---- the device ---- */

static char *read_cubin(void)
{
	const char *path = getenv("GLMC_GPU_CUBIN");
	FILE *f = path ? fopen(path, "rb") : NULL;
	char *image = NULL;
	if (f && fseek(f, 0, SEEK_END) == 0) {
		long n = ftell(f);
		rewind(f);
		image = malloc((size_t)n + 1);
		if (image && fread(image, 1, (size_t)n, f) != (size_t)n)
			image[0] = 0;
	}
	if (f)
		fclose(f);
	return image;
}

static const char *start(void)
{
	CUdevice device;
	CUcontext context;
	if (gpu.module)
		return NULL;
	if (!rt_load_cuda(&gpu.cu, gpu.why, sizeof gpu.why))
		return gpu.why;
	char *image = read_cubin();
	if (!image)
		return fail("cannot read the cubin that GLMC_GPU_CUBIN names");
	TRY(cuInit(0));
	TRY(cuDeviceGet(&device, 0));
	TRY(cuDevicePrimaryCtxRetain(&context, device));
	TRY(cuCtxSetCurrent(context));
	TRY(cuStreamCreateWithPriority(&gpu.stream, CU_STREAM_NON_BLOCKING, 0));
	TRY(cuEventCreate(&gpu.done, CU_EVENT_DISABLE_TIMING));
	TRY(cuModuleLoadData(&gpu.module, image));
	free(image);
	return NULL;
}

static const char *wait(void)
{
	CUresult r;
	TRY(cuEventRecord(gpu.done, gpu.stream));
	while ((r = gpu.cu.cuEventQuery(gpu.done)) == CUDA_ERROR_NOT_READY)
		;
	return result(r, "the kernel");
}

/* ---- memory ---- */

static const char *pinned(size_t bytes)
{
	if (bytes <= gpu.pinned_bytes)
		return NULL;
	if (gpu.pinned)
		TRY(cuMemFreeHost(gpu.pinned));
	gpu.pinned_bytes = bytes;
	TRY(cuMemAllocHost((void **)(void *)&gpu.pinned, bytes));
	return NULL;
}

/* Own allocations, so that compute-sanitizer sees what lies outside. */
static const char *upload(const GpuRegion *r, CUdeviceptr *at)
{
	size_t bytes = r->bytes ? r->bytes : 1;
	const char *wrong = pinned(bytes);
	if (wrong)
		return wrong;
	TRY(cuMemAlloc(at, bytes));
	memcpy(gpu.pinned, r->p, r->bytes);
	TRY(cuMemcpyHtoDAsync(*at, gpu.pinned, bytes, gpu.stream));
	return wait();
}

static const char *download(const GpuRegion *r, CUdeviceptr at)
{
	TRY(cuMemcpyDtoHAsync(gpu.pinned, at, r->bytes ? r->bytes : 1, gpu.stream));
	const char *wrong = wait();
	if (wrong)
		return wrong;
	memcpy(r->p, gpu.pinned, r->bytes);
	TRY(cuMemFree(at));
	return NULL;
}

static bool translate(const void **p, const GpuRegion *r, int n)
{
	const char *at = *p;
	for (int i = 0; at && i < n; i++)
		if (at >= (char *)r[i].p && at <= (char *)r[i].p + r[i].bytes) {
			*p = (const void *)(uintptr_t)(gpu.at[i] + (CUdeviceptr)(at - (char *)r[i].p));
			return true;
		}
	return !at;
}

/* ---- launches ---- */

static const char *encode(GlmcMap *m, const GpuRegion *r, int n)
{
	ShimMap s;
	CUtensorMap map;
	memcpy(&s, m->opaque, sizeof s);
	if (s.magic != MAP_MAGIC)
		return NULL;
	const void *base = s.base;
	if (!translate(&base, r, n))
		return fail("a tensor map of memory that is no array");
	cuuint64_t dim[2] = {(cuuint64_t)s.inner, (cuuint64_t)s.outer}, stride[1] = {(cuuint64_t)s.row_bytes};
	cuuint32_t box[2] = {(cuuint32_t)s.box_inner, (cuuint32_t)s.box_outer}, step[2] = {1, 1};
	TRY(cuTensorMapEncodeTiled(&map, s.elem == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
	                           2, (void *)(uintptr_t)base, dim, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
	                           s.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
	memcpy(m->opaque, &map, sizeof m->opaque);
	return NULL;
}

static const char *rebase(GlmcCall *c, const GpuRegion *r, int n)
{
	const void **env[] = {(const void **)(void *)&c->env.cu, (const void **)(void *)&c->env.pos,
	                      (const void **)(void *)&c->env.group, (const void **)(void *)&c->env.order,
	                      (const void **)(void *)&c->env.begin};
	bool ok = true;
	for (int i = 0; i < GLMC_MAPS; i++) {
		const char *wrong = encode(&c->map[i], r, n);
		if (wrong)
			return wrong;
	}
	for (int i = 0; i < GLMC_ARGS; i++)
		ok = translate((const void **)(void *)&c->arg[i], r, n) && ok;
	for (int i = 0; i < 5; i++)
		ok = translate(env[i], r, n) && ok;
	return ok ? NULL : fail("an address that is in no array");
}

static const char *run(const char *kernel, GlmcCall *c, int grid, int threads, int shared)
{
	CUfunction f;
	void *params[] = {c};
	TRY(cuModuleGetFunction(&f, gpu.module, kernel));
	if (shared > 48 << 10)
		TRY(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared));
	if (grid)
		TRY(cuLaunchKernel(f, (unsigned)grid, 1, 1, (unsigned)threads, 1, 1, (unsigned)shared, gpu.stream, params, NULL));
	return wait();
}

const char *gpu_launch(const char *kernel, const GlmcCall *c, const GpuRegion *regions, int n, int grid, int threads,
                       int shared)
{
	GlmcCall call = *c;
	const char *wrong = start();
	if (!wrong && n > REGIONS)
		wrong = fail("%d arrays are more than %d", n, REGIONS);
	for (int i = 0; !wrong && i < n; i++)
		wrong = upload(&regions[i], &gpu.at[i]);
	if (!wrong)
		wrong = rebase(&call, regions, n);
	if (!wrong)
		wrong = run(kernel, &call, grid, threads, shared);
	for (int i = 0; !wrong && i < n; i++)
		wrong = download(&regions[i], gpu.at[i]);
	return wrong;
}
