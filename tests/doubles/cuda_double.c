/* cuda_double.c - a libcuda.so.1 whose device is this process: memory with guards and poison, kernels
 * compiled for the CPU by the shim (tests/simt). Streams and events: cuda_stream.c.
 *
 * GLMC_DOUBLE_KERNELS   shared object with the shim and the kernels, by name
 * GLMC_DOUBLE_SEED      order of streams and threads
 * GLMC_DOUBLE_DEVICE    capability and memory, "9.0 80e9"
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "double.h"
#include "templates/cuda/call.h"

enum { GUARD = 1 << 16, ALLOCS = 64, SMS = 4, PLAIN_SHARED = 48 << 10, MOST_SHARED = 227 << 10 };

/* ---- memory ---- */

typedef struct Alloc {
	char *p;                 /* NULL: free entry */
	size_t bytes, mapped;
	bool pinned;             /* host memory */
} Alloc;

static Alloc allocs[ALLOCS];

static Alloc *find(const void *p, size_t bytes, bool pinned)
{
	const char *at = p;
	for (int i = 0; i < ALLOCS; i++) {
		Alloc *a = &allocs[i];
		if (a->p && a->pinned == pinned && at >= a->p && bytes <= a->bytes && at - a->p <= (ptrdiff_t)(a->bytes - bytes))
			return a;
	}
	return NULL;
}

void double_memory(const void *p, size_t bytes, const char *what)
{
	if (!find(p, bytes, false))
		double_misuse("%s: %zu bytes at %p are not device memory", what, bytes, p);
}

static void pinned_memory(const void *p, size_t bytes, const char *what)
{
	if (!find(p, bytes, true))
		double_misuse("%s: %zu bytes at %p are not pinned: the copy would not be asynchronous", what, bytes, p);
}

/* The end of the memory touches the guard behind it, up to 256 bytes of alignment. */
static void *allocate(size_t bytes, bool pinned)
{
	size_t room = (bytes + 4095) / 4096 * 4096, mapped = room + 2 * GUARD, i = 0;
	while (i < ALLOCS && allocs[i].p)
		i++;
	char *base = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (i == ALLOCS || base == MAP_FAILED || mprotect(base + GUARD, room, PROT_READ | PROT_WRITE))
		return NULL;
	char *p = base + GUARD + (room - (bytes + 255) / 256 * 256);
	memset(p, 0xFF, bytes);
	allocs[i] = (Alloc){p, bytes, mapped, pinned};
	return p;
}

static CUresult release(const void *p, bool pinned)
{
	Alloc *a = find(p, 1, pinned);
	if (!a || a->p != p)
		double_misuse("memory at %p is freed that is none", p);
	munmap((char *)((uintptr_t)a->p / 4096 * 4096) - GUARD, a->mapped);
	a->p = NULL;
	return CUDA_SUCCESS;
}

