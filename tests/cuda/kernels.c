/* kernels.c - see kernels.h. Generated kernels share one translation unit, each in a namespace of its
 * own; templates, which define macros, have one each.
 */
#include "kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/file.h"

static bool is_generated(const Kernel *k)
{
	return strcmp(k->template_, "generated") == 0;
}

static bool run(const char *command)
{
	if (system(command) == 0)
		return true;
	fprintf(stderr, "failed: %s\n", command);
	return false;
}

static bool compile(Arena *a, const char *path, const Text *source)
{
	const char *command = arena_printf(a, TEST_CXX " " TEST_CXX_FLAGS " -w -Wno-psabi -x c++ -std=c++17 -O1 -fPIC -c %s -o %s.o",
	                                   path, path);
	return file_write(path, source->s, source->n, false) && run(command);
}

static void add_generated(const KernelSet *ks, Text *t)
{
	text_add(t, "#include \"row.cuh\"\n");
	for (uint32_t i = 0; i < ks->kernels.n; i++)
		if (is_generated(&ks->kernels.v[i]))
			text_add(t, "namespace k%u {\n%s}\n", i, ks->kernels.v[i].source);
}

static bool find_kernels(const KernelSet *ks, const char *library, SimtKernel **fn)
{
	void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		fprintf(stderr, "%s\n", dlerror());
		return false;
	}
	for (uint32_t i = 0; i < ks->kernels.n; i++) {
		if (ks->kernels.v[i].missing)
			continue;
		void *p = dlsym(lib, ks->kernels.v[i].name);
		memcpy(&fn[i], &p, sizeof p);
		if (!p) {
			fprintf(stderr, "no function %s\n", ks->kernels.v[i].name);
			return false;
		}
	}
	return true;
}

bool kernels_load(Arena *a, const KernelSet *ks, const char *dir, SimtKernel **fn)
{
	Text source = {0}, objects = {0};
	const char *path = arena_printf(a, "%s/generated.cu", dir), *library = arena_printf(a, "%s/kernels.so", dir);
	if (!file_make_dirs(dir))
		return false;
	add_generated(ks, &source);
	text_add(&objects, " %s.o", path);
	bool ok = compile(a, path, &source);
	for (uint32_t i = 0; ok && i < ks->kernels.n; i++) {
		const Kernel *k = &ks->kernels.v[i];
		if (is_generated(k) || k->missing)
			continue;
		path = arena_printf(a, "%s/%s.cu", dir, k->name);
		source.n = 0;
		text_add(&source, "%s", k->source);
		text_add(&objects, " %s.o", path);
		ok = compile(a, path, &source);
	}
	ok = ok && run(arena_printf(a, TEST_CXX " -shared%s -o %s", objects.s, library)) &&
	     find_kernels(ks, library, fn);
	text_free(&source);
	text_free(&objects);
	return ok;
}
