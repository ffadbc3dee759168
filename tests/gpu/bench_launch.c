/* bench_launch.c - times kernels: bench_launch FOLDER < LIST. A kernel is described by lines
 *
 *     kernel NAME SYMBOL CUBIN THREADS SHARED BLOCKS      its cubin in FOLDER
 *     env T R EXPERTS                                     one document; R rows in equal groups (0 0: none)
 *     arg BYTES bf16|f32|zero|ids:N                       random values, or integers below N
 *     int X
 *     map ARG ELEM OUTER INNER BOX_OUTER BOX_INNER
 *     run TIMES
 *
 * and gives a line "NAME MICROSECONDS". Memory is the device's; the copy of 2 GiB within it is timed first, as "copy".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/rt_cuda.h"

enum { LINE = 400, PIN = 16 << 20 };

typedef struct Bench {
	RtCudaApi cu;
	CUstream stream;
	CUevent done;
	char *pinned;
	const char *folder;
	/* of the kernel */
	char name[100], symbol[100], cubin[200];
	int threads, shared, blocks;
	GlmcCall call;
	int narg, nint, nmap;
	CUdeviceptr owned[GLMC_ARGS + 3];
	int nowned;
} Bench;

static _Noreturn void die(const char *what, const char *which)
{
	fprintf(stderr, "bench_launch: %s %s\n", what, which);
	exit(1);
}

static void check(Bench *b, CUresult r, const char *call)
{
	const char *name = "?";
	if (r == CUDA_SUCCESS)
		return;
	b->cu.cuGetErrorName(r, &name);
	fprintf(stderr, "%s: %s\n", b->name, name);
	die("fails:", call);
}

#define CU(b, call) check(b, (b)->cu.call, #call)

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void finish(Bench *b)
{
	CUresult r;
	CU(b, cuEventRecord(b->done, b->stream));
	while ((r = b->cu.cuEventQuery(b->done)) == CUDA_ERROR_NOT_READY)
		;
	check(b, r, "the kernel");
}

/* ---- memory ---- */

static uint32_t random_word(void)
{
	static uint64_t state = 1;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32);
}

/* bf16 and f32 in (-1, 1): random mantissa under one exponent. */
static void fill(char *p, size_t bytes, const char *kind)
{
	uint32_t *w = (uint32_t *)(void *)p;
	uint32_t below = strncmp(kind, "ids:", 4) == 0 ? (uint32_t)atoi(kind + 4) : 0;
	for (size_t i = 0; i < bytes / 4; i++) {
		uint32_t x = random_word();
		if (below)
			w[i] = x % below;
		else if (strcmp(kind, "bf16") == 0)
			w[i] = (x & 0x807F807F) | 0x3E803E80;
		else
			w[i] = strcmp(kind, "f32") == 0 ? (x & 0x807FFFFF) | 0x3E800000 : 0;
	}
}

static CUdeviceptr allocate(Bench *b, size_t bytes, const char *kind)
{
	CUdeviceptr p;
	CU(b, cuMemAlloc(&p, bytes));
	b->owned[b->nowned++] = p;
	fill(b->pinned, bytes < PIN ? (bytes + 3) / 4 * 4 : PIN, kind);
	for (size_t at = 0; at < bytes; at += PIN) {
		CU(b, cuMemcpyHtoDAsync(p + at, b->pinned, bytes - at < PIN ? bytes - at : PIN, b->stream));
		finish(b);
	}
	return p;
}

static const int *ints(Bench *b, const int *x, size_t n)
{
	CUdeviceptr p = allocate(b, n * sizeof *x, "zero");
	for (size_t at = 0; at < n; at += PIN / sizeof *x) {
		size_t m = n - at < PIN / sizeof *x ? n - at : PIN / sizeof *x;
		memcpy(b->pinned, x + at, m * sizeof *x);
		CU(b, cuMemcpyHtoDAsync(p + at * sizeof *x, b->pinned, m * sizeof *x, b->stream));
		finish(b);
	}
	return (const int *)(uintptr_t)p;
}

static void set_env(Bench *b, int T, int R, int experts)
{
	int cu[2] = {0, T}, *pos = calloc((size_t)T + 1, sizeof *pos), *group = calloc((size_t)experts + 1, sizeof *group);
	for (int t = 0; t < T; t++)
		pos[t] = t;
	for (int e = 0; e <= experts && experts; e++)
		group[e] = (int)((long long)R * e / experts);
	b->call.env = (GlmcEnv){.T = T, .ndoc = 1, .R = R, .scale = 1, .lr = 1e-4f, .bias1 = 0.1f, .bias2 = 0.05f};
	b->call.env.cu = ints(b, cu, 2);
	b->call.env.pos = ints(b, pos, (size_t)T);
	b->call.env.group = ints(b, group, (size_t)experts + 1);
	free(pos);
	free(group);
}

