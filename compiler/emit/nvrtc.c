/* nvrtc.c - see nvrtc.h. The few functions of the library that are used are declared here, so that
 * no header of the toolkit is needed. */
#include "nvrtc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef GLMC_CUDA_LIB
#define GLMC_CUDA_LIB ""     /* folder of the toolkit's libraries, from CMake */
#endif

typedef struct NvrtcProgram *Program;

typedef struct Api {
	int (*version)(int *, int *);
	int (*create)(Program *, const char *, const char *, int, const char *const *, const char *const *);
	int (*compile)(Program, int, const char *const *);
	int (*destroy)(Program *);
	int (*log_size)(Program, size_t *);
	int (*log)(Program, char *);
	int (*ptx_size)(Program, size_t *);
	int (*ptx)(Program, char *);
	int (*cubin_size)(Program, size_t *);
	int (*cubin)(Program, char *);
} Api;

static void *open_in(const char *folder)
{
	static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
	char path[1024];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", names[i]);
		void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (lib)
			return lib;
	}
	return NULL;
}

static void *open_library(void)
{
	const char *own = getenv("GLMC_NVRTC"), *home = getenv("CUDA_HOME");
	char folder[1000];
	if (own && *own)
		return dlopen(own, RTLD_NOW | RTLD_LOCAL);
	void *lib = open_in("");
	if (!lib && sizeof GLMC_CUDA_LIB > 1)
		lib = open_in(GLMC_CUDA_LIB);
	if (!lib && home && *home) {
		snprintf(folder, sizeof folder, "%s/lib64", home);
		lib = open_in(folder);
	}
	return lib ? lib : open_in("/usr/local/cuda/lib64");
}

/* dlsym returns a data pointer; ISO C has no conversion to a function pointer but this. */
static bool find(void *lib, const char *name, void *slot)
{
	void *p = dlsym(lib, name);
	memcpy(slot, &p, sizeof p);
	return p != NULL;
}

static bool fill_api(void *lib, Api *a)
{
	return find(lib, "nvrtcVersion", &a->version) && find(lib, "nvrtcCreateProgram", &a->create) &&
	       find(lib, "nvrtcCompileProgram", &a->compile) &&
	       find(lib, "nvrtcDestroyProgram", &a->destroy) &&
	       find(lib, "nvrtcGetProgramLogSize", &a->log_size) &&
	       find(lib, "nvrtcGetProgramLog", &a->log) && find(lib, "nvrtcGetPTXSize", &a->ptx_size) &&
	       find(lib, "nvrtcGetPTX", &a->ptx) && find(lib, "nvrtcGetCUBINSize", &a->cubin_size) &&
	       find(lib, "nvrtcGetCUBIN", &a->cubin);
}

/* The library stays open: dlopen counts, and gives the same handle again. */
static bool load(Api *a, char err[400])
{
	void *lib = open_library();
	if (lib && fill_api(lib, a))
		return true;
	const char *own = getenv("GLMC_NVRTC");
	if (own && *own)
		snprintf(err, 400, "GLMC_NVRTC names %s, which is no NVRTC library", own);
	else
		snprintf(err, 400, "NVRTC not found: no libnvrtc.so.13 or .so.12 in the linker's path, %s%s"
		         "$CUDA_HOME/lib64 or /usr/local/cuda/lib64", GLMC_CUDA_LIB, *GLMC_CUDA_LIB ? ", " : "");
	return false;
}

bool nvrtc_version(int *major, int *minor, char err[400])
{
	Api a;
	return load(&a, err) && a.version(major, minor) == 0;
}

static char *copy_text(const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = malloc(n);
	return p ? memcpy(p, s, n) : NULL;
}

/* One of the library's results: its size, then its bytes; *bytes is 0 where there is none. */
static char *fetch(Program p, int (*size)(Program, size_t *), int (*get)(Program, char *),
                   size_t *bytes)
{
	*bytes = 0;
	if (size(p, bytes) != 0)
		*bytes = 0;
	char *s = calloc(*bytes + 1, 1);
	if (s && *bytes && get(p, s) != 0)
		*bytes = 0;
	return s;
}

enum { MAX_OPTIONS = 64 };

typedef struct Options {
	const char *v[MAX_OPTIONS];
	char *own[MAX_OPTIONS];  /* those that were made here */
	int n, nown;
} Options;

static void add(Options *o, const char *text)
{
	if (o->n < MAX_OPTIONS)
		o->v[o->n++] = text;
}

static void add_joined(Options *o, const char *prefix, const char *text)
{
	size_t n = strlen(prefix) + strlen(text) + 1;
	char *s = o->nown < MAX_OPTIONS ? malloc(n) : NULL;
	if (!s)
		return;
	snprintf(s, n, "%s%s", prefix, text);
	o->own[o->nown++] = s;
	add(o, s);
}

/* Denormals, division and square roots stay as IEEE says: the host target computes the same. */
static void fill_options(Options *o, const NvrtcJob *job)
{
	*o = (Options){.n = 0};
	add_joined(o, "-arch=", job->arch ? job->arch : "sm_90a");
	add(o, "-std=c++17");
	add(o, "-default-device");
	add(o, "--ptxas-options=-v");
	if (job->lineinfo)
		add(o, "-lineinfo");
	for (int i = 0; job->include && job->include[i]; i++)
		add_joined(o, "-I", job->include[i]);
	for (int i = 0; job->options && job->options[i]; i++)
		add(o, job->options[i]);
}