static CUresult mem_alloc(CUdeviceptr *out, size_t bytes)
{
	void *p = allocate(bytes, false);
	*out = (CUdeviceptr)(uintptr_t)p;
	return p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult mem_free(CUdeviceptr p)
{
	return release((void *)(uintptr_t)p, false);
}

static CUresult host_alloc(void **out, size_t bytes)
{
	*out = allocate(bytes, true);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult host_free(void *p)
{
	return release(p, true);
}

typedef struct Copy {
	void *to;
	const void *from;        /* NULL: fill with `value` */
	size_t bytes;
	unsigned char value;
} Copy;

static bool run_copy(void *arg)
{
	const Copy *c = arg;
	if (c->from)
		memcpy(c->to, c->from, c->bytes);
	else
		memset(c->to, c->value, c->bytes);
	return true;
}

static CUresult issue_copy(CUstream s, Copy c)
{
	Copy *x = malloc(sizeof *x);
	if (!x)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*x = c;
	double_issue(s, run_copy, x);
	return CUDA_SUCCESS;
}

static CUresult to_device(CUdeviceptr to, const void *from, size_t bytes, CUstream s)
{
	double_memory((void *)(uintptr_t)to, bytes, "cuMemcpyHtoDAsync");
	pinned_memory(from, bytes, "cuMemcpyHtoDAsync");
	return issue_copy(s, (Copy){(void *)(uintptr_t)to, from, bytes, 0});
}

static CUresult to_host(void *to, CUdeviceptr from, size_t bytes, CUstream s)
{
	double_memory((void *)(uintptr_t)from, bytes, "cuMemcpyDtoHAsync");
	pinned_memory(to, bytes, "cuMemcpyDtoHAsync");
	return issue_copy(s, (Copy){to, (void *)(uintptr_t)from, bytes, 0});
}

static CUresult within_device(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s)
{
	double_memory((void *)(uintptr_t)to, bytes, "cuMemcpyDtoDAsync");
	double_memory((void *)(uintptr_t)from, bytes, "cuMemcpyDtoDAsync");
	return issue_copy(s, (Copy){(void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, 0});
}

static CUresult fill(CUdeviceptr to, unsigned char value, size_t bytes, CUstream s)
{
	double_memory((void *)(uintptr_t)to, bytes, "cuMemsetD8Async");
	return issue_copy(s, (Copy){(void *)(uintptr_t)to, NULL, bytes, value});
}

/* ---- kernels ---- */

typedef void Kernel(GlmcCall c);
typedef int Launch(Kernel *fn, const GlmcCall *c, int grid, int threads, int shared, uint64_t seed);
typedef const char *Message(void);
typedef const char *EncodeMap(GlmcMap *m, int elem, void *base, int64_t outer, int64_t inner, int64_t row_bytes,
                              int box_outer, int box_inner, int swizzle);

typedef struct Options {
	int workers, unchecked;
} Options;

typedef void Configure(const Options *o);

struct CUfunc_st {
	char *name;
	Kernel *fn;
	int shared_max;
};

struct CUmod_st {
	struct CUfunc_st f;
};

static void *object(void)
{
	static void *h;
	const char *path = getenv("GLMC_DOUBLE_KERNELS");
	if (!path)
		double_misuse("GLMC_DOUBLE_KERNELS is not set");
	if (!h && !(h = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
		double_misuse("%s", dlerror());
	return h;
}

void *double_symbol(const char *name)
{
	return dlsym(object(), name);
}

static CUresult module_load(CUmodule *m, const void *image)
{
	if (!image)
		double_misuse("cuModuleLoadData without an image");
	*m = calloc(1, sizeof **m);
	return *m ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult module_unload(CUmodule m)
{
	free(m->f.name);
	free(m);
	return CUDA_SUCCESS;
}

static CUresult get_function(CUfunction *f, CUmodule m, const char *name)
{
	void *p = double_symbol(name);
	if (!p)
		double_misuse("kernel %s is not in %s", name, getenv("GLMC_DOUBLE_KERNELS"));
	m->f = (struct CUfunc_st){strdup(name), NULL, PLAIN_SHARED};
	memcpy(&m->f.fn, &p, sizeof p);
	*f = &m->f;
	return CUDA_SUCCESS;
}

static CUresult set_attribute(CUfunction f, CUfunction_attribute a, int value)
{
	if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > MOST_SHARED)
		double_misuse("cuFuncSetAttribute(%d, %d) of %s", a, value, f->name);
	f->shared_max = value;
	return CUDA_SUCCESS;
}

typedef struct Run {
	GlmcCall call;
	CUfunction f;
	int grid, threads, shared;
} Run;

static bool run_kernel(void *arg)
{
	const Run *r = arg;
	Launch *launch;
	Message *message;
	void *l = double_symbol("simt_launch"), *m = double_symbol("simt_message");
	if (!l || !m)
		double_misuse("%s holds no shim", getenv("GLMC_DOUBLE_KERNELS"));
	memcpy(&launch, &l, sizeof l);
	memcpy(&message, &m, sizeof m);
	if (launch(r->f->fn, &r->call, r->grid, r->threads, r->shared, double_random()))
		double_misuse("kernel %s: %s", r->f->name, message());
	return true;
}

static CUresult launch_kernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned shared, CUstream s, void **params, void **extra)
{
	if (!gx || gy != 1 || gz != 1 || by != 1 || bz != 1 || !bx || bx > 1024 || extra)
		double_misuse("launch of %s: grid %u %u %u, block %u %u %u", f->name, gx, gy, gz, bx, by, bz);
	if ((int)shared > f->shared_max)
		double_misuse("launch of %s: %u bytes of shared memory, %d allowed", f->name, shared, f->shared_max);
	Run *r = aligned_alloc(_Alignof(Run), sizeof *r);
	if (!r)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*r = (Run){.call = *(const GlmcCall *)params[0], .f = f, .grid = (int)gx, .threads = (int)bx, .shared = (int)shared};
	double_issue(s, run_kernel, r);
	return CUDA_SUCCESS;
}

static CUresult encode_map(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank, void *base, const cuuint64_t *dim,
                           const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step,
                           CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2,
                           CUtensorMapFloatOOBfill fill_value)
{
	EncodeMap *encode;
	void *p = double_symbol("simt_map_encode");
	int elem = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2 : 4;
	(void)l2;
	if (!p || rank != 2 || step[0] != 1 || step[1] != 1 || interleave || fill_value || (uintptr_t)out % 64)
		double_misuse("a tensor map that the double does not know");
	double_memory(base, (dim[1] - 1) * stride[0] + dim[0] * (cuuint64_t)elem, "cuTensorMapEncodeTiled");
	memcpy(&encode, &p, sizeof p);
	const char *why = encode((GlmcMap *)(void *)out, elem, base, (int64_t)dim[1], (int64_t)dim[0], (int64_t)stride[0],
	                         (int)box[1], (int)box[0], swizzle);
	if (why)
		double_misuse("cuTensorMapEncodeTiled: %s", why);
	return CUDA_SUCCESS;
}

/* ---- the device ---- */

static double memory_of(int *major, int *minor)
{
	const char *given = getenv("GLMC_DOUBLE_DEVICE");
	double bytes = 80e9;
	*major = 9;
	*minor = 0;
	if (given)
		sscanf(given, "%d.%d %lf", major, minor, &bytes);
	return bytes;
}

static CUresult init(unsigned flags)
{
	return flags ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}

static CUresult driver_version(int *v)
{
	*v = 13000;
	return CUDA_SUCCESS;
}

static CUresult error_name(CUresult r, const char **name)
{
	*name = r == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : r == CUDA_ERROR_NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
	        : r == CUDA_SUCCESS ? "CUDA_SUCCESS" : "CUDA_ERROR";
	return CUDA_SUCCESS;
}

static CUresult device_count(int *n)
{
	*n = 8;
	return CUDA_SUCCESS;
}

static CUresult device_get(CUdevice *d, int i)
{
	*d = i;
	return CUDA_SUCCESS;
}

static CUresult device_name(char *name, int n, CUdevice d)
{
	snprintf(name, (size_t)n, "test double %d", d);
	return CUDA_SUCCESS;
}

static CUresult device_attribute(int *x, CUdevice_attribute a, CUdevice d)
{
	int major, minor;
	(void)d;
	memory_of(&major, &minor);
	*x = a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? major
	     : a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? minor : SMS;
	return CUDA_SUCCESS;
}

/* Kernels run without checks of their own, one thread of the system per process. */
static CUresult context_retain(CUcontext *c, CUdevice d)
{
	static char nothing;
	Configure *configure;
	void *p = double_symbol("simt_configure");
	(void)d;
	if (!p)
		double_misuse("%s holds no shim", getenv("GLMC_DOUBLE_KERNELS"));
	memcpy(&configure, &p, sizeof p);
	configure(&(Options){.workers = 1, .unchecked = 1});
	*c = (CUcontext)(void *)&nothing;
	return CUDA_SUCCESS;
}

static CUresult context_release(CUdevice d)
{
	(void)d;
	for (int i = 0; i < ALLOCS; i++)
		if (allocs[i].p)
			double_misuse("%zu bytes are not freed", allocs[i].bytes);
	return CUDA_SUCCESS;
}

static CUresult context_current(CUcontext c)
{
	return c ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

static CUresult priorities(int *least, int *most)
{
	*least = 0;
	*most = -5;
	return CUDA_SUCCESS;
}

static CUresult memory_info(size_t *free_bytes, size_t *total)
{
	int major, minor;
	*free_bytes = *total = (size_t)memory_of(&major, &minor);
	for (int i = 0; i < ALLOCS; i++)
		if (allocs[i].p && !allocs[i].pinned)
			*free_bytes -= allocs[i].bytes;
	return CUDA_SUCCESS;
}

static CUresult stream_new(CUstream *s, unsigned flags, int priority)
{
	if (flags != CU_STREAM_NON_BLOCKING || priority > 0 || priority < -5)
		double_misuse("a stream with flags %u, priority %d", flags, priority);
	return stream_create(s);
}

static CUresult wait_event(CUstream s, CUevent e, unsigned flags)
{
	(void)flags;
	return stream_wait(s, e);
}

static CUresult event_new(CUevent *e, unsigned flags)
{
	if (flags != CU_EVENT_DISABLE_TIMING)
		double_misuse("an event with flags %u", flags);
	return event_create(e);
}

/* ---- the table ---- */

static const RtCudaApi api = {
	.cuInit = init, .cuDriverGetVersion = driver_version, .cuGetErrorName = error_name, .cuGetErrorString = error_name,
	.cuDeviceGetCount = device_count, .cuDeviceGet = device_get, .cuDeviceGetName = device_name,
	.cuDeviceGetAttribute = device_attribute, .cuDevicePrimaryCtxRetain = context_retain,
	.cuDevicePrimaryCtxRelease = context_release, .cuCtxSetCurrent = context_current,
	.cuCtxGetStreamPriorityRange = priorities, .cuMemGetInfo = memory_info, .cuMemAlloc = mem_alloc, .cuMemFree = mem_free,
	.cuMemAllocHost = host_alloc, .cuMemFreeHost = host_free, .cuMemcpyHtoDAsync = to_device,
	.cuMemcpyDtoHAsync = to_host, .cuMemcpyDtoDAsync = within_device, .cuMemsetD8Async = fill, .cuStreamCreateWithPriority = stream_new,
	.cuStreamDestroy = stream_destroy, .cuStreamWaitEvent = wait_event, .cuEventCreate = event_new,
	.cuEventDestroy = event_destroy, .cuEventRecord = event_record, .cuEventQuery = event_query,
	.cuModuleLoadData = module_load, .cuModuleUnload = module_unload, .cuModuleGetFunction = get_function,
	.cuFuncSetAttribute = set_attribute, .cuLaunchKernel = launch_kernel, .cuTensorMapEncodeTiled = encode_map,
};

CUresult cuGetProcAddress_v2(const char *name, void **fn, int version, cuuint64_t flags, int *status);

CUresult cuGetProcAddress_v2(const char *name, void **fn, int version, cuuint64_t flags, int *status)
{
	*fn = NULL;
	(void)flags, (void)status;
	if (version != 12000)
		double_misuse("cuGetProcAddress for version %d", version);
#define FIND(result, member, parameters) \
	if (strcmp(name, #member) == 0) \
		memcpy(fn, &api.member, sizeof *fn);
	RT_CUDA_FUNCTIONS(FIND)
	return *fn ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}