static void set_map(Bench *b, int arg, int elem, long long outer, long long inner, int box_outer, int box_inner)
{
	CUtensorMap m;
	cuuint64_t dim[2] = {(cuuint64_t)inner, (cuuint64_t)outer}, stride[1] = {(cuuint64_t)(inner * elem)};
	cuuint32_t box[2] = {(cuuint32_t)box_inner, (cuuint32_t)box_outer}, step[2] = {1, 1};
	CU(b, cuTensorMapEncodeTiled(&m, elem == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2,
	                             b->call.arg[arg], dim, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
	                             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
	                             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
	memcpy(&b->call.map[b->nmap++], &m, sizeof m);
}

/* ---- runs ---- */

static CUfunction load(Bench *b, CUmodule *module)
{
	char path[600];
	CUfunction f;
	snprintf(path, sizeof path, "%s/%s", b->folder, b->cubin);
	FILE *file = fopen(path, "rb");
	char *image = calloc(1, 8 << 20);
	if (!file || !image || fread(image, 1, (8 << 20) - 1, file) == 0)
		die("cannot read", path);
	fclose(file);
	CU(b, cuModuleLoadData(module, image));
	CU(b, cuModuleGetFunction(&f, *module, b->symbol));
	if (b->shared > 48 << 10)
		CU(b, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, b->shared));
	free(image);
	return f;
}

static void time_kernel(Bench *b, int times)
{
	CUmodule module;
	CUfunction f = load(b, &module);
	void *params[] = {&b->call};
	double begin = 0;
	for (int i = -2; i < times; i++) {
		if (i == 0) {
			finish(b);
			begin = now();
		}
		CU(b, cuLaunchKernel(f, (unsigned)b->blocks, 1, 1, (unsigned)b->threads, 1, 1, (unsigned)b->shared, b->stream,
		                     params, NULL));
	}
	finish(b);
	printf("%s %.2f\n", b->name, (now() - begin) * 1e6 / times);
	fflush(stdout);
	CU(b, cuModuleUnload(module));
	for (int i = 0; i < b->nowned; i++)
		CU(b, cuMemFree(b->owned[i]));
	b->nowned = b->narg = b->nint = b->nmap = 0;
	b->call = (GlmcCall){0};
}

static void time_copy(Bench *b)
{
	const char *given = getenv("GLMC_BENCH_COPY");
	size_t bytes = given ? strtoull(given, NULL, 10) : (size_t)2 << 30;
	CUdeviceptr from = allocate(b, bytes, "f32"), to = allocate(b, bytes, "zero");
	double begin = 0;
	for (int i = -1; i < 10; i++) {
		if (i == 0) {
			finish(b);
			begin = now();
		}
		CU(b, cuMemcpyDtoDAsync(to, from, bytes, b->stream));
	}
	finish(b);
	printf("copy %.2f\n", (now() - begin) * 1e6 / 10);
	CU(b, cuMemFree(from));
	CU(b, cuMemFree(to));
	b->nowned = 0;
}

static void read_line(Bench *b, char *line)
{
	char kind[40];
	int x[6];
	long long n[3];
	size_t bytes;
	if (sscanf(line, "kernel %99s %99s %199s %d %d %d", b->name, b->symbol, b->cubin, &b->threads, &b->shared,
	           &b->blocks) == 6)
		return;
	if (sscanf(line, "env %d %d %d", &x[0], &x[1], &x[2]) == 3)
		set_env(b, x[0], x[1], x[2]);
	else if (sscanf(line, "arg %zu %39s", &bytes, kind) == 2 && b->narg < GLMC_ARGS)
		b->call.arg[b->narg++] = (void *)(uintptr_t)allocate(b, bytes, kind);
	else if (sscanf(line, "int %lld", &n[0]) == 1 && b->nint < GLMC_INTS)
		b->call.n[b->nint++] = n[0];
	else if (sscanf(line, "map %d %d %lld %lld %d %d", &x[0], &x[1], &n[0], &n[1], &x[2], &x[3]) == 6 &&
	         b->nmap < GLMC_MAPS)
		set_map(b, x[0], x[1], n[0], n[1], x[2], x[3]);
	else if (sscanf(line, "run %d", &x[0]) == 1)
		time_kernel(b, x[0]);
	else
		die("cannot read the line", line);
}

int main(int argc, char **argv)
{
	static Bench b;
	char line[LINE], err[1200];
	CUdevice device;
	CUcontext context;
	if (argc != 2)
		return 2;
	b.folder = argv[1];
	if (!rt_load_cuda(&b.cu, err, sizeof err))
		die(err, "");
	CU(&b, cuInit(0));
	CU(&b, cuDeviceGet(&device, 0));
	CU(&b, cuDevicePrimaryCtxRetain(&context, device));
	CU(&b, cuCtxSetCurrent(context));
	CU(&b, cuStreamCreateWithPriority(&b.stream, CU_STREAM_NON_BLOCKING, 0));
	CU(&b, cuEventCreate(&b.done, CU_EVENT_DISABLE_TIMING));
	CU(&b, cuMemAllocHost((void **)(void *)&b.pinned, PIN));
	time_copy(&b);
	while (fgets(line, sizeof line, stdin))
		if (strspn(line, " \t\n") < strlen(line) && line[0] != '#')
			read_line(&b, line);
	return 0;
}
