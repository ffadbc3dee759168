/* rt_load_cuda.c - the libraries of the cuda target, opened at run time, so that an executable starts on
 * any machine and can say what it lacks.
 *
 * A library is looked for under its versioned names, first where its environment variable points
 * (file or folder), then where the loader looks, then in the usual folders of a CUDA toolkit.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_cuda.h"

enum { DRIVER_MIN = 12040, API = 12000, BLAS_MIN = 120400, NCCL_MIN = 22800 };

typedef struct Library {
	const char *what;        /* "the CUDA driver" */
	const char *variable;    /* of the environment */
	const char *names[3];
	const char *cure;
} Library;

static const Library driver = {
	"the CUDA driver", "GLMC_CUDA_DRIVER", {"libcuda.so.1"},
	"start the rank on a machine with an NVIDIA driver of version 550 (CUDA 12.4) or newer; --info works without",
};
static const Library blas = {
	"cuBLASLt", "GLMC_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12"},
	"install cuBLAS 12.4 or newer (CUDA toolkit, or pip install nvidia-cublas) or set GLMC_CUBLASLT to its folder",
};
static const Library nccl = {
	"NCCL", "GLMC_NCCL", {"libnccl.so.2"},
	"install NCCL 2.28 or newer (libnccl2, or pip install nvidia-nccl-cu13) or set GLMC_NCCL to its folder",
};

static const char *const folders[] = {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/", "/usr/lib/wsl/lib/"};

/* Tries one path; adds it to the list of what was tried. */
static void *try_path(const char *path, char *tried, size_t size)
{
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	size_t n = strlen(tried);
	if (!h)
		snprintf(tried + n, size - n, "%s%s", n ? ", " : "", path);
	return h;
}

static void *try_folder(const Library *l, const char *folder, char *tried, size_t size)
{
	char path[1024];
	void *h = NULL;
	for (int i = 0; !h && i < 3 && l->names[i]; i++) {
		snprintf(path, sizeof path, "%s%s", folder, l->names[i]);
		h = try_path(path, tried, size);
	}
	return h;
}

static void *try_variable(const Library *l, char *tried, size_t size)
{
	const char *given = getenv(l->variable);
	char folder[1024];
	if (!given || !*given)
		return NULL;
	if (strstr(given, ".so"))
		return try_path(given, tried, size);
	snprintf(folder, sizeof folder, "%s/", given);
	return try_folder(l, folder, tried, size);
}

static void *open_library(const Library *l, char *err, size_t size)
{
	char tried[600] = "", why[300] = "";
	void *h = try_variable(l, tried, sizeof tried);
	for (size_t i = 0; !h && i < sizeof folders / sizeof *folders; i++) {
		h = try_folder(l, folders[i], tried, sizeof tried);
		if (!h && i == 0)
			snprintf(why, sizeof why, "%s", dlerror());
	}
	if (!h)
		snprintf(err, size, "%s is not on this machine: looked for %s (%s)\nhelp: %s", l->what, tried, why, l->cure);
	return h;
}

static bool missing(const Library *l, const char *name, char *err, size_t size)
{
	snprintf(err, size, "%s has no function %s: it is too old\nhelp: %s", l->what, name, l->cure);
	return false;
}

static bool too_old(const Library *l, int have, char *err, size_t size)
{
	snprintf(err, size, "%s is too old: version number %d\nhelp: %s", l->what, have, l->cure);
	return false;
}

typedef CUresult GetProc(const char *, void **, int, cuuint64_t, int *);

bool rt_load_cuda(RtCudaApi *api, char *err, size_t size)
{
	void *h = open_library(&driver, err, size), *f;
	int version = 0;
	if (!h)
		return false;
	GetProc *find = (GetProc *)(uintptr_t)dlsym(h, "cuGetProcAddress_v2");
	if (!find)
		return missing(&driver, "cuGetProcAddress_v2", err, size);
#define RT_FIND(result, name, parameters) \
	if (find(#name, &f, API, 0, NULL) != CUDA_SUCCESS || !f) \
		return missing(&driver, #name, err, size); \
	memcpy(&api->name, &f, sizeof f);
	RT_CUDA_FUNCTIONS(RT_FIND)
#undef RT_FIND
	if (api->cuDriverGetVersion(&version) != CUDA_SUCCESS || version < DRIVER_MIN)
		return too_old(&driver, version, err, size);
	return true;
}

#define RT_FIND(library, handle, name) \
	if (!(f = dlsym(handle, #name))) \
		return missing(&library, #name, err, size); \
	memcpy(&api->name, &f, sizeof f);

bool rt_load_blas(RtBlasApi *api, char *err, size_t size)
{
	void *h = open_library(&blas, err, size), *f;
	if (!h)
		return false;
#define RT_FIND_BLAS(result, name, parameters) RT_FIND(blas, h, name)
	RT_BLAS_FUNCTIONS(RT_FIND_BLAS)
	int version = (int)api->cublasLtGetVersion();
	return version >= BLAS_MIN || too_old(&blas, version, err, size);
}

bool rt_load_nccl(RtNcclApi *api, char *err, size_t size)
{
	void *h = open_library(&nccl, err, size), *f;
	int version = 0;
	if (!h)
		return false;
#define RT_FIND_NCCL(result, name, parameters) RT_FIND(nccl, h, name)
	RT_NCCL_FUNCTIONS(RT_FIND_NCCL)
	if (api->ncclGetVersion(&version) != ncclSuccess || version < NCCL_MIN)
		return too_old(&nccl, version, err, size);
	return true;
}