/* The number that stands before `what` in a line of the log, 0 when it is absent. */
static int number_before(const char *line, const char *end, const char *what)
{
	const char *at = strstr(line, what);
	if (!at || at >= end)
		return 0;
	while (at > line && at[-1] == ' ')
		at--;
	while (at > line && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return atoi(at);
}

static NvrtcKernel *add_kernel(NvrtcJob *job, const char *name, size_t n)
{
	NvrtcKernel *v = realloc(job->kernels, ((size_t)job->nkernel + 1) * sizeof *v);
	char *copy = calloc(n + 1, 1);
	if (!v || !copy)
		abort();
	job->kernels = v;
	v[job->nkernel] = (NvrtcKernel){.name = memcpy(copy, name, n)};
	return &v[job->nkernel++];
}

/* "ptxas info : Compiling entry function 'NAME' for ..." starts a kernel; the lines after it tell of
 * its stack and spills, then of registers and memory. */
static void parse_line(NvrtcJob *job, const char *line, const char *end)
{
	static const char entry[] = "Compiling entry function '";
	const char *at = strstr(line, entry), *quote;
	if (at && at < end && (quote = strchr(at + sizeof entry - 1, '\'')) && quote < end) {
		at += sizeof entry - 1;
		add_kernel(job, at, (size_t)(quote - at));
		return;
	}
	if (!job->nkernel)
		return;
	NvrtcKernel *k = &job->kernels[job->nkernel - 1];
	if ((at = strstr(line, " bytes stack frame")) && at < end) {
		k->stack_bytes = number_before(line, end, " bytes stack frame");
		k->spill_stores = number_before(line, end, " bytes spill stores");
		k->spill_loads = number_before(line, end, " bytes spill loads");
	} else if ((at = strstr(line, "Used ")) && at < end) {
		k->registers = number_before(line, end, " registers");
		k->barriers = number_before(line, end, " barriers");
		k->shared_bytes = number_before(line, end, " bytes smem");
		k->constant_bytes = number_before(line, end, " bytes cmem[0]");
	}
}

static void parse_log(NvrtcJob *job)
{
	for (const char *line = job->log; *line;) {
		const char *end = strchr(line, '\n');
		if (!end)
			end = line + strlen(line);
		parse_line(job, line, end);
		line = *end ? end + 1 : end;
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool nvrtc_compile(NvrtcJob *job)
{
	Api a;
	char err[400];
	Program p = NULL;
	Options o;
	size_t bytes;
	if (!load(&a, err) || a.create(&p, job->source, job->name, 0, NULL, NULL) != 0) {
		job->log = copy_text(p ? "NVRTC cannot make a program" : err);
		return false;
	}
	double start = now();
	fill_options(&o, job);
	bool ok = a.compile(p, o.n, o.v) == 0;
	job->seconds = now() - start;
	job->log = fetch(p, a.log_size, a.log, &bytes);
	if (ok) {
		job->ptx = fetch(p, a.ptx_size, a.ptx, &bytes);
		job->ptx_bytes = bytes ? bytes - 1 : 0;
		job->cubin = fetch(p, a.cubin_size, a.cubin, &job->cubin_bytes);
		parse_log(job);
	}
	for (int i = 0; i < o.nown; i++)
		free(o.own[i]);
	a.destroy(&p);
	return ok && job->ptx_bytes && job->cubin_bytes;
}

/* ptxas mends a missing wgmma fence or wait, or runs the instructions one by one, and only says so. */
static const char *wgmma_remark(const char *log)
{
	static const char *const remarks[] = {"warpgroup.arrive is injected", "warpgroup.wait is injected",
	                                      "wgmma.mma_async instructions are serialized"};
	for (size_t i = 0; log && i < sizeof remarks / sizeof *remarks; i++) {
		const char *at = strstr(log, remarks[i]);
		if (at)
			return at;
	}
	return NULL;
}

bool nvrtc_clean(const NvrtcJob *job, char why[200])
{
	const char *remark = wgmma_remark(job->log);
	if (remark) {
		snprintf(why, 200, "%.*s", (int)strcspn(remark, "\n"), remark);
		return false;
	}
	for (int i = 0; i < job->nkernel; i++) {
		const NvrtcKernel *k = &job->kernels[i];
		if (!k->stack_bytes && !k->spill_stores && !k->spill_loads)
			continue;
		snprintf(why, 200, "%.80s: %d bytes of stack, %d of spill stores, %d of spill loads", k->name,
		         k->stack_bytes, k->spill_stores, k->spill_loads);
		return false;
	}
	return true;
}

void nvrtc_free(NvrtcJob *job)
{
	for (int i = 0; i < job->nkernel; i++)
		free(job->kernels[i].name);
	free(job->kernels);
	free(job->log);
	free(job->ptx);
	free(job->cubin);
	job->kernels = NULL;
	job->log = job->ptx = job->cubin = NULL;
	job->nkernel = 0;
}
